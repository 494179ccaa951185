package storetest

import (
	"math"

	"mbus/internal/store"
)

var retainTests = []test{
	{"nothing asked for, nothing forgotten", retainsAll},
	{"by age, nothing young goes", retainsByAge},
	{"by age, out-of-order times keep what they must", retainsNonMonotonicAge},
	{"by age, what is to be kept is held", retainsKept},
	{"by age, a part is held", retainsPartly},
	{"by size, the oldest go", retainsBySize},
	{"by size, what is to be kept goes too", retainsBySizeInSpiteOfKeep},
	{"an empty log", retainsEmptyLog},
	{"again and again while the log grows", retainsGrowingLog},
}

// forever keeps nothing from going by age.
const forever = math.MaxInt64

// retain applies r and checks what every retention promises.
func (l *log) retain(r store.Retention) store.Retained {
	l.t.Helper()
	sizeBefore := l.Size()
	got, err := l.Retain(r)
	if err != nil {
		l.t.Fatalf("retain %+v: %v", r, err)
	}
	start, high := l.Offsets()
	if got.Start != start || start < l.start || high != l.next || start > high {
		l.t.Fatalf("retain %+v from %d gave %+v, the offsets are %d to %d, want %d", r, l.start, got, start, high, l.next)
	}
	if got.Freed != sizeBefore-l.Size() {
		l.t.Errorf("freed %d bytes, the size went from %d to %d", got.Freed, sizeBefore, l.Size())
	}
	l.checkForgotten(r, start)
	l.start, l.cut = start, true
	return got
}

// checkForgotten checks that what went below start was to be forgotten.
func (l *log) checkForgotten(r store.Retention, start int64) {
	l.t.Helper()
	left := sizeOf(l.visible())
	for _, b := range l.visible() {
		if b.Next > start {
			break
		}
		byAge := b.maxTime() < r.Before && b.Next <= r.Keep
		bySize := r.Bytes > 0 && left > r.Bytes-SegmentBytes // what goes at a time went together
		if !byAge && !bySize {
			l.t.Fatalf("retain %+v forgot offsets %d to %d of time %d with %d bytes left", r, b.Base, b.Next, b.maxTime(), left)
		}
		left -= int64(len(b.Bytes))
	}
}

func retainsAll(f *fixture) {
	l := f.filled(40)
	if got := l.retain(store.Retention{Keep: forever}); got != (store.Retained{}) {
		f.Errorf("retained %+v", got)
	}
	f.check()
}

func retainsByAge(f *fixture) {
	l := f.filled(60)
	l.retain(store.Retention{Before: FirstTime, Keep: forever})
	if l.start != 0 {
		f.Errorf("the start is %d with nothing old", l.start)
	}
	half := l.batches[30].maxTime()
	got := l.retain(store.Retention{Before: half, Keep: forever})
	if l.start == 0 || got.Held {
		f.Errorf("half the log was old: %+v", got)
	}
	if old := half - FirstTime - l.start; old*130 > 2*SegmentBytes {
		f.Errorf("%d old records are left, from %d on", old, l.start)
	}
	f.restart()
	l.retain(store.Retention{Before: half, Keep: forever})
	f.check()
}

func retainsNonMonotonicAge(f *fixture) {
	l := f.log()
	for i := range int64(60) {
		time := FirstTime + i
		if i == 20 {
			time = FirstTime + 1000 // keeps its segment, and so all behind it
		}
		l.append(f.At(time, time, time, time))
	}
	l.retain(store.Retention{Before: FirstTime + 500, Keep: forever})
	if l.start == 0 || l.start > 80 {
		f.Errorf("the start is %d, want it up to 80, where a young batch begins", l.start)
	}
	f.check()
}

func retainsKept(f *fixture) {
	l := f.filled(40)
	got := l.retain(store.Retention{Before: math.MaxInt64, Keep: 0})
	if !got.Held || l.start != 0 {
		f.Errorf("retained %+v, want everything held", got)
	}
	f.check()
}

func retainsPartly(f *fixture) {
	l := f.filled(60)
	got := l.retain(store.Retention{Before: math.MaxInt64, Keep: 152})
	if !got.Held || l.start == 0 || l.start > 152 {
		f.Errorf("retained %+v, want something gone and something held", got)
	}
	f.restart()
	got = l.retain(store.Retention{Before: math.MaxInt64, Keep: forever})
	if got.Held {
		f.Errorf("retained %+v with nothing to keep", got)
	}
	f.restart()
	l.append(f.Batch(1, 10))
}

func retainsBySize(f *fixture) {
	l := f.filled(60)
	all := l.Size()
	if got := l.retain(store.Retention{Bytes: all, Keep: forever}); got.Freed != 0 {
		f.Errorf("freed %d bytes of a log that is no larger than allowed", got.Freed)
	}
	for _, bytes := range []int64{3 * all / 4, all / 2, all / 3, 1} {
		got := l.retain(store.Retention{Bytes: bytes, Keep: forever})
		if got.Held || l.Size() > bytes+2*SegmentBytes {
			f.Errorf("%d bytes are left, allowed are %d: %+v", l.Size(), bytes, got)
		}
		f.restart()
	}
	l.append(f.Batch(1, 10))
}

func retainsBySizeInSpiteOfKeep(f *fixture) {
	l := f.filled(60)
	l.retain(store.Retention{Bytes: 2 * SegmentBytes, Keep: 0})
	if l.start == 0 {
		f.Error("nothing was forgotten")
	}
}

func retainsEmptyLog(f *fixture) {
	l := f.log()
	if got := l.retain(store.Retention{Before: math.MaxInt64, Keep: forever, Bytes: 1}); got != (store.Retained{}) {
		f.Errorf("retained %+v", got)
	}
}

func retainsGrowingLog(f *fixture) {
	l := f.log()
	for i := range 100 {
		l.append(f.Batch(3, 100))
		l.retain(store.Retention{Before: FirstTime + int64(3*i-60), Keep: int64(2 * i), Bytes: 6 * SegmentBytes})
		if i%25 == 24 {
			f.restart()
		}
	}
	if l.start == 0 {
		f.Error("nothing was forgotten")
	}
}
