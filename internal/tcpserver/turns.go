package tcpserver

import (
	"runtime"
	"sync"
	"time"
)

// turns bound the processor time of handshakes, of all servers together: a flood of them leaves the rest to clients
// that work. A handshake has its turn while it computes, not while it waits for its peer.
var turns = newTurns(runtime.GOMAXPROCS(0))

const (
	// turnShare is the part of all processors' time that handshakes may take, in the long run.
	turnShare = 0.25
	// turnBurst is the time that they may take at once after they have taken none, on each processor: it suffices
	// for a thousand clients that come back together.
	turnBurst = 500 * time.Millisecond
)

// A turnLimit is what turns is.
type turnLimit struct {
	slots chan struct{} // holds an element for each turn that goes on
	share float64
	burst time.Duration

	mu     sync.Mutex    // guards what follows
	credit time.Duration // that turns may take; below 0 the next one waits
	at     time.Time     // of credit
}

func newTurns(processors int) *turnLimit {
	burst := time.Duration(processors) * turnBurst
	return &turnLimit{
		slots: make(chan struct{}, max(1, processors/2)), share: float64(processors) * turnShare, burst: burst, credit: burst,
	}
}

// begin waits for a turn, and gives the time that it begins at.
func (t *turnLimit) begin() time.Time {
	t.slots <- struct{}{}
	for {
		now := time.Now()
		wait := t.wait(now)
		if wait <= 0 {
			return now
		}
		time.Sleep(wait)
	}
}

// wait is how long there is no credit.
func (t *turnLimit) wait(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.at.IsZero() {
		t.credit = min(t.burst, t.credit+time.Duration(float64(now.Sub(t.at))*t.share))
	}
	t.at = now
	return time.Duration(float64(-t.credit) / t.share)
}

// end ends a turn.
func (t *turnLimit) end(began, now time.Time) {
	t.mu.Lock()
	t.credit -= now.Sub(began)
	t.mu.Unlock()
	<-t.slots
}

// A pace slows down a listener to 8,000 connections each second. Go looks for bytes that have come when it has
// nothing else to do, or each 10 ms: a flood of connections, each with a goroutine to start, would leave clients
// that work a hundred round trips each second. The system keeps connections that were not accepted yet.
type pace struct {
	accepted int
	began    time.Time
}

const (
	paceConnections = 16
	paceTime        = 2 * time.Millisecond
)

// rest is how long to sleep after a connection, now.
func (p *pace) rest(now time.Time) time.Duration {
	if p.accepted++; p.accepted < paceConnections {
		return 0
	}
	rest := max(0, paceTime-now.Sub(p.began))
	p.accepted, p.began = 0, now.Add(rest)
	return rest
}
