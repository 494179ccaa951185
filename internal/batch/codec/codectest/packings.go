// Package codectest compresses in the ways in which the writers of Kafka's clients do.
package codectest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"mbus/internal/batch/codec"
)

// A Packing is one of the ways in which a codec's writers lay out their output.
type Packing struct {
	Name  string
	Codec codec.Codec
	Pack  func(tb testing.TB, p []byte) []byte
}

// Packings are what clients write.
var Packings = []Packing{
	{"gzip", codec.Gzip, PackGzip},
	{"gzip members", codec.Gzip, halves(PackGzip)},
	{"snappy", codec.Snappy, func(_ testing.TB, p []byte) []byte { return s2.EncodeSnappy(nil, p) }},
	{"snappy xerial", codec.Snappy, PackXerial},
	{"lz4 64 KiB blocks", codec.LZ4, PackLZ4(lz4.BlockSizeOption(lz4.Block64Kb))},
	{"lz4 4 MiB blocks", codec.LZ4, PackLZ4(lz4.BlockSizeOption(lz4.Block4Mb), lz4.ChecksumOption(false))},
	{"lz4 all checksums", codec.LZ4, PackLZ4(lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true))},
	{"lz4 high compression", codec.LZ4, PackLZ4(lz4.CompressionLevelOption(lz4.Level9))},
	{"lz4 linked blocks", codec.LZ4, PackLinkedLZ4},
	{"zstd", codec.Zstd, PackZstd()},
	{"zstd frames", codec.Zstd, halves(PackZstd())},
	{"zstd stream", codec.Zstd, StreamZstd},
	{"zstd small window", codec.Zstd, PackZstd(zstd.WithWindowSize(zstd.MinWindowSize), zstd.WithSingleSegment(false))},
	{"zstd no checksum", codec.Zstd, PackZstd(zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedBestCompression))},
}

func PackGzip(tb testing.TB, p []byte) []byte {
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

func PackXerial(_ testing.TB, p []byte) []byte {
	out := []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
	for len(p) > 0 {
		n := min(len(p), 32<<10)
		block := s2.EncodeSnappy(nil, p[:n])
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
		p = p[n:]
	}
	return out
}

func PackLZ4(options ...lz4.Option) func(testing.TB, []byte) []byte {
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

// PackLinkedLZ4 writes a frame whose blocks refer to the ones before: a block of
// p's beginning, and then blocks of nothing but matches that repeat the 60,000
// bytes before, or else a block of literals.
func PackLinkedLZ4(_ testing.TB, p []byte) []byte {
	out := LZ4Header(LZ4Version, 4)
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

// LZ4Header is the header of an LZ4 frame with these flags and this block size.
func LZ4Header(flags, size byte) []byte {
	return LZ4Checksum([]byte{0x04, 0x22, 0x4d, 0x18, flags, size << 4, 0})
}

// LZ4Checksum makes the checksum right, which is the last byte of an LZ4 frame's header.
func LZ4Checksum(header []byte) []byte {
	sum := &header[len(header)-1]
	for range 256 {
		if _, err := lz4.ValidFrameHeader(header); !errors.Is(err, lz4.ErrInvalidHeaderChecksum) {
			break
		}
		*sum++
	}
	return header
}

// LZ4Version and LZ4Independent are the flags of a frame whose blocks do not refer to
// each other.
const (
	LZ4Version     = 1 << 6
	LZ4Independent = 1 << 5
)

func PackZstd(options ...zstd.EOption) func(testing.TB, []byte) []byte {
	return func(tb testing.TB, p []byte) []byte {
		w, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))...)
		if err != nil {
			tb.Fatal(err)
		}
		defer w.Close()
		return w.EncodeAll(p, nil)
	}
}

const StreamFlush = 100_000

// StreamZstd writes frames that do not say how long their content is.
func StreamZstd(tb testing.TB, p []byte) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(p); i += StreamFlush {
		if _, err := w.Write(p[i:min(i+StreamFlush, len(p))]); err != nil {
			tb.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			tb.Fatal(err)
		}
	}
	write(tb, w, nil)
	return out.Bytes()
}

// Contents are inputs of many sizes, from noise to zeros.
var Contents = sync.OnceValue(func() map[string][]byte {
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
