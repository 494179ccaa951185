package group_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"mbus/internal/group"
	"mbus/internal/store"
)

func TestAMessageWakesOneOfThoseThatWait(t *testing.T) {
	for name, text := range map[string]string{
		"the one that has waited longest": `
			b rests
			c rests
			log 1
			woken -> b
			b lease 0 1
			b passes on
			woken -> nobody
			log 2
			woken -> c`,
		"and it the next one, if there is more": `
			b rests
			c rests
			d rests
			log 2
			woken -> b
			b lease 0 1
			b passes on
			woken -> c
			c lease 1 2
			c passes on
			woken -> nobody`,
		"a member that is woken and leaves passes it on": `
			b rests
			c rests
			log 1
			woken -> b
			b leaves
			woken -> c`,
		"a member that is woken and has no window left passes it on": `
			b rests
			c rests
			log 1
			woken -> b
			b passes on
			woken -> c
			c passes on
			woken -> nobody`,
		"a member that is woken and rests again is the last": `
			b rests
			c rests
			log 1
			woken -> b
			b rests
			woken -> c
			c lease 0 1
			c passes on
			log 2
			woken -> b`,
		"a member that has become busy is left out": `
			b rests
			c rests
			b passes on
			log 1
			woken -> c`,
		"a member that comes to rest when there is something is woken": `
			log 1
			b rests
			woken -> b`,
		"when something is given back": `
			log 5
			a lease 0 5
			b rests
			c rests
			a acks 2
			woken -> nobody
			a gives back 4
			woken -> b
			b lease 4 5
			b passes on
			woken -> nobody
			a releases
			woken -> c`,
		"when a commit frees something": `
			log 5
			a lease 0 5
			b rests
			c rests
			commit 0
			woken -> b`,
		"when a failed one is due": `
			log 3
			a lease 0 3
			b rests
			c rests
			a fails 1 -> attempt 1 of 0
			woken -> nobody
			after 1s
			woken -> b`,
		"when the first of them is due, and then the second": `
			log 2
			a lease 0 2
			a fails 2 -> attempt 1 of 1
			after 1s
			free 2 -> 1 2
			d lease 1 2
			d fails 1 -> attempt 2 of 1
			b rests
			c rests
			a fails 1 -> attempt 1 of 0
			after 1s
			woken -> b
			b lease 0 1
			b rests
			after 1s
			woken -> c`,
		"when another one looked before it was woken": `
			log 2
			a lease 0 2
			a fails 1 -> attempt 1 of 0
			a fails 2 -> attempt 1 of 1
			b rests
			c rests
			after 1s
			woken -> b
			free 2 -> 0 2
			d lease 0 1
			b lease 1 2
			b passes on
			woken -> nobody`,
		"but none that has left": `
			a rests
			b lease 0 5
			a leaves
			log 5
			b releases
			woken -> nobody`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}

// Each group has its own wake, and so has each position of one.
func TestEveryGroupIsWoken(t *testing.T) {
	l := new(simulatedLog)
	woken := make([]int, 6)
	for i := range woken {
		w := group.NewWaiter(func() { woken[i]++ })
		if p := group.NewPosition(0); i%2 == 0 { // two wait for each
			w.Watch(p, l)
			w.Rest()
			other := group.NewWaiter(func() { woken[i+1]++ })
			other.Watch(p, l)
			other.Rest()
		}
	}
	l.high = 1
	l.tell()
	for i, n := range woken {
		if n != 1-i%2 {
			t.Errorf("member %d was woken %d times", i, n)
		}
	}
}

// Messages come to two positions one at a time while workers rest, and never more than one
// ahead of them: a wake that gets lost leaves the last one lying.
func TestNoWakeIsLost(t *testing.T) {
	const workers, messages = 8, 20_000
	logs := [2]*sharedLog{new(sharedLog), new(sharedLog)}
	positions := [2]*group.Position{group.NewPosition(0), group.NewPosition(0)}
	consumed := make(chan struct{})
	var all sync.WaitGroup
	stop := make(chan struct{})
	for i := range workers {
		all.Go(func() {
			w := &idler{logs: logs, positions: positions, woken: make(chan struct{}, 1), rng: rand.New(rand.NewPCG(uint64(i), 1))}
			w.work(consumed, stop)
		})
	}
	for i := range messages {
		logs[i%2].publish(int64(i/2 + 1))
		if i%3 == 0 {
			runtime.Gosched()
		}
		select {
		case <-consumed:
		case <-time.After(time.Minute):
			t.Fatalf("message %d lies there, and nobody was woken", i)
		}
	}
	close(stop)
	all.Wait()
}

// When as many messages wait as may, nothing above them is free, until the log has lost
// some of them.
func TestWhatIsMissingFreesWhatIsBehindAllThatMayWait(t *testing.T) {
	const mayWait = 10_000
	p := group.NewPosition(0)
	var worker group.Member
	worker.Lease(p, group.Span{To: mayWait}, 0)
	for n := range uint64(mayWait) {
		if _, ok, err := worker.Fail(n+1, group.Retry{Backoff: time.Hour, Bound: time.Hour}, time.Now()); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	woken := 0
	waiter := group.NewWaiter(func() { woken++ })
	defer waiter.Close()
	waiter.Watch(p, &sharedLog{simulatedLog: simulatedLog{high: 2 * mayWait}})
	if waiter.Rest(); woken != 0 {
		t.Fatal("woken although there is nothing")
	}
	if p.ConsumeMissing(group.Span{To: 10}); woken != 1 {
		t.Errorf("woken %d times", woken)
	}
}

// A sharedLog may be used by several goroutines.
type sharedLog struct {
	mu sync.Mutex
	simulatedLog
}

func (l *sharedLog) Offsets() (start, high int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, l.high
}

func (l *sharedLog) Wake(offset int64, f func(store.Reason)) (cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset < l.high {
		go f(store.More)
		return func() {}
	}
	forget := l.simulatedLog.Wake(offset, f)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		forget()
	}
}

// publish has there be messages up to high.
func (l *sharedLog) publish(high int64) {
	l.mu.Lock()
	l.high = high
	var called []func(store.Reason)
	for n, w := range l.wakes {
		if w.offset < l.high {
			delete(l.wakes, n)
			called = append(called, w.f)
		}
	}
	l.mu.Unlock()
	for _, f := range called {
		f(store.More)
	}
}

// An idler takes messages one at a time, rests when there are none, and sometimes has no
// room when it is woken.
type idler struct {
	group.Member
	logs      [2]*sharedLog
	positions [2]*group.Position
	woken     chan struct{}
	rng       *rand.Rand
}

func (w *idler) work(consumed chan<- struct{}, stop <-chan struct{}) {
	wake := func() {
		select {
		case w.woken <- struct{}{}:
		default:
		}
	}
	waiter := group.NewWaiter(wake)
	for i, p := range w.positions {
		waiter.Watch(p, w.logs[i])
	}
	defer waiter.Close()
	for wake(); ; {
		select {
		case <-w.woken:
		case <-stop:
			return
		}
		waiter.Busy()
		for i, p := range w.positions {
			if w.rng.IntN(4) == 0 {
				waiter.PassOn()
				runtime.Gosched()
				continue
			}
			for w.take(i, p) {
				waiter.PassOn()
				select {
				case consumed <- struct{}{}:
				case <-stop:
					return
				}
			}
		}
		waiter.Rest()
	}
}

func (w *idler) take(i int, p *group.Position) bool {
	_, high := w.logs[i].Offsets()
	s, _ := p.Free(high, time.Now())
	if s.Len() == 0 || !w.Lease(p, group.Span{From: s.From, To: s.From + 1}, 0) {
		return false
	}
	w.AckAll()
	return true
}
