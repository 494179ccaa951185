package cluster

import (
	"sync"
	"time"
)

// A pause counts the time in which this node has known no owner. The zero value has begun at no time.
type pause struct {
	mu    sync.Mutex // guards what follows
	since time.Time  // zero while there is an owner
	total time.Duration
}

// note notes whether there is an owner.
func (p *pause) note(owned bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !owned && p.since.IsZero():
		p.since = now
	case owned && !p.since.IsZero():
		p.total += now.Sub(p.since)
		p.since = time.Time{}
	}
}

// sum is the time of all pauses, with the one that goes on.
func (p *pause) sum(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		return p.total
	}
	return p.total + now.Sub(p.since)
}
