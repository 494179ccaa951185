package clusterfault

import (
	"testing"
	"time"

	"mbus/test/brokertest"
)

// startNetwork starts a cluster whose nodes are hosts of a network. The last host has none.
func startNetwork(t *testing.T) (*load, *brokertest.Network) {
	t.Helper()
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	n := brokertest.NewNetwork(t, 4)
	c := brokertest.NewClusterOn(t, n.Hosts[:3], "-cluster-failover", failover.String())
	c.StartAll()
	return startLoad(t, c, n.Hosts[3]), n
}

// C06: the owner is cut off from all others, with clients on both sides.
func TestC06OwnerIsCutOff(t *testing.T) {
	l, n := startNetwork(t)
	faults := 0
	for range runs(1, 10) {
		owner := l.cluster.Owner()
		l.strike("C06, the owner cut off", func() {
			n.Isolate(owner, true)
			rest(t.Context(), 8*time.Second)
			n.Isolate(owner, false)
		})
		faults++
	}
	if !*long && *rounds == 0 {
		faults += l.cutOneWay(n) + l.delay(n, brokertest.Way{Delay: 20 * time.Millisecond, Loss: 0.02})
	}
	l.judge("C06 owner cut off, and the like", faults)
}

// C07: packets of the owner to one other node, or to all, are lost, and theirs come.
func TestC07OneWayIsCut(t *testing.T) {
	needLong(t)
	l, n := startNetwork(t)
	faults := 0
	for range runs(1, 10) {
		owner, other, _ := another(l.cluster)
		l.strike("C07, from the owner to another node", func() {
			n.Set(owner, other, brokertest.Way{Cut: true})
			rest(t.Context(), 5*time.Second)
			n.Set(owner, other, brokertest.Way{})
		})
		faults += 1 + l.cutOneWay(n)
	}
	l.judge("C07 one way cut", faults)
}

// cutOneWay loses what the owner sends to both others, for a while.
func (l *load) cutOneWay(n *brokertest.Network) int {
	l.t.Helper()
	owner, other, third := another(l.cluster)
	l.strike("C07, from the owner to both others", func() {
		n.Set(owner, other, brokertest.Way{Cut: true})
		n.Set(owner, third, brokertest.Way{Cut: true})
		rest(l.t.Context(), 8*time.Second)
		n.SetAll(brokertest.Way{})
	})
	return 1
}

// C08: packets come late, and some do not come.
func TestC08PacketsAreLateAndLost(t *testing.T) {
	needLong(t)
	l, n := startNetwork(t)
	faults := 0
	for range runs(1, 10) {
		faults += l.delay(n, brokertest.Way{Delay: 50 * time.Millisecond}, brokertest.Way{Loss: 0.05}, brokertest.Way{Delay: 20 * time.Millisecond, Loss: 0.02})
	}
	l.judge("C08 late and lost", faults)
}

// delay has clients get on for a while over each of the ways.
func (l *load) delay(n *brokertest.Network, ways ...brokertest.Way) int {
	l.t.Helper()
	for _, w := range ways {
		l.strike("C08, packets late and lost", func() {
			n.SetAll(w)
			rest(l.t.Context(), 2*time.Second)
		})
		n.SetAll(brokertest.Way{})
	}
	return len(ways)
}
