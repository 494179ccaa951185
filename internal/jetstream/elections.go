package jetstream

import (
	"sync"
	"time"
	_ "unsafe" // for go:linkname
)

// The engine's times of elections. It exports no setting for them.
var (
	//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
	minElectionTimeout time.Duration
	//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
	maxElectionTimeout time.Duration
	//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
	hbInterval time.Duration
	//go:linkname lostQuorumInterval github.com/nats-io/nats-server/v2/server.lostQuorumInterval
	lostQuorumInterval time.Duration
	//go:linkname lostQuorumCheck github.com/nats-io/nats-server/v2/server.lostQuorumCheck
	lostQuorumCheck time.Duration
)

var elections sync.Mutex

// setElections sets the time after which nodes that hear nothing of a leader elect another: from half
// of failover to all of it. The servers of a process share it, so that it is set before the first one
// starts and stays.
func setElections(failover time.Duration) {
	elections.Lock()
	defer elections.Unlock()
	if failover <= 0 || maxElectionTimeout == failover {
		return
	}
	minElectionTimeout, maxElectionTimeout = failover/2, failover
	hbInterval = min(time.Second, failover/8)
	lostQuorumInterval, lostQuorumCheck = 2*failover, 2*failover
}
