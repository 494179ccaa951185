package codec_test

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/internal/batch/codec"
	"mbus/internal/batch/codec/codectest"
)

// fuzzDecompress checks that arbitrary bytes expand to no more than the limit,
// into no larger a buffer, whatever was expanded before, and to what franz-go
// makes of them. fix makes right what would hide most else.
func fuzzDecompress(f *testing.F, c codec.Codec, fix func(p []byte)) {
	f.Add([]byte{})
	for _, k := range codectest.Packings {
		if k.Codec == c {
			f.Add(k.Pack(f, []byte("x")))
			f.Add(k.Pack(f, []byte("the same and the same and the same and something else")))
			f.Add(k.Pack(f, make([]byte, 3000)))
		}
	}
	const limit = 1 << 18
	var used codec.Decoder
	theirs := kgo.DefaultDecompressor()
	f.Fuzz(func(t *testing.T, p []byte) {
		p = bytes.Clone(p)
		fix(p)
		var fresh codec.Decoder
		got, err := fresh.Expand(c, p, limit)
		if len(got) > limit || fresh.Size() > limit+1 {
			t.Fatalf("%d bytes expanded to %d in a buffer of %d", len(p), len(got), fresh.Size())
		}
		again, againErr := used.Expand(c, p, limit)
		if !bytes.Equal(again, got) || (againErr == nil) != (err == nil) {
			t.Fatalf("fresh: %d bytes, %v; used: %d bytes, %v", len(got), err, len(again), againErr)
		}
		if err != nil {
			return
		}
		want, err := theirs.Decompress(p, kgo.CompressionCodecType(c))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes; franz-go has %d, %v", len(got), len(want), err)
		}
	})
}

func FuzzGzip(f *testing.F)   { fuzzDecompress(f, codec.Gzip, func([]byte) {}) }
func FuzzSnappy(f *testing.F) { fuzzDecompress(f, codec.Snappy, func([]byte) {}) }

func FuzzLZ4(f *testing.F) {
	fuzzDecompress(f, codec.LZ4, func(p []byte) { // no checksum but that of the header
		if len(p) > 6 {
			copy(p, codectest.LZ4Header(codectest.LZ4Version|p[4]&codectest.LZ4Independent, 4))
		}
	})
}

func FuzzZstd(f *testing.F) {
	fuzzDecompress(f, codec.Zstd, func(p []byte) { // no checksum
		if len(p) > 4 {
			p[4] &^= 1 << 2
		}
	})
}
