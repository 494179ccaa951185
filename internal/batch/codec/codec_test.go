package codec_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"mbus/internal/batch/codec"
	"mbus/internal/batch/codec/codectest"
)

// maxExpanded is a limit that no content of these tests reaches, in bytes.
const maxExpanded = 64 << 20

func TestEveryPackingExpandsToWhatWentIn(t *testing.T) {
	all := codectest.Contents()
	for _, k := range codectest.Packings {
		t.Run(k.Name, func(t *testing.T) {
			var d codec.Decoder // one for all, so that buffers are used again
			for name, want := range all {
				got, err := d.Expand(k.Codec, k.Pack(t, want), maxExpanded)
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
	for _, k := range codectest.Packings {
		for name, p := range codectest.Contents() {
			t.Run(k.Name+"/"+name, func(t *testing.T) {
				packed := k.Pack(t, p)
				var d codec.Decoder
				if _, err := d.Expand(k.Codec, packed, len(p)); err != nil {
					t.Errorf("at the limit: %v", err)
				}
				d = codec.Decoder{}
				if _, err := d.Expand(k.Codec, packed, len(p)-1); len(p) > 1 && !errors.Is(err, codec.ErrTooLarge) {
					t.Errorf("one byte beyond the limit: %v", err)
				}
			})
		}
	}
}

func TestCutOffInputIsCorrupt(t *testing.T) {
	p := codectest.Contents()["short text"]
	for _, k := range codectest.Packings {
		t.Run(k.Name, func(t *testing.T) {
			packed := k.Pack(t, p)
			var d codec.Decoder
			for n := range packed {
				got, err := d.Expand(k.Codec, packed[:n], maxExpanded)
				if err == nil && !bytes.Equal(got, p[:len(got)]) || err == nil && len(got) == len(p) {
					t.Errorf("%d of %d bytes expand to %d", n, len(packed), len(got))
				}
				if errors.Is(err, codec.ErrTooLarge) {
					t.Errorf("%d of %d bytes: %v", n, len(packed), err)
				}
			}
		})
	}
}

func TestUnknownCodecsAreCorrupt(t *testing.T) {
	for c := codec.Zstd + 1; c <= 7; c++ {
		var d codec.Decoder
		if _, err := d.Expand(c, []byte("x"), 100); err == nil || errors.Is(err, codec.ErrTooLarge) {
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

func TestNothingExpandsToNothing(t *testing.T) {
	for _, k := range codectest.Packings {
		var d codec.Decoder
		got, err := d.Expand(k.Codec, k.Pack(t, nil), maxExpanded)
		if len(got) != 0 || (err == nil) == (k.Name == "snappy xerial") { // which would have no block
			t.Errorf("%s: %d bytes, %v", k.Name, len(got), err)
		}
	}
}
