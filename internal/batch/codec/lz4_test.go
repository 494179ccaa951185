package codec_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"

	"mbus/internal/batch/codec"
	"mbus/internal/batch/codec/codectest"
)

func TestMalformedLZ4FramesAreRefused(t *testing.T) {
	text := codectest.Contents()["text"][:200_000]
	sound := func() []byte {
		return codectest.PackLZ4(lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(text))))(t, text)
	}
	const flags = codectest.LZ4Version | codectest.LZ4Independent
	frame := func(header, block []byte) func([]byte) []byte {
		return func([]byte) []byte {
			out := binary.LittleEndian.AppendUint32(header, uint32(len(block)))
			return append(append(out, block...), 0, 0, 0, 0)
		}
	}
	header := func(flags, size byte) func([]byte) []byte {
		return frame(codectest.LZ4Header(flags, size), []byte{0x10, 'a'})
	}
	block := func(p ...byte) func([]byte) []byte { return frame(codectest.LZ4Header(flags, 4), p) }
	cases := []struct {
		name   string
		change func(p []byte) []byte
		want   string
	}{
		{"the legacy format", func(p []byte) []byte { p[0] = 2; return p }, "not a frame"},
		{"a skippable frame", func(p []byte) []byte { p[0] = 0x50; p[1] = 0x2a; return p }, "not a frame"},
		{"version 2", header(2<<6, 4), "version 2"},
		{"a reserved flag", header(flags|2, 4), "reserved bits"},
		{"blocks of 16 KiB", header(flags, 3), "invalid block size"},
		{"a reserved bit", header(flags, 8|4), "reserved bits"},
		{"a dictionary", frame(append(codectest.LZ4Header(flags|1, 4), 0, 0, 0, 0), []byte{0x10, 'a'}), ""},
		{"a header that was changed", func(p []byte) []byte { p[7] ^= 1; return p }, "invalid header checksum"},
		{"a block that was changed", func(p []byte) []byte { p[100] ^= 1; return p }, "invalid block checksum"},
		{"content that was changed", func(p []byte) []byte { p[len(p)-1] ^= 1; return p }, "invalid frame checksum"},
		{"a byte after the frame", func(p []byte) []byte { return append(p, 0) }, "after the frame"},
		{"a second frame", func(p []byte) []byte { return append(p, p...) }, "after the frame"},
		{"another content size", func(p []byte) []byte {
			p[6]++
			codectest.LZ4Checksum(p[:15])
			return p
		}, "content size mismatch"},
		{"a match of offset 0", block(0x10, 'a', 0, 0, 0x10, 'a'), "invalid source"},
		{"a match from before the start", block(0x10, 'a', 2, 0, 0x50, 'a', 'b', 'c', 'd', 'e'), "invalid source"},
		{"literals beyond the block", block(0x50, 'a'), "invalid source"},
		{"a block that expands beyond its size", block(append(append([]byte{0x1f, 'a', 1, 0},
			bytes.Repeat([]byte{255}, 300)...), 0, 0x50, 'a', 'b', 'c', 'd', 'e')...), "invalid source"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := c.change(sound())
			for _, size := range []int{1, 1 << 20} { // with a buffer that is still to grow, and one that is not
				var d codec.Decoder
				if _, err := d.Expand(codec.Gzip, codectest.PackGzip(t, make([]byte, size)), maxExpanded); err != nil {
					t.Fatal(err)
				}
				_, err := d.Expand(codec.LZ4, p, maxExpanded)
				if err == nil || errors.Is(err, codec.ErrTooLarge) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want an error that says %q", err, c.want)
				}
			}
		})
	}
}

func TestLinkedLZ4BlocksAreAsOtherReadersReadThem(t *testing.T) {
	want := codectest.Contents()["repeated noise"]
	packed := codectest.PackLinkedLZ4(t, want)
	if len(packed) > len(want)/4 {
		t.Fatalf("%d bytes became %d: the blocks do not refer to each other", len(want), len(packed))
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(lz4.NewReader(bytes.NewReader(packed))); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Fatalf("the library's reader: %d bytes, %v", out.Len(), err)
	}
	var d codec.Decoder
	if got, err := d.Expand(codec.LZ4, packed, maxExpanded); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// The library's reader keeps the window of linked blocks when it is reset.
func TestALZ4FrameCanNotReferToTheOneBefore(t *testing.T) {
	secret := codectest.PackLinkedLZ4(t, bytes.Repeat([]byte("secret"), 50))
	thief := []byte{0, 0, 0, 0, 0x1f, 'a', 100, 0, 50, 0x50, 'a', 'b', 'c', 'd', 'e'}
	binary.LittleEndian.PutUint32(thief, uint32(len(thief)-4))
	for _, flags := range []byte{codectest.LZ4Version, codectest.LZ4Version | codectest.LZ4Independent} {
		p := append(append(codectest.LZ4Header(flags, 4), thief...), 0, 0, 0, 0)
		var d codec.Decoder
		if _, err := d.Expand(codec.LZ4, secret, maxExpanded); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Expand(codec.LZ4, p, maxExpanded); err == nil {
			t.Errorf("flags %02x: it expands to %q", flags, got)
		}
	}
}
