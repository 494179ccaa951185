package cluster

import (
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Any node may be killed, and clients of all nodes and ways in go on: nothing that was acknowledged is lost, and
// nothing is there twice.
func TestANodeIsKilledAndNothingIsLostOrDoubled(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3)
	l := startLoad(t, c)
	l.recover(time.Now())
	for round := range 4 {
		victim := c.Owner()
		if round%2 == 1 { // another one
			victim = (victim + 1) % len(c.Nodes)
		}
		at := time.Now()
		c.Nodes[victim].Kill()
		pause := l.recover(at)
		t.Logf("round %d: node %d was killed: no acknowledgement for %v", round, victim+1, pause.Round(time.Millisecond))
		c.Start(victim)
		time.Sleep(2 * time.Second)
	}
	j, acked := l.judge()
	t.Logf("%d acknowledged: %+v", acked, j)
	if j != (judgement{}) {
		t.Errorf("%+v of %d", j, acked)
	}
}
