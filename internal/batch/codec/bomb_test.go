package codec_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"mbus/internal/batch/codec"
	"mbus/internal/batch/codec/codectest"
)

// Of a zstd frame: what a block expands to at most, and types of block.
const (
	zstdBlock      = 128 << 10
	zstdRLE        = 1
	zstdCompressed = 2
)

// What the codecs' own state takes at most, in bytes, apart from what an input
// expands to: decoders for all, lz4Blocks for the blocks of an LZ4 frame.
const (
	decoders  = 2 << 20
	lz4Blocks = 2 * 4 << 20
)

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
	const limit = 4 << 20
	gzipZeros := zeros(t, codectest.PackGzip, 20<<20)
	gzipModest := bytes.Clone(gzipZeros)
	binary.LittleEndian.PutUint32(gzipModest[len(gzipModest)-4:], 10)
	zstdZeros := zeros(t, codectest.PackZstd(), 20<<20)
	bombs := []struct {
		name  string
		codec codec.Codec
		p     []byte
	}{
		{"gzip", codec.Gzip, gzipZeros},
		{"gzip that says it is small", codec.Gzip, gzipModest},
		{"gzip of many members", codec.Gzip, bytes.Repeat(zeros(t, codectest.PackGzip, limit-1), 100)},
		{"snappy", codec.Snappy, s2.EncodeSnappy(nil, make([]byte, 20<<20))},
		{"snappy xerial", codec.Snappy, zeros(t, codectest.PackXerial, 20<<20)},
		{"lz4", codec.LZ4, zeros(t, codectest.PackLZ4(lz4.BlockSizeOption(lz4.Block4Mb)), 20<<20)},
		{"lz4 of small blocks", codec.LZ4, zeros(t, codectest.PackLZ4(lz4.BlockSizeOption(lz4.Block64Kb)), 20<<20)},
		{"zstd", codec.Zstd, zstdZeros},
		{"zstd of many frames", codec.Zstd, bytes.Repeat(zeros(t, codectest.PackZstd(), limit-1), 100)},
		{"zstd stream", codec.Zstd, zeros(t, codectest.StreamZstd, 20<<20)},
		{"zstd of run-length blocks", codec.Zstd, rleFrame(1000, 20)},
		{"zstd of compressed blocks", codec.Zstd, compressedFrame(1000, 20)},
		{"zstd of compressed blocks in a small window", codec.Zstd, compressedFrame(1000, 17)},
		{"zstd of compressed blocks in a large window", codec.Zstd, compressedFrame(1000, 27)},
		{"zstd of frames that fill the limit", codec.Zstd, bytes.Repeat(compressedFrame(32, 20), 2)},
	}
	for _, bomb := range bombs {
		t.Run(bomb.name, func(t *testing.T) {
			var err error
			got := allocated(func() {
				var d codec.Decoder
				_, err = d.Expand(bomb.codec, bomb.p, limit)
			})
			if !errors.Is(err, codec.ErrTooLarge) {
				t.Errorf("%d bytes: %v", len(bomb.p), err)
			}
			allowed := uint64(3*limit + decoders) // zstd may try one smaller buffer after the other
			if bomb.codec == codec.LZ4 {
				allowed += lz4Blocks
			}
			if got > allowed {
				t.Errorf("%d bytes allocated, more than %d", got, allowed)
			}
		})
	}
}

func TestClaimsThatCanNotBeTrueAllocateNothing(t *testing.T) {
	gz := codectest.PackGzip(t, []byte("x"))
	binary.LittleEndian.PutUint32(gz[len(gz)-4:], maxExpanded)
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff}
	frame := codectest.PackZstd(zstd.WithSingleSegment(true))(t, make([]byte, 70000))
	binary.LittleEndian.PutUint32(frame[5:], maxExpanded)
	claims := []struct {
		name  string
		codec codec.Codec
		p     []byte
	}{
		{"gzip size", codec.Gzip, gz},
		{"snappy length", codec.Snappy, binary.AppendUvarint(nil, maxExpanded)},
		{"snappy length of all", codec.Snappy, append(binary.AppendUvarint(nil, 1<<32-1), make([]byte, 100)...)},
		{"xerial block length", codec.Snappy, append(codectest.PackXerial(t, nil), 0xff, 0xff, 0xff, 0xff)},
		{"xerial block's length", codec.Snappy, append(codectest.PackXerial(t, nil), 0, 0, 0, 4, 0xff, 0xff, 0xff, 0x1f)},
		{"lz4 block size", codec.LZ4, append(codectest.LZ4Header(codectest.LZ4Version|codectest.LZ4Independent, 7), 0, 0, 64, 0)},
		{"lz4 literals", codec.LZ4, append(codectest.LZ4Header(codectest.LZ4Version|codectest.LZ4Independent, 7), 2, 0, 0, 0, 0xf0, 0xff)},
		{"zstd content size", codec.Zstd, frame},
		{"zstd window", codec.Zstd, append(rleFrame(0, 26), 2<<3|zstdCompressed<<1|1, 0, 0, 0xff, 0xff)},
		{"zstd skippable frame", codec.Zstd, skippable},
		{"zstd large block", codec.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 16 << 3, 0xfb, 0xff, 0xff, 0}},
	}
	for _, claim := range claims {
		t.Run(claim.name, func(t *testing.T) {
			var err error
			got := allocated(func() {
				var d codec.Decoder
				_, err = d.Expand(claim.codec, claim.p, maxExpanded)
			})
			if err == nil || errors.Is(err, codec.ErrTooLarge) {
				t.Error(err)
			}
			if got > decoders && (claim.codec != codec.LZ4 || got > decoders+lz4Blocks) {
				t.Errorf("%d bytes allocated for %d", got, len(claim.p))
			}
		})
	}
}

func TestABombThatFailedLeavesNoHugeBuffer(t *testing.T) {
	var d codec.Decoder
	if _, err := d.Expand(codec.Zstd, compressedFrame(1000, 17), 16<<20); !errors.Is(err, codec.ErrTooLarge) {
		t.Fatal(err)
	}
	if d.Size() > 4<<20 {
		t.Errorf("the buffer has %d bytes", d.Size())
	}
}
