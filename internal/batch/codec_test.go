package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// A packing is one of the ways in which a codec's writers lay out their output.
type packing struct {
	name  string
	codec Codec
	pack  func(tb testing.TB, p []byte) []byte
}

var packings = []packing{
	{"gzip", Gzip, packGzip},
	{"gzip members", Gzip, halves(packGzip)},
	{"snappy", Snappy, func(_ testing.TB, p []byte) []byte { return s2.EncodeSnappy(nil, p) }},
	{"snappy xerial", Snappy, packXerial},
	{"lz4 64 KiB blocks", LZ4, packLZ4(lz4.BlockSizeOption(lz4.Block64Kb))},
	{"lz4 4 MiB blocks", LZ4, packLZ4(lz4.BlockSizeOption(lz4.Block4Mb), lz4.ChecksumOption(false))},
	{"lz4 all checksums", LZ4, packLZ4(lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true))},
	{"lz4 high compression", LZ4, packLZ4(lz4.CompressionLevelOption(lz4.Level9))},
	{"lz4 linked blocks", LZ4, packLinkedLZ4},
	{"zstd", Zstd, packZstd()},
	{"zstd frames", Zstd, halves(packZstd())},
	{"zstd stream", Zstd, streamZstd},
	{"zstd small window", Zstd, packZstd(zstd.WithWindowSize(zstd.MinWindowSize), zstd.WithSingleSegment(false))},
	{"zstd no checksum", Zstd, packZstd(zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedBestCompression))},
}

func packGzip(tb testing.TB, p []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	write(tb, w, p)
	return out.Bytes()
}

func write(tb testing.TB, w interface {
	Write(p []byte) (int, error)
	Close() error
}, p []byte,
) {
	tb.Helper()
	if _, err := w.Write(p); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
}

// halves packs the halves of its input on their own.
func halves(pack func(testing.TB, []byte) []byte) func(testing.TB, []byte) []byte {
	return func(tb testing.TB, p []byte) []byte {
		return append(pack(tb, p[:len(p)/2]), pack(tb, p[len(p)/2:])...)
	}
}

func packXerial(_ testing.TB, p []byte) []byte {
	out := append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for len(p) > 0 {
		n := min(len(p), 32<<10)
		block := s2.EncodeSnappy(nil, p[:n])
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
		p = p[n:]
	}
	return out
}

func packLZ4(options ...lz4.Option) func(testing.TB, []byte) []byte {
	return func(tb testing.TB, p []byte) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		if err := w.Apply(options...); err != nil {
			tb.Fatal(err)
		}
		write(tb, w, p)
		return out.Bytes()
	}
}

// packLinkedLZ4 writes a frame whose blocks refer to the ones before: a block of
// p's beginning, and then blocks of nothing but matches that repeat the 60,000
// bytes before, or else a block of literals.
func packLinkedLZ4(_ testing.TB, p []byte) []byte {
	out := lz4Header(lz4Version, 4)
	const step = 60000
	for i := 0; i < len(p); i += step {
		now := p[i:min(i+step, len(p))]
		block := linkedBlock(p[:i], now)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(block)))
		out = append(out, block...)
	}
	return append(out, 0, 0, 0, 0)
}

// linkedBlock is a match with what lies 60,000 bytes back, as far as it is the
// same, and then literals.
func linkedBlock(before, now []byte) []byte {
	const back, least = 60000, 4
	same := 0
	if len(before) >= back {
		for same < len(now) && now[same] == before[len(before)-back+same] {
			same++
		}
	}
	var out []byte
	if same >= least {
		out = lz4Sequence(out, nil, same)
		out = binary.LittleEndian.AppendUint16(out, back)
		out = lz4Lengths(out, same-least)
		now = now[same:]
	}
	return append(lz4Sequence(out, now, least), now...)
}

