package delivery

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/units"
)

// Leases are those of clients without a connection, of all groups. Everything that settles a lease
// names it by its token.
type leases struct {
	hub     *Hub
	key     *tokenKey
	held    atomic.Int64 // messages
	waiting atomic.Int64 // requests

	mu      sync.Mutex // guards what follows; taken after a holder's
	serial  uint64     // of the latest holder
	holders map[holderKey]*leaseHolder
	settled settled
}

type holderKey struct {
	topic   broker.TopicID
	group   string
	ordered bool
}

// A leaseHolder is the member of a group that holds what all clients without a connection have
// leased in a topic. It is there while something is leased, or a request waits.
type leaseHolder struct {
	all    *leases
	key    holderKey
	serial uint64
	queue  leaseQueue

	mu       sync.Mutex // guards what follows
	options  Options
	sub      subscription
	sender   sender
	sink     leaseSink
	users    int // requests
	held     map[uint64]*held
	expiries expiries
	timer    *time.Timer
	unwatch  func()
	lost     error // about messages that are missing, for the next request; nil for none
	isOpen   bool
	closed   bool
}

func newLeases(h *Hub) *leases {
	return &leases{hub: h, key: newTokenKey(), holders: make(map[holderKey]*leaseHolder)}
}

// find is the holder of a key; nil for none.
func (a *leases) find(k holderKey) *leaseHolder {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.holders[k]
}

// findOrMake is find, and makes the holder if there is none.
func (a *leases) findOrMake(k holderKey) *leaseHolder {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.holders[k]
	if p == nil {
		a.serial++
		p = &leaseHolder{all: a, key: k, serial: a.serial, held: make(map[uint64]*held)}
		p.sink.holder = p
		a.holders[k] = p
	}
	return p
}

// enter finds the holder for a request, which is one of its users until exit.
func (a *leases) enter(o Options, t *broker.Topic) (*leaseHolder, error) {
	for {
		p := a.findOrMake(holderKey{broker.TopicID(t.ID), o.Group, o.Ordered})
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			continue
		}
		err := p.open(o, t)
		if err == nil {
			p.users++
		} else {
			p.close()
		}
		p.mu.Unlock()
		return p, err
	}
}

// open joins the group. The caller holds mu.
func (p *leaseHolder) open(o Options, t *broker.Topic) error {
	if p.isOpen {
		return nil
	}
	p.options = o
	p.options.Ack, p.options.Follow, p.options.N, p.options.Client = true, true, 0, "HTTP"
	p.options.View = p.all.hub.broker.As(broker.Self) // each request is checked, and the holder outlives its first user
	p.sub.broker, p.sub.options, p.sub.topic = p.all.hub.broker, &p.options, t
	p.sub.waiter = group.NewWaiter(p.queue.wake)
	p.sender = newSender(p.all.hub, &p.sub, &p.sink)
	p.sender.follows = true
	if err := p.sub.join(nil); err != nil {
		return err
	}
	if err := p.sub.begin(); err != nil {
		return err
	}
	for i := range p.sub.partitions {
		p.sub.partitions[i].end = units.End
		p.sub.watch(&p.sub.partitions[i])
	}
	p.unwatch = t.Watch(p.topicHasChanged)
	p.isOpen = true
	return nil
}

// topicHasChanged has requests that wait look at the topic. Leases end with it. It does not block.
func (p *leaseHolder) topicHasChanged() {
	if p.queue.wakeAll(); p.sub.topic.Deleted() {
		go p.isDue()
	}
}

// exit is called when a request has ended. It has got messages, or it may have been woken in vain:
// then the next one is woken.
func (p *leaseHolder) exit(r *leaseRequest, passOn bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	left := p.queue.remove(r)
	if p.closed {
		return
	}
	if left == 0 { // nobody here would use a wake
		p.sub.waiter.Busy()
		p.sub.waiter.PassOn()
	} else if passOn || len(r.ready) > 0 {
		p.queue.wake()
	}
	p.rest()
}

// rest sets the timer, or closes the holder if nothing is left to do. The caller holds mu, of an open
// one.
func (p *leaseHolder) rest() {
	if p.setTimer(); p.users == 0 && (len(p.held) == 0 || p.sub.topic.Deleted()) {
		p.close()
	}
}

// close gives back all that is leased, and leaves the group. The caller holds mu.
func (p *leaseHolder) close() {
	p.closed = true
	p.all.held.Add(-int64(len(p.held)))
	p.held, p.expiries = nil, nil
	p.setTimer()
	if p.unwatch != nil {
		p.unwatch()
	}
	if p.sub.waiter != nil { // it was opened, or tried to
		p.sub.waiter.Close()
		p.sub.release()
	}
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	delete(p.all.holders, p.key)
}

// CloseLeases ends all leases of clients without a connection, and gives their messages back. It
// is called when no requests are left, after Stop.
func (h *Hub) CloseLeases() {
	h.leases.mu.Lock()
	var all []*leaseHolder
	for _, p := range h.leases.holders {
		all = append(all, p)
	}
	h.leases.mu.Unlock()
	for _, p := range all {
		p.mu.Lock()
		if !p.closed {
			p.close()
		}
		p.mu.Unlock()
	}
}

