package storetest

import (
	"errors"
	"math"
	"sync"

	"mbus/internal/store"
)

var syncTests = []test{
	{"of an empty log", syncsEmptyLog},
	{"acknowledged batches survive a restart", syncsAnswered},
	{"each caller gets one result", syncsForAll},
	{"of a deleted log ends", syncsDeletedLog},
}

// sync asks for a sync and waits for it.
func (l *log) sync() error {
	done := make(chan error, 2)
	l.Sync(func(err error) { done <- err })
	return wait(l.t, done, "the end of a sync")
}

func syncsEmptyLog(f *fixture) {
	f.refuses("sync", f.log().sync(), nil)
}

func syncsAnswered(f *fixture) {
	l := f.log()
	for range 5 {
		l.append(f.Batch(3, 100), f.Batch(1, 10))
		f.refuses("sync", l.sync(), nil)
		f.restart()
	}
	l.trim(l.next)
	f.refuses("sync", l.sync(), nil)
}

func syncsForAll(f *fixture) {
	l := f.filled(5)
	const callers, calls = 8, 50
	ends := make(chan error, 2*callers*calls)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range calls {
				l.Sync(func(err error) { ends <- err })
			}
		})
	}
	for range 20 {
		l.append(f.Batch(1, 10))
	}
	all.Wait()
	for range callers * calls {
		f.refuses("sync", wait(f.T, ends, "the end of a sync"), nil)
	}
	f.restart()
	if len(ends) > 0 {
		f.Errorf("%d calls more than were asked for", len(ends))
	}
}

func syncsDeletedLog(f *fixture) {
	l := f.filled(5)
	f.delete("orders")
	if err := l.sync(); err != nil && !errors.Is(err, store.ErrClosed) {
		f.Errorf("sync: %v", err)
	}
}

var tailTests = []test{
	{"holds what it is asked for, and not much more", tailsHold},
	{"of an empty log, and of a trimmed one", tailsOfLittle},
}

// checkTail compares the tail of n bytes with the model.
func (l *log) checkTail(n int64) {
	l.t.Helper()
	got, err := l.Tail(n)
	if err != nil {
		l.t.Fatalf("tail of %d bytes: %v", n, err)
	}
	if got < l.start || got > l.next {
		l.t.Fatalf("the tail of %d bytes begins at %d, the log goes from %d to %d", n, got, l.start, l.next)
	}
	var size int64
	for _, b := range l.visible() {
		if b.Next > got {
			size += int64(len(b.Bytes))
		}
	}
	if size-2*SegmentBytes > n || got > l.start && size < min(n, sizeOf(l.visible())) {
		l.t.Errorf("the tail of %d bytes has %d", n, size)
	}
}

func tailsHold(f *fixture) {
	l := f.filled(60)
	for range 2 {
		for _, n := range []int64{0, 1, 500, 1000, SegmentBytes, 3 * SegmentBytes, 1 << 20, math.MaxInt64} {
			l.checkTail(n)
		}
		f.restart()
	}
}

func tailsOfLittle(f *fixture) {
	l := f.log()
	l.checkTail(0)
	l.checkTail(1000)
	for range 20 {
		l.append(f.Batch(5, 100))
	}
	for _, before := range []int64{31, 99, 100} {
		l.trim(before)
		l.checkTail(100)
		l.checkTail(math.MaxInt64)
	}
}