// lz4Sequence appends a token and the further bytes of the literals' length.
func lz4Sequence(out, literals []byte, match int) []byte {
	out = append(out, byte(min(len(literals), 15)<<4|min(match-4, 15)))
	return lz4Lengths(out, len(literals))
}

func lz4Lengths(out []byte, n int) []byte {
	if n < 15 {
		return out
	}
	for n -= 15; n >= 255; n -= 255 {
		out = append(out, 255)
	}
	return append(out, byte(n))
}

func lz4Header(flags, size byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	out = append(out, flags, size<<4)
	return append(out, byte(xxh32(out[4:])>>8))
}

func packZstd(options ...zstd.EOption) func(testing.TB, []byte) []byte {
	return func(tb testing.TB, p []byte) []byte {
		w, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))...)
		if err != nil {
			tb.Fatal(err)
		}
		defer w.Close()
		return w.EncodeAll(p, nil)
	}
}

const streamFlush = 100_000

// streamZstd writes frames that do not say how long their content is.
func streamZstd(tb testing.TB, p []byte) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(p); i += streamFlush {
		if _, err := w.Write(p[i:min(i+streamFlush, len(p))]); err != nil {
			tb.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			tb.Fatal(err)
		}
	}
	write(tb, w, nil)
	return out.Bytes()
}

// contents are inputs of many sizes, from noise to zeros.
var contents = sync.OnceValue(func() map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	var text []byte
	for len(text) < 1_100_000 {
		text = fmt.Appendf(text, `{"order":%d,"customer":"c%d","amount":%d.00}`+"\n", len(text), rnd.IntN(1000), rnd.IntN(100))
	}
	return map[string][]byte{
		"one byte": {1}, "noise": noise, "text": text, "short text": text[:1000],
		"zeros": make([]byte, 1_000_000), "repeated noise": bytes.Repeat(noise[:60000], 5),
	}
})

func TestEveryPackingExpandsToWhatWentIn(t *testing.T) {
	all := contents()
	for _, k := range packings {
		t.Run(k.name, func(t *testing.T) {
			var d decompressor // one for all, so that buffers are used again
			for name, want := range all {
				got, err := d.decompress(k.codec, k.pack(t, want), DefaultMaxExpanded)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				} else if !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes came back different from the %d that went in", name, len(got), len(want))
				}
			}
		})
	}
}

func TestWhatExpandsToTheLimitIsTakenAndOneByteMoreIsNot(t *testing.T) {
	for _, k := range packings {
		for name, p := range contents() {
			t.Run(k.name+"/"+name, func(t *testing.T) {
				packed := k.pack(t, p)
				limit := len(p)
				if k.name == "zstd stream" {
					limit += zstdBlock * (len(p)/streamFlush + 1) // each block counts as a full one
				}
				var d decompressor
				if _, err := d.decompress(k.codec, packed, limit); err != nil {
					t.Errorf("at the limit: %v", err)
				}
				d = decompressor{}
				if _, err := d.decompress(k.codec, packed, len(p)-1); len(p) > 1 && !errors.Is(err, ErrTooLarge) {
					t.Errorf("one byte beyond the limit: %v", err)
				}
			})
		}
	}
}

func TestCutOffInputIsCorrupt(t *testing.T) {
	p := contents()["short text"]
	for _, k := range packings {
		t.Run(k.name, func(t *testing.T) {
			packed := k.pack(t, p)
			var d decompressor
			for n := range packed {
				got, err := d.decompress(k.codec, packed[:n], DefaultMaxExpanded)
				if err == nil && !bytes.Equal(got, p[:len(got)]) || err == nil && len(got) == len(p) {
					t.Errorf("%d of %d bytes expand to %d", n, len(packed), len(got))
				}
				if err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("%d of %d bytes: %v", n, len(packed), err)
				}
			}
		})
	}
}

func TestUnknownCodecsAreCorrupt(t *testing.T) {
	for c := Zstd + 1; c <= codecMask; c++ {
		var d decompressor
		if _, err := d.decompress(c, []byte("x"), 100); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
