package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"weak"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decoders bounds what the codecs' own state takes, in bytes, apart from what
// an input expands to.
const decoders = 512 << 10

// zeros packs size zeros.
func zeros(tb testing.TB, pack func(testing.TB, []byte) []byte, size int) []byte {
	return pack(tb, make([]byte, size))
}

// rleFrame is a zstd frame of n blocks of 128 KiB zeros that does not say how
// long its content is, nor needs a window of more than 1<<windowLog bytes.
func rleFrame(n, windowLog int) []byte {
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(windowLog-10) << 3}
	for i := range n {
		head := zstdBlock<<3 | zstdRLE<<1
		if i == n-1 {
			head |= 1
		}
		out = append(out, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return out
}

// compressedFrame is like rleFrame but of compressed blocks of nothing but
// literals, which don't show their size.
func compressedFrame(n, windowLog int) []byte {
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(windowLog-10) << 3}
	for i := range n {
		const size = zstdBlock
		literals := size<<4 | 3<<2 | zstdRLE // RLE literals with a size of 20 bits
		block := []byte{byte(literals & 0xff), byte(literals >> 8 & 0xff), byte(literals >> 16), 0, 0}
		head := len(block)<<3 | zstdCompressed<<1
		if i == n-1 {
			head |= 1
		}
		out = append(out, byte(head), byte(head>>8), byte(head>>16))
		out = append(out, block...)
	}
	return out
}

func TestBombsAreRefusedForHardlyMoreMemoryThanTheLimit(t *testing.T) {
	const limit = 1 << 20
	gzipZeros := zeros(t, packGzip, 20<<20)
	gzipModest := bytes.Clone(gzipZeros)
	binary.LittleEndian.PutUint32(gzipModest[len(gzipModest)-4:], 10)
	zstdZeros := zeros(t, packZstd(), 20<<20)
	bombs := []struct {
		name  string
		codec Codec
		p     []byte
	}{
		{"gzip", Gzip, gzipZeros},
		{"gzip that says it is small", Gzip, gzipModest},
		{"gzip of many members", Gzip, bytes.Repeat(zeros(t, packGzip, limit-1), 100)},
		{"snappy", Snappy, s2.EncodeSnappy(nil, make([]byte, 20<<20))},
		{"snappy xerial", Snappy, zeros(t, packXerial, 20<<20)},
		{"lz4", LZ4, zeros(t, packLZ4(lz4.BlockSizeOption(lz4.Block4Mb)), 20<<20)},
		{"lz4 of small blocks", LZ4, zeros(t, packLZ4(lz4.BlockSizeOption(lz4.Block64Kb)), 20<<20)},
		{"zstd", Zstd, zstdZeros},
		{"zstd of many frames", Zstd, bytes.Repeat(zeros(t, packZstd(), limit-1), 100)},
		{"zstd stream", Zstd, zeros(t, streamZstd, 20<<20)},
		{"zstd of run-length blocks", Zstd, rleFrame(1000, 20)},
		{"zstd of compressed blocks", Zstd, compressedFrame(1000, 20)},
		{"zstd of compressed blocks in a small window", Zstd, compressedFrame(1000, 17)},
		{"zstd of compressed blocks in a large window", Zstd, compressedFrame(1000, 27)},
		{"zstd of frames that fill the limit", Zstd, bytes.Repeat(compressedFrame(8, 20), 2)},
	}
	for _, bomb := range bombs {
		t.Run(bomb.name, func(t *testing.T) {
			var err error
			got := allocated(func() {
				var d decompressor
				_, err = d.decompress(bomb.codec, bomb.p, limit)
			})
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%d bytes: %v", len(bomb.p), err)
			}
			if got > 2*limit+decoders { // zstd may try one smaller buffer after the other
				t.Errorf("%d bytes allocated", got)
			}
		})
	}
}

