package commitlog_test

import (
	"errors"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// bytesFrom is the size of all batches from the one at offset on.
func (r *rig) bytesFrom(offset int64) (size int64) {
	for _, b := range r.stored {
		if b.Base >= offset {
			size += int64(len(b.Bytes))
		}
	}
	return size
}

func TestTailIsTheLastBytesOfTheLog(t *testing.T) {
	const batches = 40
	for name, o := range map[string]func() (r *rig){
		"one segment":  func() *rig { return newRig(t, commitlog.Options{SegmentBytes: 1 << 20}) },
		"ten segments": func() *rig { return newRig(t, smallSegments()) },
	} {
		t.Run(name, func(t *testing.T) {
			r := o()
			r.fill(batches)
			one := r.bytesFrom(0) / batches
			check := func(when string) {
				start, high := r.Offsets()
				for n := int64(0); n <= r.bytesFrom(0)+one; n += one / 3 {
					at, err := r.Tail(n)
					if err != nil {
						t.Fatalf("%s: the last %d bytes: %v", when, n, err)
					}
					if got := r.bytesFrom(at); at < start || at > high || got > n+2*one || got < n && at > start {
						t.Errorf("%s: the last %d bytes begin at %d, and are %d bytes", when, n, at, got)
					}
				}
			}
			check("while it is written")
			r.restart()
			check("after a restart")
			if err := r.Trim(r.stored[batches/2].Base); err != nil {
				t.Fatal(err)
			}
			check("behind a log start in the middle")
			r.store.Close()
			if _, err := r.Tail(1); !errors.Is(err, store.ErrClosed) {
				t.Errorf("a closed log's: %v", err)
			}
		})
	}
}

func TestTailCostsTheSameHoweverLongTheLogIs(t *testing.T) {
	read := make(map[int]int64)
	for _, batches := range []int{40, 400} {
		r := newRig(t, smallSegments())
		r.fill(batches)
		r.restart()
		before := r.disk.BytesRead("")
		if _, err := r.Tail(2000); err != nil {
			t.Fatal(err)
		}
		read[batches] = r.disk.BytesRead("") - before
	}
	if read[40] != read[400] {
		t.Errorf("bytes read by the number of batches: %v", read)
	}
}
