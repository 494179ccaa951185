package cluster

import (
	"flag"
	"testing"
	"time"

	"mbus/test/brokertest"
)

var (
	rounds   = flag.Int("rounds", 1, "how often each node is killed and stopped")
	failover = flag.Duration("failover", 2*time.Second, "-cluster-failover of the nodes")
)

// Any node may be killed, and clients of all nodes and ways in go on: nothing that was acknowledged is lost, and
// nothing is there twice. The owner of the topics, stopped in good order, hands them over at once.
func TestANodeIsKilledAndNothingIsLostOrDoubled(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3, "-cluster-failover", failover.String())
	l := startLoad(t, c)
	l.recover(time.Now())
	kill := func(b *brokertest.Broker) { b.Kill() }
	for range *rounds {
		l.fault("the owner, is killed", c.Owner(), kill)
		l.fault("another than the owner, is killed", (c.Owner()+1)%len(c.Nodes), kill)
		l.fault("the owner, is stopped", c.Owner(), (*brokertest.Broker).Stop)
		l.fault("another than the owner, is stopped", (c.Owner()+1)%len(c.Nodes), (*brokertest.Broker).Stop)
	}
	l.mustBeWhole()
}

// fault ends a node by a way, waits until all clients go on, and starts it again.
func (l *load) fault(what string, victim int, end func(b *brokertest.Broker)) {
	l.t.Helper()
	at := time.Now()
	end(l.cluster.Nodes[victim])
	none := l.recover(at)
	l.t.Logf("%s: node %d, %s: a client had no acknowledgement for %v", at.Format(time.TimeOnly), victim+1, what, none)
	l.cluster.Start(victim)
	l.cluster.AwaitHealthy()
}