func TestClaimsThatCanNotBeTrueAllocateNothing(t *testing.T) {
	gz := packGzip(t, []byte("x"))
	binary.LittleEndian.PutUint32(gz[len(gz)-4:], DefaultMaxExpanded)
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff}
	frame := packZstd(zstd.WithSingleSegment(true))(t, make([]byte, 70000))
	binary.LittleEndian.PutUint32(frame[5:], DefaultMaxExpanded)
	claims := []struct {
		name  string
		codec Codec
		p     []byte
	}{
		{"gzip size", Gzip, gz},
		{"snappy length", Snappy, binary.AppendUvarint(nil, DefaultMaxExpanded)},
		{"snappy length of all", Snappy, append(binary.AppendUvarint(nil, 1<<32-1), make([]byte, 100)...)},
		{"xerial block length", Snappy, append(packXerial(t, nil), 0xff, 0xff, 0xff, 0xff)},
		{"xerial block's length", Snappy, append(packXerial(t, nil), 0, 0, 0, 4, 0xff, 0xff, 0xff, 0x1f)},
		{"lz4 block size", LZ4, append(lz4Header(lz4Version|lz4Independent, 7), 0, 0, 64, 0)},
		{"lz4 literals", LZ4, append(lz4Header(lz4Version|lz4Independent, 7), 2, 0, 0, 0, 0xf0, 0xff)},
		{"zstd content size", Zstd, frame},
		{"zstd window", Zstd, append(rleFrame(0, 26), 2<<3|zstdCompressed<<1|1, 0, 0, 0xff, 0xff)},
		{"zstd skippable frame", Zstd, skippable},
		{"zstd large block", Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 16 << 3, 0xfb, 0xff, 0xff, 0}},
	}
	for _, claim := range claims {
		t.Run(claim.name, func(t *testing.T) {
			var err error
			got := allocated(func() {
				var d decompressor
				_, err = d.decompress(claim.codec, claim.p, DefaultMaxExpanded)
			})
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			if got > decoders {
				t.Errorf("%d bytes allocated for %d", got, len(claim.p))
			}
		})
	}
}

func TestTheBufferIsKeptButNotWhenItIsHugeAndNotNeeded(t *testing.T) {
	var small, large Builder
	small.Add(0, nil, []byte("x"))
	small.Close(0)
	large.Add(0, nil, make([]byte, 2*keepBuffer))
	large.Close(0)
	for _, k := range packings {
		t.Run(k.name, func(t *testing.T) {
			var it Iterator
			size := func(p []byte) int {
				t.Helper()
				if err := compressed(t, p, k).Verify(&it); err != nil {
					t.Fatal(err)
				}
				return cap(it.dec.buf)
			}
			first := size(small.Bytes())
			if got := size(small.Bytes()); got != first {
				t.Errorf("the same batch again: the buffer's size went from %d to %d", first, got)
			}
			if got := size(large.Bytes()); got < 2*keepBuffer {
				t.Errorf("large batch: the buffer has %d bytes", got)
			}
			size(small.Bytes())
			if got := size(small.Bytes()); got > keepBuffer {
				t.Errorf("after small batches: the buffer still has %d bytes", got)
			}
			if got := size(large.Bytes()); got < 2*keepBuffer {
				t.Errorf("large batch again: the buffer has %d bytes", got)
			}
			for range 2 {
				if err := Batch(small.Bytes()).Verify(&it); err != nil {
					t.Fatal(err)
				}
			}
			if got := cap(it.dec.buf); got > keepBuffer {
				t.Errorf("after uncompressed batches: the buffer still has %d bytes", got)
			}
		})
	}
}

// compressed is the batch p with its records packed by k.
func compressed(tb testing.TB, p Batch, k packing) Batch {
	out := append(bytes.Clone(p[:HeaderSize]), k.pack(tb, p[HeaderSize:])...)
	return fixed(out, func(b Batch) { binary.BigEndian.PutUint16(b[posAttributes:], b.Attributes()|uint16(k.codec)) })
}

// fixed changes b and then makes its length and CRC right.
func fixed(b Batch, change func(b Batch)) Batch {
	change(b)
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-lengthEnd))
	binary.BigEndian.PutUint32(b[posCRC:], b.checksum())
	return b
}

func TestABombThatFailedLeavesNoHugeBuffer(t *testing.T) {
	var d decompressor
	if _, err := d.decompress(Zstd, compressedFrame(1000, 17), 4*keepBuffer); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if cap(d.buf) > keepBuffer {
		t.Errorf("the buffer has %d bytes", cap(d.buf))
	}
}

func TestADroppedIteratorLeavesNothingBehind(t *testing.T) {
	var b Builder
	b.Add(0, nil, []byte("x"))
	b.Close(0)
	goroutines := runtime.NumGoroutine()
	for _, k := range packings {
		p := compressed(t, b.Bytes(), k)
		it := new(Iterator)
		if err := p.Verify(it); err != nil {
			t.Fatal(err)
		}
		gone := weak.Make(it)
		it = nil
		runtime.GC()
		if gone.Value() != nil {
			t.Errorf("%s: the iterator is still there", k.name)
		}
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines more", n-goroutines)
	}
}
