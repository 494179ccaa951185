package tcpserver

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Whatever turns are asked for, they take a burst, and their share of the time.
func TestTurnsTakeTheirShareOfTheTime(t *testing.T) {
	limit := newTurns(2)
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Unix(1_000_000, 0)
	now, took := start, time.Duration(0)
	for now.Sub(start) < time.Minute {
		if wait := limit.wait(now); wait > 0 {
			now = now.Add(wait)
			continue
		}
		turn := time.Duration(rng.IntN(int(time.Millisecond)))
		limit.slots <- struct{}{}
		now = now.Add(turn)
		limit.end(now.Add(-turn), now)
		took += turn
	}
	if want := limit.burst + time.Minute/2; took < want*99/100 || took > want*101/100 {
		t.Errorf("turns took %s, not %s", took, want)
	}
	now = now.Add(time.Hour)
	if limit.wait(now); limit.credit != limit.burst {
		t.Errorf("after an hour there is a credit of %s", limit.credit)
	}
}

func TestNoMoreTurnsAtATimeThanThereAre(t *testing.T) {
	limit := newTurns(6)
	var turns, most atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			began := limit.begin()
			n := turns.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Millisecond) // this is how long a turn takes
			turns.Add(-1)
			limit.end(began, time.Now())
		})
	}
	all.Wait()
	if most.Load() > 3 {
		t.Errorf("%d turns at a time", most.Load())
	}
}

func TestAFloodOfConnectionsIsPacedAndOthersAreNot(t *testing.T) {
	var p pace
	start := time.Unix(1_000_000, 0)
	now := start
	for range 8000 {
		now = now.Add(p.rest(now))
	}
	if took := now.Sub(start); took < 990*time.Millisecond || took > time.Second {
		t.Errorf("8,000 connections took %s", took)
	}
	for range 1000 {
		now = now.Add(time.Millisecond)
		if rest := p.rest(now); rest != 0 {
			t.Fatalf("a connection each millisecond rests for %s", rest)
		}
	}
}
