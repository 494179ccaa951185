package commitlog_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

func TestRetentionEmptiesALogThatIsAllOld(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(10)
	got, err := r.Retain(store.Retention{Before: math.MaxInt64, Keep: math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	if start, high := r.Offsets(); start != 30 || high != 30 || got.Start != 30 || got.Held || r.Size() != 0 {
		t.Errorf("offsets are %d to %d with %d bytes: %+v", start, high, r.Size(), got)
	}
	r.restart()
	r.fill(1)
	if base := r.stored[10].Base; base != 30 {
		t.Errorf("the log went on at %d, want 30", base)
	}
	r.holds(r.stored[10:])
}

// A log that is trimmed as it grows, as that of the committed offsets is, takes
// little space although its active segment is never full.
func TestTrimmedLogDoesNotGrowForEver(t *testing.T) {
	r := newRig(t, oneSegment())
	for range 24 {
		r.append(r.Batch(1, 2<<20))
		if err := r.Trim(r.stored[len(r.stored)-1].Next); err != nil {
			t.Fatal(err)
		}
		r.stored = r.stored[len(r.stored)-1:]
	}
	if size := r.Size(); size > 32<<20 {
		t.Errorf("%d bytes are left of 48 MiB that are all trimmed", size)
	}
	r.restart()
	r.append(r.Batch(1, 10))
	r.holds(r.stored[1:])
}

func TestRetentionOnRestartedLogFreesTheSame(t *testing.T) {
	var freed []int64
	for _, restart := range []bool{false, true} {
		r := newRig(t, smallSegments())
		r.fill(20)
		if restart {
			r.restart()
		}
		got, err := r.Retain(store.Retention{Before: batchtest.FirstTime + 40, Keep: 50, Bytes: 9000})
		if err != nil {
			t.Fatal(err)
		}
		freed = append(freed, got.Freed)
	}
	if freed[0] == 0 || freed[0] != freed[1] {
		t.Errorf("freed %d bytes, after a restart %d", freed[0], freed[1])
	}
}

// Retention has corrected the time of the last append meanwhile.
func TestAnAppendCountsAfterTheClockHasGoneBackAndForthWithinASecond(t *testing.T) {
	r := newRig(t, smallSegments())
	clock := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	r.store.UseClock(func() time.Time { return clock })
	retain := func() {
		before := clock.Add(-time.Hour).UnixMilli()
		if _, err := r.Retain(store.Retention{Before: before, Unread: before, Keep: math.MaxInt64}); err != nil {
			t.Fatal(err)
		}
	}
	r.fill(1)
	clock = clock.Add(-2 * time.Hour)
	retain()
	clock = clock.Add(2 * time.Hour)
	r.fill(1)
	retain()
	if start, _ := r.Offsets(); start > 0 {
		t.Errorf("a message that was appended a moment ago was removed: the log starts at offset %d", start)
	}
}

// A reader that comes to a segment while it is removed must not make its index
// again.
func TestReadersOfWhatIsForgottenLeaveNoFileBehind(t *testing.T) {
	for range 20 {
		r := newRig(t, smallSegments())
		r.fill(40)
		r.restart()
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				for start := int64(0); start < 120; start, _ = r.Offsets() {
					var c store.Chunk
					_ = r.Read(start, 1, &c) // or it has gone meanwhile
					c.Release()
				}
			})
		}
		for before := int64(1); before <= 120; before++ {
			if err := r.Trim(before); err != nil {
				t.Fatal(err)
			}
		}
		group.Wait()
		logs, indexes := files(t, r.disk, ".log"), files(t, r.disk, ".index")
		if len(logs) != 1 || len(indexes) != 1 {
			t.Fatalf("left are %q and %q", logs, indexes)
		}
	}
}
