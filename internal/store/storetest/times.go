package storetest

import (
	"math"

	"mbus/internal/batch/batchtest"
)

var timeTests = []test{
	{"an empty log gives the high watermark", timeInEmptyLog},
	{"the first batch that is late enough", timeAscending},
	{"times that go back and forth", timeNonMonotonic},
	{"after a restart", timeAfterRestart},
	{"never below the start", timeAfterTrim},
}

// checkTime compares the answer for a time with the model.
func (l *log) checkTime(time int64) {
	l.t.Helper()
	want := l.next
	for _, b := range l.visible() {
		if b.MaxTime() >= time {
			want = max(b.Base, l.start)
			break
		}
	}
	got, err := l.OffsetForTime(time)
	if err != nil {
		l.t.Fatalf("offset for time %d: %v", time, err)
	}
	if got != want {
		l.t.Errorf("offset for time %d is %d, want %d", time, got, want)
	}
}

// checkTimes asks for every batch's times and those just beside.
func (l *log) checkTimes() {
	l.t.Helper()
	for _, b := range l.batches {
		for _, time := range []int64{b.MaxTime() - 1, b.MaxTime(), b.MaxTime() + 1, header(b.Bytes).BaseTimestamp()} {
			l.checkTime(time)
		}
	}
	for _, time := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		l.checkTime(time)
	}
}

func timeInEmptyLog(f *fixture) { f.log().checkTimes() }

func timeAscending(f *fixture) {
	l := f.log()
	for i := range int64(60) {
		l.append(f.At(batchtest.FirstTime+10*i, batchtest.FirstTime+10*i+4))
	}
	l.checkTimes()
}

func timeNonMonotonic(f *fixture) {
	l := f.log()
	for i := range int64(80) {
		time := batchtest.FirstTime + i*i*i%1009*10
		l.append(f.At(time, time-5000, time-7))
		l.checkTime(time)
	}
	l.append(f.At(-5), f.At(0), f.At(math.MaxInt64/2), f.At(batchtest.FirstTime))
	l.checkTimes()
}

func timeAfterRestart(f *fixture) {
	l := f.log()
	for i := range int64(60) {
		l.append(f.At(batchtest.FirstTime+i*37%101, batchtest.FirstTime))
	}
	f.restart()
	l.checkTimes()
	l.append(f.At(batchtest.FirstTime + 1000))
	l.checkTimes()
}

func timeAfterTrim(f *fixture) {
	l := f.log()
	for i := range int64(60) {
		l.append(f.At(batchtest.FirstTime+1000-i*41%101, batchtest.FirstTime))
	}
	for _, before := range []int64{1, 2, 31, 64, 119, 120} {
		l.trim(before)
		l.checkTimes()
	}
}
