package fault

import (
	"testing"

	"mbus/test/brokertest"
)

// The negative controls of F03: with a sync that lies, or a broker that does not
// wait for it, the same harness must report loss.
func TestF04PowerCutWithALyingSyncIsSeen(t *testing.T) {
	const slow = "fdatasync:delay_enter=20000" // so that a cut hardly misses what was not synced
	commit := func(old, sabotaged string) string {
		return brokertest.Variant(t, brokertest.Change{File: "internal/commitlog/commit.go", Old: old, New: sabotaged})
	}
	for name, program := range map[string]string{
		"the system's sync lies":       brokertest.Traced(t, "", "fdatasync,fsync:retval=0"),
		"acknowledged before the sync": brokertest.Traced(t, commit("	synced, err := c.sync()\n", "	synced, err := syncPoint{}, error(nil)\n	go c.sync()\n"), slow),
		"shown before the sync":        brokertest.Traced(t, commit("	synced, err := c.sync()\n", "	early, _ := c.publish(end, nil)\n	for _, f := range early {\n		f(store.More)\n	}\n	synced, err := c.sync()\n"), slow),
	} {
		t.Run(name, func(t *testing.T) {
			const attempts = 100 // one in four or five hits what was not synced
			for range attempts {
				if sum := afterOneCut(t, program); sum.Lost > 0 {
					report(t, sum)
					return
				}
			}
			t.Errorf("%d power cuts, and the harness has seen no loss", attempts)
		})
	}
}

// afterOneCut counts the missing messages after a power cut. A broker that does not
// start on the rest has lost everything.
func afterOneCut(t *testing.T, program string) tally {
	c, d := crowdOnDisk(t, program)
	c.live(2000, func() { d.powerCut(t, c.b) })
	c.b.Use("")
	c.b.Begin()
	defer c.b.Kill()
	if c.b.Ready() != nil {
		return tally{Runs: 1, Lost: 2000}
	}
	return c.loss()
}
