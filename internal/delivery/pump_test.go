package delivery

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"mbus/internal/group"
)

// However often a pump is woken: fn runs once at a time, and once more after
// the last wake. That one goroutine leaves a pump while another is started for it is
// rare, so there are many pumps, and more threads than processors.
func TestPumpNeverRunsTwiceAtOnceAndMissesNoWake(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(32))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { wakeOften(t, 10_000) })
	}
	all.Wait()
}

func wakeOften(t *testing.T, wakes int) {
	var work, pushing atomic.Int64
	var twice atomic.Bool
	p := &pump{onError: func() {}}
	p.fn = func() error {
		if pushing.Add(1) > 1 {
			twice.Store(true)
		}
		work.Store(0)
		runtime.Gosched()
		pushing.Add(-1)
		return nil
	}
	p.start()
	var wakers sync.WaitGroup
	for range 2 {
		wakers.Go(func() {
			for range wakes {
				work.Add(1)
				p.wake()
				runtime.Gosched()
			}
		})
	}
	wakers.Wait()
	awaitIdle(p)
	if twice.Load() {
		t.Error("fn was called while it ran")
	}
	if n := work.Load(); n != 0 {
		t.Errorf("%d wakes were missed", n)
	}
}

func awaitIdle(p *pump) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.runs {
		p.idle.Wait()
	}
}

func TestPumpEndsWithTheFirstErrorAndIsWokenNoMore(t *testing.T) {
	first := errors.New("first")
	ends, pushes := 0, 0
	p := &pump{onError: func() { ends++ }}
	p.fn = func() error {
		pushes++
		p.wake()
		return first
	}
	p.start()
	awaitIdle(p)
	p.fail(io.EOF)
	p.wake()
	if err := p.stop(func() { t.Error("it is cut") }); err != first || ends != 2 || pushes != 1 {
		t.Errorf("%v after %d pushes, ended %d times", err, pushes, ends)
	}
}

// With ack and without follow the connection ends when nothing is free: what was given back
// after it had looked is to be sent before.
func TestWhatIsGivenBackWhileTheLastIsWrittenIsSentBeforeTheEnd(t *testing.T) {
	s := (&Hub{}).NewSession(Options{Ack: true}, new(memory))
	var pushes atomic.Int32
	s.pump.fn, s.pump.onError = func() error { pushes.Add(1); return nil }, func() {}
	s.sub.waiter = group.NewWaiter(s.pump.wake)
	s.sub.partitions = []partition{{pos: group.NewPosition(0), end: 1}}
	s.pump.start()
	awaitIdle(&s.pump)
	if s.isDone() {
		t.Fatal("it ends although a message is free")
	}
	s.await()
	awaitIdle(&s.pump)
	if n := pushes.Load(); n != 2 {
		t.Errorf("pushed %d times, not 2", n)
	}
}
