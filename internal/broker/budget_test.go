package broker_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"mbus/internal/broker"
)

func TestWhoWaitsForMemoryIsServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewBudget(100)
		if !b.Take(90) {
			t.Fatal("there is room for 90")
		}
		var mu sync.Mutex
		var served []int
		wait := func(name, n int) {
			go func() {
				if err := b.Wait(n, nil); err != nil {
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
		wait(3, 60)
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
		b.Give(45 + 50 + 5)
		synctest.Wait()
		if len(served) != 3 || served[2] != 3 || b.Take(41) || !b.Take(40) {
			t.Errorf("served are %v", served)
		}
	})
}

func TestWaitingForMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.NewBudget(100)
		if err := b.Wait(101, nil); !errors.Is(err, broker.ErrNeverFits) {
			t.Errorf("more than there is: %v", err)
		}
		b.Take(100)
		quit := make(chan struct{})
		results := make(chan error, 2)
		go func() { results <- b.Wait(100, quit) }()
		synctest.Wait()
		go func() { results <- b.Wait(10, nil) }()
		synctest.Wait()
		b.Give(50) // not enough for the first
		synctest.Wait()
		if b.Waiting() != 2 {
			t.Errorf("%d wait", b.Waiting())
		}
		close(quit) // the second is the first now, and there is enough
		synctest.Wait()
		if first, second := <-results, <-results; errors.Is(first, broker.ErrGivenUp) == errors.Is(second, broker.ErrGivenUp) || b.Waiting() != 0 {
			t.Errorf("%v, %v, %d wait", first, second, b.Waiting())
		}
		if b.Take(41) || !b.Take(40) {
			t.Error("60 bytes should be taken")
		}
	})
}

// Whatever comes and goes, nothing is lost and nobody is forgotten.
func TestABudgetIsWholeWhenAllHaveGivenBack(t *testing.T) {
	b := broker.NewBudget(100)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 500 {
				n := 1 + (i*j)%100
				switch (i + j) % 3 {
				case 0:
					if b.Take(n) {
						b.Give(n)
					}
				case 1:
					if b.Wait(n, nil) == nil {
						b.Give(n)
					}
				default:
					quit := make(chan struct{})
					go close(quit)
					if b.Wait(n, quit) == nil {
						b.Give(n)
					}
				}
			}
		})
	}
	all.Wait()
	if b.Waiting() != 0 || !b.Take(100) {
		t.Errorf("%d wait, and not all is there", b.Waiting())
	}
}