// take leases messages for a request, or has it wait: then both results are nil.
func (p *leaseHolder) take(r *leaseRequest) (*Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errStopped
	}
	defer p.sender.releaseBuffers()
	p.sub.waiter.Busy()
	if err := p.sub.deleted(); err != nil {
		return nil, err
	}
	if err := p.sub.extend(); err != nil {
		return nil, err
	}
	p.expire(time.Now())
	l, err := p.fill(r)
	p.setTimer()
	if l != nil || err != nil {
		p.sub.waiter.PassOn()
		return l, err
	}
	p.queue.add(r)
	p.sub.waiter.Rest()
	return nil, nil
}

// fill leases free messages, as many as the request wants.
func (p *leaseHolder) fill(r *leaseRequest) (*Lease, error) {
	if p.lost != nil {
		return nil, p.report(p.lost)
	}
	room := min(broker.LeasesOfGroup-int64(len(p.held)), broker.LeasesOfAll-p.all.held.Load())
	if room <= 0 {
		return nil, errorf(ErrTooManyLeases, "the clients of group %q have leased %d messages, and all clients %d: acknowledge some", p.options.Group, len(p.held), p.all.held.Load())
	}
	s := &p.sink
	s.begin(r, time.Now().Add(r.want.For))
	err := p.send(min(r.want.Max, room))
	l := s.end()
	if err != nil && !p.sub.missing.isEmpty() {
		if p.lost = err; l == nil {
			return nil, p.report(err)
		}
		return l, nil
	}
	if l != nil {
		return l, nil
	}
	return nil, err
}

// report says, once, that messages are missing.
func (p *leaseHolder) report(err error) error {
	p.sub.missing.passed()
	p.sub.missing.holes, p.lost = nil, nil
	return err
}

// send sends up to most messages to the sink, a chunk of each partition in turn.
func (p *leaseHolder) send(most int64) error {
	s := &p.sink
	for more := true; more; {
		more = false
		first := p.sub.firstTurn()
		for i := range p.sub.partitions {
			left := most - int64(len(s.sent))
			if left <= 0 || len(s.out) >= broker.LeaseBytes {
				return nil
			}
			part := p.sub.turn(first + i)
			_, high := part.log.Offsets()
			s.part = part
			n, err := p.sender.sendFree(part, high, left)
			if err != nil {
				return err
			}
			more = more || n > 0
		}
	}
	return nil
}

// settle calls f for each lease that a token names, and lists the tokens of those that have ended. A
// token that was acknowledged before counts as such if again is set.
func (a *leases) settle(o Options, tokens []string, again bool, f func(*leaseHolder, *held)) (ended []string, err error) {
	t, err := o.Find()
	if err == nil {
		err = o.View.Allow(broker.Read, broker.GroupResource, o.Group)
	}
	if err != nil {
		return nil, forClient(err)
	}
	id := broker.TopicID(t.ID)
	named := make([]named, 0, len(tokens))
	for _, token := range slices.Compact(slices.Sorted(slices.Values(tokens))) {
		n, err := a.read(token, id, o.Group)
		if err != nil {
			return nil, err
		}
		named = append(named, n)
	}
	for _, ordered := range []bool{false, true} {
		if p := a.find(holderKey{id, o.Group, ordered}); p != nil {
			p.settle(named, again, f)
		}
	}
	for i := range named {
		if n := &named[i]; !n.done && !(again && a.wasAcknowledged(n)) {
			ended = append(ended, n.token)
		}
	}
	return ended, nil
}

// A named lease is one that a token names.
type named struct {
	token string
	place place
	seal  seal
	valid bool
	done  bool
}

func (a *leases) read(token string, id broker.TopicID, groupName string) (n named, err error) {
	n.token = token
	n.place, n.seal, n.valid, err = a.key.parse(token, id, groupName)
	if err != nil {
		return n, errorf(ErrToken, "%w: %q", ErrToken, token)
	}
	return n, nil
}

func (a *leases) wasAcknowledged(n *named) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return n.valid && a.settled.has(n.seal)
}

// settle calls f for each lease of the holder, and remembers those that were acknowledged if remember is set.
func (p *leaseHolder) settle(all []named, remember bool, f func(*leaseHolder, *held)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !p.isOpen {
		return
	}
	p.expire(time.Now())
	for i := range all {
		n := &all[i]
		h := p.held[n.place.number]
		if !n.valid || n.place.holder != p.serial || h == nil {
			continue
		}
		n.done = true
		if f(p, h); remember {
			p.all.mu.Lock()
			p.all.settled.add(n.seal)
			p.all.mu.Unlock()
		}
	}
	p.rest()
}

// errStopped is for requests that wait when the broker stops.
var errStopped = forClient(broker.ErrClosed)

// ErrTooManyLeases is the error for a lease when clients hold as many messages as they may. Test with
// errors.Is.
var ErrTooManyLeases = errors.New("too many messages are leased")
