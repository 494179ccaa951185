package delivery

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// A shortLog has nothing but its offsets.
type shortLog struct{ start int64 }

func (l *shortLog) Offsets() (start, high int64) { return l.start, 1 << 40 }

// pieceOf is a batch of so many records from an offset on, with values of a size in bytes.
func pieceOf(offset int64, records, size int) batch.Batch {
	var b batch.Builder
	for range records {
		b.Add(0, nil, make([]byte, size))
	}
	b.Close(offset)
	p := batch.Batch(slices.Clone(b.Bytes()))
	p.Stamp(offset, 0)
	return p
}

func TestLeftoversAreFoundByTheirOffsets(t *testing.T) {
	l, log, other := newLeftovers(broker.NewBudget(1<<30)), new(shortLog), new(shortLog)
	whole := pieceOf(10, 100, 1)
	for _, from := range []int64{10, 20, 40} { // of 10 each
		l.add(log, whole, pieceOf(from, 10, 1))
	}
	for _, c := range []struct {
		offset, end int64
		found       int64 // base of the piece; -1 for none
	}{
		{9, 10, -1},
		{10, 11, 10},
		{19, 20, 10},
		{20, 109, 20},
		{29, 200, 20},
		{30, 31, -1},
		{49, 50, 40},
		{50, 51, -1},
		{10, 110, -1}, // all of it is wanted, as it is stored
		{11, 110, 10},
	} {
		b := l.find(log, c.offset, c.end)
		if (b == nil) != (c.found < 0) || b != nil && b.BaseOffset() != c.found {
			t.Errorf("from %d to %d: %d bytes, not the one from %d on", c.offset, c.end, len(b), c.found)
		}
	}
	if l.find(other, 10, 11) != nil {
		t.Error("found in another log")
	}
	log.start = 15
	if l.find(log, 14, 15) != nil || l.find(log, 15, 16) == nil {
		t.Error("what was deleted is found, or what was not is not")
	}
}

func TestLeftoversAreBoundedAndGiveTheirMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = maxLeftovers + 10_000_000
		budget := broker.NewBudget(limit)
		l, log := newLeftovers(budget), new(shortLog)
		for i := range int64(100) {
			l.add(log, pieceOf(0, 1000, 1), pieceOf(i, 1, 1_000_000))
		}
		if l.find(log, 99, 100) == nil || l.find(log, 0, 1) != nil {
			t.Error("the last is not kept, or the first one is")
		}
		l.add(log, pieceOf(99, 1000, 1), pieceOf(99, 1, 1_000_000))                // is there
		l.add(log, pieceOf(100, 1000, 1), pieceOf(100, 1, maxLeftovers+1_000_000)) // is too large
		if l.find(log, 70, 71) == nil || l.find(log, 100, 101) != nil {
			t.Error("others made room for one that is not kept, or it is kept")
		}
		if !budget.Take(limit - maxLeftovers) {
			t.Error("they take more than they may")
		}
		if budget.Take(maxLeftovers) {
			t.Error("they do not count")
		}
		budget.Give(limit - maxLeftovers)
		time.Sleep(2 * leftoverTime) // in a bubble: nobody uses them
		if l.find(log, 99, 100) != nil || !budget.Take(limit) {
			t.Error("they are kept though nobody uses them")
		}
		l.add(log, pieceOf(0, 1000, 1), pieceOf(0, 1, 10))
		if l.find(log, 0, 1) != nil {
			t.Error("one is kept that there is no memory for")
		}
	})
}

func TestLeftoversGiveWayToThoseThatWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := broker.NewBudget(1_500_000)
		l, log := newLeftovers(budget), new(shortLog)
		l.add(log, pieceOf(0, 10, 1), pieceOf(0, 1, 1_000_000))
		got := make(chan error)
		go func() {
			got <- budget.Wait(broker.Hold{}, broker.Hold{Bytes: 1_000_000, Share: broker.Whole}, nil, func() {})
		}()
		synctest.Wait()
		for range 100 { // it is in use all the time
			l.find(log, 0, 1)
			time.Sleep(leftoverTime / 10) // in a bubble
			select {
			case err := <-got:
				if err != nil {
					t.Error(err)
				}
				l.add(log, pieceOf(0, 10, 1), pieceOf(0, 1, 1_000_000))
				return
			default:
			}
		}
		t.Error("memory was waited for without end")
	})
}
