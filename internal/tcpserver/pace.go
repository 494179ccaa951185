package tcpserver

import "time"

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
