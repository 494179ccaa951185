package cluster

import (
	"flag"
	"testing"
	"time"

	"mbus/test/brokertest"
)

var longer = flag.Duration("frozen", 0, "for how long a node stays frozen when another has replaced it")

// A frozen owner is replaced. It keeps its connections open, and wakes in the belief that it is the owner: nothing that
// it is sent from then on is acknowledged twice or lost.
func TestAFrozenOwnerIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3, "-cluster-failover", failover.String())
	l := startLoad(t, c)
	l.recover(time.Now())
	for range *rounds {
		victim := c.Owner()
		b := c.Nodes[victim]
		at := time.Now()
		if err := b.Freeze(); err != nil {
			t.Fatal(err)
		}
		none := l.recover(at)
		time.Sleep(*longer)
		frozen := time.Since(at)
		if err := b.Thaw(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: node %d, the owner, is frozen for %v: a client had no acknowledgement for %v", at.Format(time.TimeOnly), victim+1, frozen.Round(time.Millisecond), none)
		at = time.Now()
		c.AwaitHealthy()
		t.Logf("after it woke: a client had no acknowledgement for %v", l.recover(at))
	}
	l.mustBeWhole()
}

// All nodes are killed at once, and started again: nothing that was acknowledged is missing.
func TestAllNodesAreKilledAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3, "-cluster-failover", failover.String())
	l := startLoad(t, c)
	l.recover(time.Now())
	for range *rounds {
		at := time.Now()
		for _, b := range c.Nodes {
			b.Kill()
		}
		for _, b := range c.Nodes {
			b.Begin()
		}
		for _, b := range c.Nodes {
			if err := b.Ready(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("all nodes are killed: a client had no acknowledgement for %v", l.recover(at))
		c.AwaitHealthy()
	}
	l.mustBeWhole()
}

// Without two of three nodes nothing is acknowledged, and nothing is lost: clients go on when one is back.
func TestTwoOfThreeNodesAreGone(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3, "-cluster-failover", failover.String())
	l := startLoad(t, c)
	l.recover(time.Now())
	for round := range *rounds {
		first, second := c.Owner(), (c.Owner()+1)%3
		if round%2 == 1 { // the owner stays, and can do nothing
			first = (first + 2) % 3
		}
		c.Nodes[first].Kill()
		c.Nodes[second].Kill()
		gone := time.Now()
		time.Sleep(10 * time.Second)
		if acked := l.since(gone.Add(5 * time.Second)); acked > 0 {
			t.Errorf("%d messages were acknowledged by one node of three", acked)
		}
		back := time.Now()
		c.Start(second)
		t.Logf("one is back: a client had no acknowledgement for %v", l.recover(back))
		c.Start(first)
		c.AwaitHealthy()
	}
	l.mustBeWhole()
}
