package storetest

import (
	"math"
	"slices"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

var retainTests = []test{
	{"without bounds nothing is removed", retainsAll},
	{"by age, nothing young goes", retainsByAge},
	{"by age, a record's own time counts for an hour at most", retainsLaterRecords},
	{"by age, old records that were appended lately stay", retainsOldRecordsAppendedLately},
	{"by age, an append by a clock that was ahead counts as now", retainsAppendsAheadOfTheClock},
	{"by age, kept records go when they are old enough", retainsUnread},
	{"by age, of a log that is not busy", retainsLogThatIsNotBusy},
	{"by age, kept records stay", retainsKept},
	{"by age, a part is held", retainsPartly},
	{"by size, the oldest go", retainsBySize},
	{"by size, kept records go, too", retainsBySizeInSpiteOfKeep},
	{"by size, small bounds hold", retainsSmallBounds},
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
	for i, b := range l.batches {
		if b.Next <= l.start {
			continue
		}
		if b.Next > start {
			break
		}
		age := l.age(i)
		byAge := age < r.Before && (b.Next <= r.Keep || age < r.Unread)
		bySize := r.Bytes > 0 && left > r.Bytes-SegmentBytes // what goes at a time went together
		if !byAge && !bySize {
			l.t.Fatalf("retain %+v forgot offsets %d to %d of time %d with %d bytes left", r, b.Base, b.Next, age, left)
		}
		left -= int64(len(b.Bytes))
	}
}

const hour = int64(time.Hour / time.Millisecond)

// age is the time that the age of the i-th batch counts from, at the least.
func (l *log) age(i int) int64 {
	return max(l.times[i], min(l.batches[i].MaxTime(), l.times[i]+hour))
}

// pass moves the clock.
func (f *fixture) pass(d time.Duration) { f.clock.Add(d.Milliseconds()) }

// aged makes a log of that many batches of five records and about 650 bytes, that are
// appended ten seconds one after the other.
func (f *fixture) aged(batches int) *log {
	f.Helper()
	l := f.log()
	for range batches {
		l.append(f.Batch(5, 100))
		f.pass(10 * time.Second)
	}
	return l
}

func retainsAll(f *fixture) {
	l := f.filled(40)
	if got := l.retain(store.Retention{Keep: forever}); got != (store.Retained{}) {
		f.Errorf("retained %+v", got)
	}
	f.check()
}

func retainsByAge(f *fixture) {
	l := f.aged(60)
	l.retain(store.Retention{Before: batchtest.FirstTime, Keep: forever})
	if l.start != 0 {
		f.Errorf("the start is %d with nothing old", l.start)
	}
	half := l.times[30]
	got := l.retain(store.Retention{Before: half, Keep: forever})
	if l.start == 0 || got.Held {
		f.Errorf("half the log was old: %+v", got)
	}
	if old := 30*5 - l.start; old*130 > 2*SegmentBytes {
		f.Errorf("%d old records are left, from %d on", old, l.start)
	}
	f.restart()
	l.retain(store.Retention{Before: half, Keep: forever})
	f.check()
}

func retainsLaterRecords(f *fixture) {
	l := f.log()
	for i := range int64(60) {
		at := f.now().UnixMilli()
		switch i {
		case 20:
			at += hour / 2 // keeps its segment, and so all behind it
		case 30:
			at *= 1000 // microseconds
		}
		l.append(f.At(at, at, at, at))
		f.pass(10 * time.Second)
	}
	l.retain(store.Retention{Before: l.times[59], Keep: forever})
	if l.start == 0 || l.start > 80 {
		f.Errorf("the start is %d, want it up to 80, where a young batch begins", l.start)
	}
	l.retain(store.Retention{Before: l.times[20] + hour*3/4, Keep: forever})
	if l.start <= 80 || l.start > 120 {
		f.Errorf("the start is %d, want it up to 120, where a batch of the far future begins", l.start)
	}
	l.retain(store.Retention{Before: l.times[59] + hour + 2000, Keep: forever})
	if l.start != l.next {
		f.Errorf("the start is %d and all up to %d was appended more than an hour before", l.start, l.next)
	}
	f.check()
}

func retainsOldRecordsAppendedLately(f *fixture) {
	l := f.log()
	for range 60 {
		l.append(f.At(1, 2, 3, 4))
		f.pass(10 * time.Second)
	}
	l.retain(store.Retention{Before: batchtest.FirstTime - 1, Keep: forever})
	if l.start != 0 {
		f.Errorf("the start is %d, and all was appended lately", l.start)
	}
	f.restart()
	l.retain(store.Retention{Before: l.times[30], Keep: forever})
	if l.start == 0 {
		f.Error("what was appended long ago is still there")
	}
}

func retainsAppendsAheadOfTheClock(f *fixture) {
	l := f.log()
	f.pass(365 * 24 * time.Hour)
	for range 20 {
		l.append(f.At(batchtest.FirstTime, batchtest.FirstTime, batchtest.FirstTime))
	}
	f.pass(-365 * 24 * time.Hour)
	l.times = slices.Repeat([]int64{f.now().UnixMilli()}, 20)
	l.retain(store.Retention{Before: l.times[0], Keep: forever})
	if l.start != 0 {
		f.Errorf("the start is %d when nothing is old", l.start)
	}
	f.restart()
	f.pass(time.Hour)
	l.retain(store.Retention{Before: l.times[0] + 2000, Keep: forever})
	if l.start == 0 {
		f.Error("what was appended by a clock that was ahead is kept an hour after it was put right")
	}
	f.check()
}

func retainsUnread(f *fixture) {
	l := f.aged(60)
	got := l.retain(store.Retention{Before: l.times[50], Keep: 75, Unread: l.times[10]})
	if l.start == 0 || l.start > 75 || !got.Held {
		f.Errorf("the start is %d, offset 75 is to be kept: %+v", l.start, got)
	}
	got = l.retain(store.Retention{Before: l.times[50], Keep: 75, Unread: l.times[40]})
	if l.start <= 75 || l.start > 200 || !got.Held {
		f.Errorf("the start is %d, what is to be kept is older than that: %+v", l.start, got)
	}
	f.restart()
	before := l.start
	got = l.retain(store.Retention{Before: l.times[50], Keep: 75, Unread: math.MaxInt64})
	if l.start <= before || l.start > 250 || got.Held {
		f.Errorf("the start is %d, none is old enough to be lost twice: %+v", l.start, got)
	}
	f.check()
}

// Without Roll all of it would be in one segment that never gets old.
func retainsLogThatIsNotBusy(f *fixture) {
	l := f.log()
	l.Roll(0, 24*time.Hour)
	for range 20 {
		l.append(f.Batch(1, 10))
		f.pass(12 * time.Hour)
	}
	l.retain(store.Retention{Before: l.times[10], Keep: forever})
	if l.start < 6 || l.start > 10 {
		f.Errorf("the start is %d, want it near 10, with two messages a day", l.start)
	}
	f.restart()
	l.Roll(0, 24*time.Hour)
	l.retain(store.Retention{Before: batchtest.FirstTime}) // after a crash the times of the last appends are unknown
	f.pass(365 * 24 * time.Hour)
	l.retain(store.Retention{Before: f.now().UnixMilli() - hour, Keep: forever})
	if l.start != l.next || l.Size() != 0 {
		f.Errorf("the start is %d of %d with %d bytes, after a year without a message", l.start, l.next, l.Size())
	}
	f.check()
}

// The bound is below what a segment has at the most.
func retainsSmallBounds(f *fixture) {
	l := f.log()
	l.Roll(1000, 0)
	for range 40 {
		l.append(f.Batch(1, 200))
		l.retain(store.Retention{Bytes: 2000})
		if size := l.Size(); size > 3000 {
			f.Fatalf("%d bytes are left, allowed are 2000 and a segment of 1000", size)
		}
	}
	if l.next-l.start < 5 {
		f.Errorf("only %d messages of 300 bytes are left", l.next-l.start)
	}
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
		f.pass(3 * time.Second)
		l.retain(store.Retention{Before: batchtest.FirstTime + int64(3*i-60)*1000, Keep: int64(2 * i), Bytes: 6 * SegmentBytes})
		if i%25 == 24 {
			f.restart()
		}
	}
	if l.start == 0 {
		f.Error("nothing was forgotten")
	}
}
