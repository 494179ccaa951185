package delivery

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// Leasing is what a client without a connection wants to lease.
type Leasing struct {
	Max  int64         // messages
	For  time.Duration // until the leases expire
	Wait time.Duration // for a message, if there is none
	Gone <-chan struct{}

	// Append encodes a message behind others.
	Append func(dst []byte, d *Delivery, r *batch.Record) []byte
}

// A Lease is messages that are leased to a client without a connection. It ends with Delivered or Lost.
type Lease struct {
	Body    []byte // as Append has encoded it
	holder  *leaseHolder
	numbers []uint64
	taken   int // bytes of the budget
}

// Count is the number of messages.
func (l *Lease) Count() int { return len(l.numbers) }

// A leaseRequest is a request under way.
type leaseRequest struct {
	hub     *Hub
	options Options
	want    Leasing
	ready   chan struct{} // there may be something
	timer   *time.Timer   // of the wait
}

// wake does not block.
func (r *leaseRequest) wake() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// Lease leases messages to a client that settles them by their tokens: Options say of which group.
// A lease that expires is an attempt that has failed, as with an ack timeout. If there is no message
// within the time that the client wants to wait, the Lease has none. The error is an *Error.
func (h *Hub) Lease(o Options, want Leasing) (*Lease, error) {
	if err := o.View.Allow(broker.Read, broker.GroupResource, o.Group); err != nil {
		return nil, forClient(err)
	}
	r := &leaseRequest{hub: h, options: o, want: want, ready: make(chan struct{}, 1), timer: time.NewTimer(want.Wait)}
	defer r.timer.Stop()
	t, err := r.find()
	if t == nil || err != nil {
		return &Lease{}, err
	}
	p, err := h.leases.enter(o, t)
	if err != nil {
		return nil, err
	}
	l, err := r.serve(p)
	p.exit(r, l.Count() > 0)
	return l, err
}

// find is the topic, which is waited for; nil if it does not come.
func (r *leaseRequest) find() (*broker.Topic, error) {
	for {
		t, err := r.options.Find()
		if err == nil || !errors.Is(err, broker.ErrUnknownTopic) {
			return t, forClient(err)
		}
		if r.options.StartEnd {
			if err := r.options.View.ExpectTopic(r.options.Group, r.options.Topic); err != nil {
				return nil, forClient(err)
			}
		}
		cancel := r.options.View.Await(r.options.Topic, r.wake)
		goesOn, err := r.wait()
		if cancel(); !goesOn {
			return nil, err
		}
	}
}

// serve leases messages of a holder, or waits for some.
func (r *leaseRequest) serve(p *leaseHolder) (*Lease, error) {
	for {
		l, err := p.take(r)
		if err != nil {
			return &Lease{}, err
		}
		if l != nil {
			return l, r.pay(l)
		}
		if goesOn, err := r.wait(); !goesOn {
			return &Lease{}, err
		}
	}
}

// pay takes memory of the budget for what is sent. If there is none the messages are given back.
func (r *leaseRequest) pay(l *Lease) error {
	if n := cap(l.Body); r.hub.broker.Budget.Take(n) {
		l.taken = n
		return nil
	}
	l.giveBack()
	return forClient(ErrMemory)
}

// wait waits until there may be a message, and reports false if that is too late.
func (r *leaseRequest) wait() (goesOn bool, err error) {
	select {
	case <-r.hub.stopped:
		return false, errStopped
	default:
	}
	if r.want.Wait <= 0 {
		return false, nil
	}
	a := r.hub.leases
	a.waiting.Add(1)
	defer a.waiting.Add(-1)
	select {
	case <-r.ready:
		return true, nil
	case <-r.timer.C:
		return false, nil
	case <-r.want.Gone:
		return false, nil
	case <-r.hub.stopped:
		return false, errStopped
	}
}

// Leases is how many messages clients without a connection hold, and how many of their requests
// wait for some.
func (h *Hub) Leases() (held, waiting int64) {
	return h.leases.held.Load(), h.leases.waiting.Load()
}

// OldestLease is when the oldest lease of a client without a connection has begun; zero if there is none.
func (h *Hub) OldestLease() (oldest time.Time) {
	h.leases.mu.Lock()
	holders := slices.Collect(maps.Values(h.leases.holders))
	h.leases.mu.Unlock()
	for _, p := range holders {
		p.mu.Lock()
		for _, l := range p.expiries {
			if oldest.IsZero() || l.since.Before(oldest) {
				oldest = l.since
			}
		}
		p.mu.Unlock()
	}
	return oldest
}

// Delivered says that the client may have got the messages.
func (l *Lease) Delivered() {
	if l.taken > 0 {
		l.holder.all.hub.broker.Budget.Give(l.taken)
		l.taken = 0
	}
}

// Lost says that the client is lost: the first message has failed, because the client may be at work on it,
// and the others go to others at once, as where a consumer's connection breaks.
func (l *Lease) Lost() {
	l.Delivered()
	if p := l.holder; len(l.numbers) > 0 {
		p.mu.Lock()
		if h := p.held[l.numbers[0]]; h != nil && !p.all.hub.stopping.Load() {
			p.remove(h)
			p.fail(h, h.retry, "connection lost", func() {})
		}
		p.mu.Unlock()
		l.giveBack()
	}
}

// giveBack gives back what is not settled.
func (l *Lease) giveBack() {
	p := l.holder
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for _, n := range slices.Backward(l.numbers) {
		if h := p.held[n]; h != nil {
			p.remove(h)
			p.sub.member.Return(n)
		}
	}
	p.rest()
}

// AckTokens acknowledges messages by the tokens of their leases. It returns when that is durable, and
// lists the tokens of leases that have ended otherwise before: those messages go to others. The
// same token may be acknowledged again. The error is an *Error, ErrToken with nothing done.
func (h *Hub) AckTokens(o Options, tokens []string) (ended []string, err error) {
	ended, err = h.leases.settle(o, tokens, true, func(p *leaseHolder, x *held) {
		p.remove(x)
		_, _ = p.sub.member.AckSome(x.number, x.number) // which it has
	})
	if err != nil || len(ended) == len(tokens) {
		return ended, err
	}
	return ended, forClient(h.broker.AwaitPositions())
}

// FailTokens says that messages have failed. It returns when that is durable, dead letters included.
// ended and the error are as with AckTokens; the error may be ErrNoDeadLetters.
func (h *Hub) FailTokens(o Options, tokens []string, f Failure) (ended []string, err error) {
	if f.Dead && !broker.HasDeadLetters(o.Topic) {
		return nil, noDeadLetters(o.Topic)
	}
	var burials sync.WaitGroup
	ended, err = h.leases.settle(o, tokens, false, func(p *leaseHolder, x *held) {
		p.remove(x)
		burials.Add(1)
		p.fail(x, f.applied(x.retry), f.Reason, burials.Done)
	})
	burials.Wait()
	if err != nil || len(ended) == len(tokens) {
		return ended, err
	}
	return ended, forClient(h.broker.AwaitPositions())
}

// ExtendTokens has leases expire later, or sooner: that long from now on, until the time that it returns.
func (h *Hub) ExtendTokens(o Options, tokens []string, by time.Duration) (until time.Time, ended []string, err error) {
	until = time.Now().Add(by)
	ended, err = h.leases.settle(o, tokens, false, func(p *leaseHolder, x *held) { p.extend(x, until) })
	return until, ended, err
}
