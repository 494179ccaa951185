package storetest

import (
	"sync/atomic"

	"mbus/internal/store"
)

var wakeTests = []test{
	{"called once when the high watermark passes", wakesOnce},
	{"called at once if it has passed already", wakesAtOnce},
	{"not called before", wakesNotBefore},
	{"not called after it was taken back", cancelsWake},
	{"all waiters are called", wakesAll},
	{"called with the reason when the topic is deleted", wakesOnDelete},
	{"called with the reason when the store is closed", wakesOnClose},
	{"may be asked for again from where it is called", wakesFromWake},
}

// wake registers and counts.
func (l *log) wake(offset int64) (called chan struct{}, count *atomic.Int32, cancel func()) {
	called, count = make(chan struct{}, 100), new(atomic.Int32)
	cancel = l.Wake(offset, func(store.Reason) {
		count.Add(1)
		called <- struct{}{}
	})
	return called, count, cancel
}

func wakesOnce(f *fixture) {
	l := f.filled(2)
	called, count, _ := l.wake(l.next)
	for range 20 {
		l.append(f.Batch(2, 10))
	}
	wait(f.T, called, "the call")
	f.restart()
	if n := count.Load(); n != 1 {
		f.Errorf("called %d times", n)
	}
}

func wakesAtOnce(f *fixture) {
	l := f.filled(2)
	for _, offset := range []int64{-1, 0, l.next - 1} {
		called, _, _ := l.wake(offset)
		wait(f.T, called, "the call")
	}
}

func wakesNotBefore(f *fixture) {
	l := f.filled(1)
	called, count, _ := l.wake(l.next + 9)
	for range 10 {
		if n := count.Load(); n != 0 {
			f.Fatalf("called with the high watermark at %d", l.next)
		}
		l.append(f.Batch(1, 10))
	}
	wait(f.T, called, "the call")
}

func cancelsWake(f *fixture) {
	l := f.filled(1)
	_, count, cancel := l.wake(l.next)
	later, _, _ := l.wake(l.next)
	cancel()
	cancel()
	l.append(f.Batch(1, 10))
	wait(f.T, later, "the call that was not taken back")
	f.restart()
	if n := count.Load(); n != 0 {
		f.Errorf("called %d times", n)
	}
}

func wakesAll(f *fixture) {
	l := f.filled(1)
	const waiters = 500
	called := make(chan int64, waiters)
	for i := range int64(waiters) {
		offset := l.next + i%50
		l.Wake(offset, func(store.Reason) { called <- offset })
	}
	for range 50 {
		l.append(f.Batch(1, 10))
	}
	for range waiters {
		wait(f.T, called, "a call")
	}
}

func wakesFromWake(f *fixture) {
	l := f.log()
	reached := make(chan struct{})
	var again func(store.Reason)
	again = func(store.Reason) {
		_, high := l.Offsets()
		if high >= 10 {
			close(reached)
			return
		}
		l.Wake(high, again)
	}
	l.Wake(0, again)
	for range 10 {
		l.append(f.Batch(1, 10))
	}
	wait(f.T, reached, "the last call")
}

func wakesOnDelete(f *fixture) {
	f.wakesAtTheEnd(store.Deleted, func() { f.delete("orders") })
	f.create("orders", 1)
}

func wakesOnClose(f *fixture) {
	f.wakesAtTheEnd(store.Closed, func() {
		if err := f.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
	})
	f.Store = f.reopen()
	f.connect()
}

// wakesAtTheEnd has some wait for more than there is, and the log end: each is called with
// the reason, and so is one that comes later. One that there was more for is called with
// that.
func (f *fixture) wakesAtTheEnd(want store.Reason, end func()) {
	f.Helper()
	l := f.filled(3)
	reasons := make(chan store.Reason, 10)
	wake := func(r store.Reason) { reasons <- r }
	l.Wake(l.next-1, wake)
	if r := wait(f.T, reasons, "the call for more"); r != store.More {
		f.Errorf("called with the reason %d where there was more", r)
	}
	for _, offset := range []int64{l.next, l.next + 100} {
		l.Wake(offset, wake)
	}
	p := l.Partition
	next := l.next
	end()
	p.Wake(next, wake)
	for range 3 {
		if r := wait(f.T, reasons, "a call at the end"); r != want {
			f.Errorf("called with the reason %d, want %d", r, want)
		}
	}
}
