package turns

import (
	"runtime/metrics"
	"time"
)

// A crowd is the work that waits for the processors: goroutines for each of them, in the mean of the last moments.
type crowd struct {
	processors int
	samples    []metrics.Sample // none for a crowd of nobody
	mean       float64
	at         time.Time
}

const (
	crowdMoment = 100 * time.Millisecond // over which the mean goes
	crowdEach   = time.Millisecond       // the least time between two looks

	// maxCrowd bounds how much a crowd slows down turns: to a quarter.
	maxCrowd = 3
)

func newCrowd(processors int) crowd {
	return crowd{processors: processors, samples: []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}}
}

// slows is by how much turns take less of the processors than they may: 1 where nothing waits for them.
func (c *crowd) slows(now time.Time) float64 {
	if passed := now.Sub(c.at); len(c.samples) > 0 && passed >= crowdEach {
		metrics.Read(c.samples)
		c.add(float64(c.samples[0].Value.Uint64())/float64(c.processors), passed)
		c.at = now
	}
	return 1 + min(c.mean, maxCrowd)
}

// add adds what waits now to the mean.
func (c *crowd) add(waits float64, passed time.Duration) {
	c.mean += (waits - c.mean) * min(1, float64(passed)/float64(crowdMoment))
}
