package batch

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
	"weak"

	"mbus/internal/batch/codec/codectest"
)

// keepBuffer is the size in bytes of the largest buffer that is kept without need.
const keepBuffer = 4 << 20

func TestTheBufferIsKeptButNotWhenItIsHugeAndNotNeeded(t *testing.T) {
	var small, large Builder
	small.Add(0, nil, []byte("x"))
	small.Close(0)
	large.Add(0, nil, make([]byte, 2*keepBuffer))
	large.Close(0)
	for _, k := range codectest.Packings {
		t.Run(k.Name, func(t *testing.T) {
			var it Iterator
			size := func(p []byte) int {
				t.Helper()
				if err := compressed(t, p, k).Verify(&it); err != nil {
					t.Fatal(err)
				}
				return it.dec.Size()
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
			if got := it.dec.Size(); got > keepBuffer {
				t.Errorf("after uncompressed batches: the buffer still has %d bytes", got)
			}
		})
	}
}

// compressed is the batch p with its records packed by k.
func compressed(tb testing.TB, p Batch, k codectest.Packing) Batch {
	out := append(bytes.Clone(p[:HeaderSize]), k.Pack(tb, p[HeaderSize:])...)
	return fixed(out, func(b Batch) { binary.BigEndian.PutUint16(b[posAttributes:], b.Attributes()|uint16(k.Codec)) })
}

// fixed changes b and then makes its length and CRC right.
func fixed(b Batch, change func(b Batch)) Batch {
	change(b)
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-lengthEnd))
	binary.BigEndian.PutUint32(b[posCRC:], b.checksum())
	return b
}

func TestADroppedIteratorLeavesNothingBehind(t *testing.T) {
	var b Builder
	b.Add(0, nil, []byte("x"))
	b.Close(0)
	goroutines := runtime.NumGoroutine()
	for _, k := range codectest.Packings {
		p := compressed(t, b.Bytes(), k)
		it := new(Iterator)
		if err := p.Verify(it); err != nil {
			t.Fatal(err)
		}
		gone := weak.Make(it)
		it = nil
		runtime.GC()
		if gone.Value() != nil {
			t.Errorf("%s: the iterator is still there", k.Name)
		}
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines more", n-goroutines)
	}
}
