package turns

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Whatever turns are asked for, they take a burst, and their share of the time.
func TestTurnsTakeTheirShareOfTheTime(t *testing.T) {
	l := NewFor(0.25, 2)
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(1_000_000, 0)
	now, took := start, time.Duration(0)
	for now.Sub(start) < time.Minute {
		if rest := l.rest(now); rest > 0 {
			now = now.Add(rest)
			continue
		}
		turn := time.Duration(rng.IntN(int(time.Millisecond)))
		now = now.Add(turn)
		l.credit -= turn
		took += turn
	}
	if want := l.burst + time.Minute/2; took < want*99/100 || took > want*101/100 {
		t.Errorf("turns took %s, not %s", took, want)
	}
	now = now.Add(time.Hour)
	if l.rest(now); l.credit != l.burst {
		t.Errorf("after an hour there is a credit of %s", l.credit)
	}
}

// A client that asks, and does not wait, has its turn when one is free, and goes on with it as others do.
func TestATurnThatIsAskedFor(t *testing.T) {
	l := NewFor(1, 2)
	begun := make(chan *Turn, 2)
	for range 2 {
		l.Ask(address(1), func(turn *Turn) { begun <- turn })
	}
	first := <-begun
	if first.Waited() > 0 || len(begun) > 0 {
		t.Errorf("the first waited for %s, and there are %d more", first.Waited(), len(begun))
	}
	first.Pause()
	second := <-begun
	if second.Waited() <= 0 {
		t.Error("the second did not wait")
	}
	second.Pause()
	first.Resume()
	first.Pause()
	if len(begun) > 0 || l.Running() > 0 {
		t.Errorf("%d more have begun, %d go on", len(begun), l.Running())
	}
}

// A turn takes credit for its time. Without credit none begins until there is some.
func TestATurnWaitsForCredit(t *testing.T) {
	l := NewFor(0.5, 2)
	long := l.Begin(address(1))
	long.began = long.began.Add(-l.burst - 20*time.Millisecond)
	long.Pause()
	late := l.Begin(address(1))
	defer late.Pause()
	l.mu.Lock()
	defer l.mu.Unlock()
	if late.Waited() <= 0 || l.credit < 0 {
		t.Errorf("a turn begins after %s with a credit of %s", late.Waited(), l.credit)
	}
}

// A turn that stood still for a minute, because other programs had its processor, does not keep the next one waiting for long.
func TestATurnThatStoodStillIsNotPaidForByOthers(t *testing.T) {
	l := NewFor(0.1, 1)
	slow := l.Begin(address(1))
	slow.began = slow.began.Add(-time.Minute)
	slow.Pause()
	l.mu.Lock()
	defer l.mu.Unlock()
	if rest := l.rest(time.Now()); rest <= 0 || rest > time.Second {
		t.Errorf("the next turn waits for %s", rest)
	}
}

// Turns that go on at a time are all paid for: with many processors they would take more than their share otherwise.
func TestEachOfManyTurnsIsPaidFor(t *testing.T) {
	const turns, took = 32, 5 * time.Millisecond
	l := NewFor(0.1, 2*turns)
	var all []*Turn
	for range turns {
		all = append(all, l.Begin(address(1)))
	}
	l.mu.Lock()
	l.credit = 0
	l.mu.Unlock()
	for _, turn := range all {
		turn.began = time.Now().Add(-took)
		turn.Pause()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.credit > -turns*took {
		t.Errorf("%d turns of %s at a time leave a credit of %s", turns, took, l.credit)
	}
}

func TestNoMoreTurnsAtATimeThanThereAre(t *testing.T) {
	l := NewFor(1, 6)
	var turns, most atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			turn := l.Begin(address(i % 3))
			for range 3 {
				n := turns.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Millisecond) // this is how long a turn takes
				turns.Add(-1)
				turn.Pause()
				turn.Resume()
			}
			turn.Pause()
		})
	}
	all.Wait()
	if most.Load() > 3 {
		t.Errorf("%d turns at a time", most.Load())
	}
	if len(l.waiting)+len(l.order)+len(l.resumed)+l.running > 0 {
		t.Errorf("something is left: %+v", l)
	}
}

// An address that has asked for a thousand turns leaves the next but one to each other, and what has begun goes on first.
func TestAddressesTakeTurns(t *testing.T) {
	l := NewFor(1, 2)
	first := l.Begin(address(0))
	var order []int // the one that has its turn adds to it
	var all sync.WaitGroup
	waiting := 0
	wait := func(number int, begin func() *Turn) {
		all.Go(func() {
			turn := begin()
			order = append(order, number)
			turn.Pause()
		})
		waiting++
		brokertest.Await(t, time.Minute, "it waits", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			n := len(l.resumed)
			for _, of := range l.waiting {
				n += len(of)
			}
			return n == waiting
		})
	}
	for range 1000 {
		wait(1, func() *Turn { return l.Begin(address(1)) })
	}
	wait(2, func() *Turn { return l.Begin(address(2)) })
	wait(3, func() *Turn { return l.Begin(address(3)) })
	wait(5, func() *Turn {
		begun := make(chan *Turn)
		l.Ask(address(5), func(turn *Turn) { begun <- turn })
		return <-begun
	})
	paused := &Turn{limit: l}
	wait(4, func() *Turn { paused.Resume(); return paused })
	first.Pause()
	all.Wait()
	for i, want := range []int{4, 1, 2, 3, 5, 1, 1} {
		if order[i] != want {
			t.Fatalf("the order is %v...", order[:7])
		}
	}
}

func address(i int) netip.Prefix { return Network(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})) }

func TestANetworkIsOneClient(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8::1:2:3:4": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Network(netip.MustParseAddr(text)); got.String() != want {
			t.Errorf("%s is of %s, not of %s", text, got, want)
		}
	}
	if Network(netip.Addr{}).IsValid() {
		t.Error("no address is a network")
	}
}
