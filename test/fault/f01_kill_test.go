package fault

import (
	"testing"
	"time"

	"mbus/test/brokertest"
)

// readyWithin is how soon a killed broker has to listen again.
const readyWithin = 2 * time.Second

// Injected: kill -9 under 8 publishers and 8 consumers, again and again, and now
// and then once more while the broker starts. Expected: it listens again within
// two seconds, what was acknowledged or shown is there once and in order, and
// each group gets each message.
func TestF01KilledUnderLoad(t *testing.T) {
	for range runs(1, 25) {
		c := newCrowd(t, brokertest.Start(t, t.TempDir()), "load", seeds(t), 8, 8)
		var sum tally
		for range runs(5, 20) {
			sum.Runs++
			c.live(1+c.random.IntN(20_000), c.b.Kill)
			for c.random.IntN(3) == 0 {
				sum.Runs++
				c.b.Begin()
				time.Sleep(time.Duration(c.random.IntN(int(30 * time.Millisecond)))) // a moment of its start
				c.b.Kill()
			}
			c.restartSoon()
		}
		c.report(sum)
		c.b.Stop()
	}
}

// restartSoon starts the killed broker again, which must be ready within two seconds.
// A machine that is busy may have it be late once; a broker that is slow is it each
// time.
func (c *crowd) restartSoon() {
	c.t.Helper()
	for range 5 {
		c.b.Restart()
		if c.b.ReadyAfter() <= readyWithin {
			return
		}
	}
	c.t.Errorf("ready again after %v", c.b.ReadyAfter())
}
