package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/pierrec/lz4/v4"
)

func TestXXH32GivesThePublishedHashes(t *testing.T) {
	sanity := make([]byte, 101) // the input of the reference implementation's self test
	for i, gen := 0, uint32(prime1); i < len(sanity); i++ {
		sanity[i] = byte(gen >> 24)
		gen *= gen
	}
	for in, want := range map[string]uint32{
		"":                  0x02cc5d05,
		string(sanity[:1]):  0xb85cbee5,
		string(sanity[:14]): 0xe5aa0ab4,
		string(sanity):      0x1f1aa412,
		"abc":               0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		if got := xxh32([]byte(in)); got != want {
			t.Errorf("xxh32 of %d bytes is %08x, want %08x", len(in), got, want)
		}
	}
}

func TestMalformedLZ4FramesAreRefused(t *testing.T) {
	text := contents()["text"][:200_000]
	sound := func() []byte {
		return packLZ4(lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(text))))(t, text)
	}
	header := func(flags, size byte) func([]byte) []byte {
		return func(p []byte) []byte { return append(lz4Header(flags, size), p[15:]...) }
	}
	const flags = lz4Version | lz4Independent
	block := func(p ...byte) func([]byte) []byte {
		return func([]byte) []byte {
			out := binary.LittleEndian.AppendUint32(lz4Header(flags, 4), uint32(len(p)))
			return append(append(out, p...), 0, 0, 0, 0)
		}
	}
	cases := []struct {
		name   string
		change func(p []byte) []byte
		want   string
	}{
		{"the legacy format", func(p []byte) []byte { p[0] = 2; return p }, "not a frame"},
		{"a skippable frame", func(p []byte) []byte { p[0] = 0x50; p[1] = 0x2a; return p }, "not a frame"},
		{"version 2", header(2<<6, 4), "malformed"},
		{"a reserved flag", header(flags|2, 4), "malformed"},
		{"blocks of 16 KiB", header(flags, 3), "malformed"},
		{"a reserved bit", header(flags, 8|4), "malformed"},
		{"a dictionary", header(flags|lz4DictID, 4), "dictionaries"},
		{"a header that was changed", func(p []byte) []byte { p[7] ^= 1; return p }, "header checksum"},
		{"a block that was changed", func(p []byte) []byte { p[100] ^= 1; return p }, "block checksum"},
		{"content that was changed", func(p []byte) []byte { p[len(p)-1] ^= 1; return p }, "content checksum"},
		{"a byte after the frame", func(p []byte) []byte { return append(p, 0) }, "after the frame"},
		{"a second frame", func(p []byte) []byte { return append(p, p...) }, "after the frame"},
		{"another content size", func(p []byte) []byte {
			p[6]++
			p[14] = byte(xxh32(p[4:14]) >> 8)
			return p
		}, "content size"},
		{"a match of offset 0", block(0x10, 'a', 0, 0, 0x10, 'a'), "malformed"},
		{"a match from before the start", block(0x10, 'a', 2, 0, 0x50, 'a', 'b', 'c', 'd', 'e'), "malformed"},
		{"literals beyond the block", block(0x50, 'a'), "malformed"},
		{"a block that expands beyond its size", block(append(append([]byte{0x1f, 'a', 1, 0},
			bytes.Repeat([]byte{255}, 300)...), 0, 0x50, 'a', 'b', 'c', 'd', 'e')...), "beyond the frame's block size"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := c.change(sound())
			for _, size := range []int{0, 1 << 20} { // with a buffer that is still to grow, and one that is not
				d := decompressor{buf: make([]byte, size)}
				_, err := d.decompress(LZ4, p, DefaultMaxExpanded)
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want an ErrCorrupt that says %q", err, c.want)
				}
			}
		})
	}
}

func TestLinkedLZ4BlocksAreAsOtherReadersReadThem(t *testing.T) {
	want := contents()["repeated noise"]
	packed := packLinkedLZ4(t, want)
	if len(packed) > len(want)/4 {
		t.Fatalf("%d bytes became %d: the blocks do not refer to each other", len(want), len(packed))
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(lz4.NewReader(bytes.NewReader(packed))); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Fatalf("the library's reader: %d bytes, %v", out.Len(), err)
	}
	var d decompressor
	if got, err := d.decompress(LZ4, packed, DefaultMaxExpanded); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestBlocksInTheS2FormatAreRefused(t *testing.T) {
	text := contents()["text"][:100_000]
	if !isS2(s2.Encode(nil, text)) {
		t.Fatal("the encoder made no use of the S2 format")
	}
	for name, p := range contents() {
		if isS2(s2.EncodeSnappy(nil, p)) {
			t.Errorf("%s: a Snappy block is taken for S2", name)
		}
	}
	var d decompressor
	if _, err := d.decompress(Snappy, s2.Encode(nil, text), DefaultMaxExpanded); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func TestNothingExpandsToNothing(t *testing.T) {
	for _, k := range packings {
		var d decompressor
		got, err := d.decompress(k.codec, k.pack(t, nil), DefaultMaxExpanded)
		if len(got) != 0 || (err == nil) == (k.name == "snappy xerial") { // which would have no block
			t.Errorf("%s: %d bytes, %v", k.name, len(got), err)
		}
	}
}
