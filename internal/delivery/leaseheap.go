package delivery

import (
	"container/heap"
	"time"

	"mbus/internal/group"
)

// A held message is leased to a client without a connection.
type held struct {
	number  uint64 // of the holder's member
	since   time.Time
	expires time.Time
	retry   group.Retry
	index   int // in expiries
}

// Expiries are held messages, the one that expires next first.
type expiries []*held

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].expires.Before(e[j].expires) }
func (e expiries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

func (e *expiries) Push(x any) {
	h := x.(*held)
	h.index = len(*e)
	*e = append(*e, h)
}

func (e *expiries) Pop() any {
	last := len(*e) - 1
	h := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return h
}

// add holds a message.
func (p *leaseHolder) add(h *held) {
	p.held[h.number] = h
	heap.Push(&p.expiries, h)
	p.all.held.Add(1)
}

// remove ends the lease of a message, which is settled.
func (p *leaseHolder) remove(h *held) {
	delete(p.held, h.number)
	heap.Remove(&p.expiries, h.index)
	p.all.held.Add(-1)
}

// extend has a message expire later, or sooner.
func (p *leaseHolder) extend(h *held, expires time.Time) {
	h.expires = expires
	heap.Fix(&p.expiries, h.index)
}

// expire has messages fail whose lease is over. The caller holds mu, as for all here.
func (p *leaseHolder) expire(now time.Time) {
	if p.all.hub.stopping.Load() { // they are free after the next start
		return
	}
	for len(p.expiries) > 0 && !p.expiries[0].expires.After(now) {
		h := p.expiries[0]
		p.remove(h)
		p.fail(h, h.retry, "ack-timeout", func() {})
	}
}

// fail says that a message has failed. settled is called when a dead one is settled; it must not block.
func (p *leaseHolder) fail(h *held, r group.Retry, reason string, settled func()) {
	failed, ok, err := p.sub.member.Fail(h.number, r, time.Now())
	if err == nil && ok && failed.Dead {
		p.sub.broker.Bury(p.sub.topic, failed, reason, settled)
		return
	}
	settled()
}

// setTimer has isDue called when the next message expires.
func (p *leaseHolder) setTimer() {
	switch {
	case len(p.expiries) == 0 || p.all.hub.stopping.Load():
		if p.timer != nil {
			p.timer.Stop()
		}
	case p.timer == nil:
		p.timer = time.AfterFunc(time.Until(p.expiries[0].expires), p.isDue)
	default:
		p.timer.Reset(time.Until(p.expiries[0].expires))
	}
}

func (p *leaseHolder) isDue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.expire(time.Now())
		p.rest()
	}
}
