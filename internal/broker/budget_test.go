package broker_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/broker"
)

// budgetSize is that of a test's budget: those who wait may have 100 bytes of it.
const budgetSize = 103

var nothing broker.Hold

func all(n int) broker.Hold { return broker.Hold{Bytes: n, Share: broker.Whole} }

func quiet() {}

func TestWhoWaitsForMemoryIsServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewBudget(budgetSize)
		if !b.Take(90) {
			t.Fatal("there is room for 90")
		}
		var mu sync.Mutex
		var served []int
		wait := func(name, n int) {
			go func() {
				if err := b.Wait(nothing, all(n), nil, quiet); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				served = append(served, name)
			}()
			synctest.Wait()
		}
		wait(1, 50)
		wait(2, 5) // which would fit, and is not the first
		wait(3, 50)
		if b.Waiting() != 3 || len(served) != 0 {
			t.Fatalf("%d wait, served are %v", b.Waiting(), served)
		}
		b.Give(39)
		synctest.Wait()
		if len(served) != 0 {
			t.Errorf("with 49 left served are %v", served)
		}
		b.Give(6)
		synctest.Wait()
		if b.Waiting() != 1 || len(served) != 2 {
			t.Errorf("%d wait, served are %v", b.Waiting(), served)
		}
		b.Give(45)
		b.Return(all(5))
		synctest.Wait()
		if len(served) != 3 || served[2] != 3 || b.Take(4) || !b.Take(3) {
			t.Errorf("served are %v", served)
		}
	})
}

func TestWaitingForMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewBudget(budgetSize)
		if one, other := b.Fits(51), b.Fits(50); !errors.Is(one, broker.ErrNeverFits) || other != nil {
			t.Errorf("half of it: %v, %v", one, other)
		}
		part := broker.Hold{Bytes: 10, Share: broker.SmallPart}
		if err := b.Wait(nothing, part, nil, quiet); err != nil {
			t.Fatal(err)
		}
		b.Take(90)
		quit := make(chan struct{})
		results := make(chan error, 2)
		waits := 0
		go func() { results <- b.Wait(part, all(50), quit, func() { waits++ }) }()
		synctest.Wait()
		go func() { results <- b.Wait(nothing, all(10), nil, func() { waits++ }) }()
		synctest.Wait()
		b.Give(20) // not enough for the first
		synctest.Wait()
		if b.Waiting() != 2 || waits != 2 {
			t.Errorf("%d wait, %d have said so", b.Waiting(), waits)
		}
		close(quit) // the second is the first now, and there is enough
		synctest.Wait()
		if one, other := <-results, <-results; errors.Is(one, broker.ErrGivenUp) == errors.Is(other, broker.ErrGivenUp) || b.Waiting() != 0 {
			t.Errorf("%v, %v, %d wait", one, other, b.Waiting())
		}
		b.Return(part) // which it still had
		if b.Take(24) || !b.Take(23) {
			t.Error("80 bytes should be taken")
		}
	})
}

// As many as want to hold parts of requests, all of which need more: there is always one
// that gets it.
func TestThoseWhoHoldAPartDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewBudget(1024)
		var ended sync.WaitGroup
		for range 200 {
			ended.Go(func() {
				have := nothing
				for _, want := range []broker.Hold{
					{Bytes: 4, Share: broker.SmallPart}, {Bytes: 64, Share: broker.LargePart}, {Bytes: 496, Share: broker.Whole},
				} {
					if err := b.Wait(have, want, nil, quiet); err != nil {
						t.Error(err)
					}
					have = want
					time.Sleep(time.Second) // of the bubble: the others come as far as they can
				}
				b.Return(have)
			})
		}
		ended.Wait() // synctest sees a deadlock
		if b.Waiting() != 0 || !b.Take(1024) {
			t.Errorf("%d wait, and not all is there", b.Waiting())
		}
	})
}

// Whatever comes and goes, nothing is lost and nobody is forgotten.
func TestABudgetIsWholeWhenAllHaveGivenBack(t *testing.T) {
	b := broker.NewBudget(budgetSize)
	var ended sync.WaitGroup
	for i := range 16 {
		ended.Go(func() {
			for j := range 500 {
				n := 1 + (i*j)%50
				quit := make(chan struct{})
				switch (i + j) % 3 {
				case 0:
					if b.Take(n) {
						b.Give(n)
					}
					continue
				case 1:
					go close(quit)
				}
				part := broker.Hold{Bytes: 1 + n/4, Share: broker.SmallPart}
				if b.Wait(nothing, part, quit, quiet) != nil {
					continue
				}
				if b.Wait(part, all(n), quit, quiet) == nil {
					part = all(n)
				}
				b.Return(part)
			}
		})
	}
	ended.Wait()
	if b.Waiting() != 0 || !b.Take(budgetSize) {
		t.Errorf("%d wait, and not all is there", b.Waiting())
	}
}
