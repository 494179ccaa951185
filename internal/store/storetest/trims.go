package storetest

import (
	"math"

	"mbus/internal/store"
)

var trimTests = []test{
	{"the exact start survives a restart", trimsExactly},
	{"a start in the middle of a batch", trimsInBatch},
	{"below the start it does nothing", trimsNothing},
	{"above the high watermark is refused", refusesTrimAboveHigh},
	{"of everything leaves an empty log that goes on", trimsAll},
	{"of an empty log", trimsEmptyLog},
	{"frees space", trimFreesSpace},
}

// trim trims the log and its model.
func (l *log) trim(before int64) {
	l.t.Helper()
	if err := l.Trim(before); err != nil {
		l.t.Fatalf("trim before %d: %v", before, err)
	}
	l.start = max(l.start, before)
	l.cut = true
	if start, _ := l.Offsets(); start != l.start {
		l.t.Fatalf("after a trim before %d the start is %d, want %d", before, start, l.start)
	}
}

func trimsExactly(f *fixture) {
	l := f.filled(40)
	for _, before := range []int64{5, 10, 60, 135, 195, 200} {
		l.trim(before)
		f.check()
		f.restart()
	}
}

func trimsInBatch(f *fixture) {
	l := f.filled(40)
	for before := int64(98); before < 107; before++ {
		l.trim(before)
		l.readsAt(before, l.holding(before))
		f.restart()
	}
}

func trimsNothing(f *fixture) {
	l := f.filled(10)
	l.trim(20)
	for _, before := range []int64{20, 19, 0, -1, math.MinInt64} {
		l.trim(before)
	}
	f.check()
}

func refusesTrimAboveHigh(f *fixture) {
	l := f.filled(10)
	f.refuses("trim", l.Trim(l.next+1), store.ErrOutOfRange)
	f.refuses("trim", l.Trim(math.MaxInt64), store.ErrOutOfRange)
	f.check()
}

func trimsAll(f *fixture) {
	l := f.filled(20)
	l.trim(l.next)
	f.check()
	f.restart()
	if got := l.append(f.Batch(2, 10)); got != 100 {
		f.Errorf("the log went on at %d, want 100", got)
	}
	f.restart()
	l.trim(l.next)
	l.append(f.Batch(1, 10))
}

func trimsEmptyLog(f *fixture) {
	l := f.log()
	l.trim(0)
	f.refuses("trim", l.Trim(1), store.ErrOutOfRange)
	l.append(f.Batch(1, 10))
}

func trimFreesSpace(f *fixture) {
	l := f.filled(60)
	l.trim(l.next - 1)
	if size := l.Size(); size > 2*SegmentBytes {
		f.Errorf("%d bytes are left with one batch", size)
	}
	f.restart()
	if size := l.Size(); size > 2*SegmentBytes {
		f.Errorf("%d bytes are left after a restart", size)
	}
}
