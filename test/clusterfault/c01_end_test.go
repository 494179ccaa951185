package clusterfault

import (
	"testing"
	"time"

	"mbus/test/brokertest"
)

// strike does something to a cluster, and waits until all clients get on.
func (l *load) strike(what string, do func()) {
	l.t.Helper()
	at := time.Now()
	do()
	l.t.Logf("%s: %s", what, l.recover(at))
}

// restart starts a node that has ended.
func (l *load) restart(nodes ...int) {
	l.t.Helper()
	for _, n := range nodes {
		l.cluster.Nodes[n].Begin()
	}
	for _, n := range nodes {
		if err := l.cluster.Nodes[n].Ready(); err != nil {
			l.t.Fatal(err)
		}
	}
}

// another is a node that is not the owner, and the third one.
func another(c *brokertest.Cluster) (owner, other, third int) {
	owner = c.Owner()
	return owner, (owner + 1) % 3, (owner + 2) % 3
}

// C01, C02, C04, C09: processes are killed while all kinds of clients use all nodes.
func TestC01NodesAreKilled(t *testing.T) {
	l := start(t)
	c := l.cluster
	faults := 0
	for range runs(1, 20) {
		owner, _, _ := another(c)
		l.strike("C01, the owner killed", func() { c.Nodes[owner].Kill() })
		l.strike("it starts again", func() { l.restart(owner) })
		_, other, _ := another(c)
		l.strike("C02, another node killed", func() { c.Nodes[other].Kill() })
		l.strike("it starts again", func() { l.restart(other) })
		owner, other, _ = another(c)
		l.strike("C09, two killed, and one back", func() {
			c.Nodes[owner].Kill()
			c.Nodes[other].Kill()
			rest(t.Context(), 2*time.Second) // for what was answered before to come
			if n := l.gotOnFor(2 * time.Second); n > 0 {
				t.Errorf("%d times a client of one node of three got on", n)
			}
			l.restart(other)
		})
		l.strike("and the other", func() { l.restart(owner) })
		l.strike("C04, all killed", func() {
			for _, b := range c.Nodes {
				b.Kill()
			}
			l.restart(0, 1, 2)
		})
		faults += 7 + l.roll()
	}
	l.judge("C01 C02 C03 C04 C09 ended", faults)
}

// C03: nodes are stopped by SIGTERM and started one after the other, and no position goes back. The brief run has it within C01.
func TestC03RollingRestart(t *testing.T) {
	needLong(t)
	l := start(t)
	faults := 0
	for range runs(1, 20) {
		faults += l.roll()
	}
	l.judge("C03 rolling restart", faults)
}

// roll stops and starts each node, and says how many.
func (l *load) roll() int {
	l.t.Helper()
	for node, b := range l.cluster.Nodes {
		l.strike("C03, SIGTERM", func() {
			if err := b.Terminate(); err != nil {
				l.t.Error(err)
			}
			if err := b.Wait(); err != nil {
				l.t.Errorf("node %d: %v", node+1, err)
			}
			l.restart(node)
		})
	}
	return len(l.cluster.Nodes)
}
