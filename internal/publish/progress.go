package publish

import (
	"sync"

	"mbus/internal/broker"
)

// Progress counts messages that are appended in groups, each of some messages in a row and to one
// partition or more. Those count that are durable without a gap.
type Progress struct {
	onFailure func() // called once; it must not block

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	pending []*group // not durable yet, or behind one that is not; in order
	durable uint64   // messages
	ended   bool     // a group failed, and durable stays what it is
	err     error    // of the first group that failed
}

// A group is messages that were appended together.
type group struct {
	messages   int
	partitions int // in which they are not durable yet
	failed     bool
}

// NewProgress has no messages yet. onFailure is called when the first group fails.
func NewProgress(onFailure func()) *Progress {
	p := &Progress{onFailure: onFailure}
	p.changed.L = &p.mu
	return p
}

// Append appends the messages of out. It waits while too many are on their way. The error is that of the
// first group that failed.
func (p *Progress) Append(out *Batch) error {
	if out.Messages() == 0 {
		return p.Failure()
	}
	g := &group{messages: out.Messages(), partitions: max(out.Partitions(), 1)}
	p.mu.Lock()
	for len(p.pending) >= broker.InFlight {
		p.changed.Wait()
	}
	p.pending = append(p.pending, g)
	p.mu.Unlock()
	out.Append(broker.HTTP, func(err error) { p.complete(g, err) })
	return p.Failure()
}

// complete says that the messages of a group are durable in one of its partitions, or failed there.
func (p *Progress) complete(g *group, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g.partitions--
	if err != nil {
		if p.err == nil {
			p.err = err
			p.onFailure()
		}
		g.failed = true
	}
	for len(p.pending) > 0 && p.pending[0].partitions == 0 {
		if p.ended = p.ended || p.pending[0].failed; !p.ended {
			p.durable += uint64(p.pending[0].messages)
		}
		p.pending = p.pending[1:]
	}
	p.changed.Broadcast()
}

// Failure is the error of the first group that failed.
func (p *Progress) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Wait waits for all groups, and returns how many messages from the first on are durable.
func (p *Progress) Wait() (durable uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.pending) > 0 {
		p.changed.Wait()
	}
	return p.durable, p.err
}
