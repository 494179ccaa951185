package turns

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Turns take less where other work waits for the processors, and a quarter of their share however much waits.
func TestTurnsTakeLessInACrowd(t *testing.T) {
	for _, c := range []struct{ mean, slows float64 }{{0, 1}, {1, 2}, {3, 4}, {1000, 4}} {
		l := NewFor(0.5, 2)
		now := time.Unix(1_000_000, 0)
		l.crowd.mean, l.credit = c.mean, 0
		l.rest(now)
		l.rest(now.Add(100 * time.Millisecond))
		if want := time.Duration(float64(100*time.Millisecond) / c.slows); l.credit != want {
			t.Errorf("in a crowd of %v there is a credit of %s, not %s", c.mean, l.credit, want)
		}
	}
}

func TestTheCrowdIsTheMeanOfTheLastMoments(t *testing.T) {
	c := new(crowd)
	for range 100 {
		c.add(2, crowdMoment/20)
	}
	if c.mean < 1.9 || c.mean > 2 {
		t.Errorf("2 wait all the time, and in the mean %v", c.mean)
	}
	c.add(0, crowdMoment/2)
	if c.mean < 0.9 || c.mean > 1.1 {
		t.Errorf("half of the moments later it is %v", c.mean)
	}
	if c.add(5, time.Hour); c.mean != 5 {
		t.Errorf("an hour later it is %v", c.mean)
	}
}

// Goroutines that wait for a processor are seen.
func TestACrowdIsSeen(t *testing.T) {
	c := newCrowd(runtime.GOMAXPROCS(0))
	end := make(chan struct{})
	var busy sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
			}
		})
	}
	brokertest.Await(t, time.Minute, "the crowd is seen", func() bool { return c.slows(time.Now()) > 2 })
	close(end)
	busy.Wait()
	brokertest.Await(t, time.Minute, "it has gone", func() bool { return c.slows(time.Now()) < 1.5 })
}
