package group

// An order has at most one message of each key unacknowledged. The others of
// that key wait in a queue, in the order of their offsets, while messages with
// other keys go on.
type order struct {
	keys map[uint64]*queue
	of   map[int64]uint64 // the key of each message that is first in its queue
}

// A queue is the messages of one key that have been seen and are not
// acknowledged.
type queue struct {
	first int64 // that may be delivered
	rest  []int64
}

// claim leases one message to m, if no other with the same key is
// unacknowledged; if there is one, the message waits for it. It reports whether
// m has the message, and whether it was free at all.
func (p *Position) claim(m *Member, offset int64, key uint64) (got, free bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.order == nil {
		p.order = &order{keys: make(map[uint64]*queue), of: make(map[int64]uint64)}
	}
	s := Span{offset, offset + 1}
	q := p.order.keys[key]
	if q != nil && q.first != offset {
		if !p.take(s, &p.queued) {
			return false, false
		}
		p.parked++
		q.rest = append(q.rest, offset)
		return false, true
	}
	if !p.take(s, m) {
		return false, false
	}
	if q == nil {
		p.order.keys[key] = &queue{first: offset}
		p.order.of[offset] = key
	}
	return true, true
}

// unlockKeys frees the messages that waited for those in s, which have been
// acknowledged. It reports whether there were any. The caller holds mu.
func (p *Position) unlockKeys(s Span) (freed bool) {
	if p.order == nil {
		return false
	}
	if int64(len(p.order.of)) < s.Len() {
		for o := range p.order.of {
			if s.From <= o && o < s.To && p.unlockKey(o) {
				freed = true
			}
		}
		return freed
	}
	for o := s.From; o < s.To; o++ {
		if p.unlockKey(o) {
			freed = true
		}
	}
	return freed
}

// unlockKey frees the message that waited for the one at offset, if there is one.
func (p *Position) unlockKey(offset int64) (freed bool) {
	key, ok := p.order.of[offset]
	if !ok {
		return false
	}
	delete(p.order.of, offset)
	q := p.order.keys[key]
	if len(q.rest) == 0 {
		delete(p.order.keys, key)
		return false
	}
	next := q.rest[0]
	q.first, q.rest = next, q.rest[1:]
	p.order.of[next] = key
	p.replace(Span{next, next + 1}, &p.queued, nil, false)
	p.parked--
	return true
}

// forgetOrder frees all that waits for a key, when no member is left. If a failed
// message waits it does nothing: those with its key may not overtake it. The
// caller holds mu.
func (p *Position) forgetOrder() {
	if p.order == nil || p.anyFailed() {
		return
	}
	for _, q := range p.order.keys {
		p.parked -= len(q.rest)
	}
	p.order = nil
	p.replace(Span{p.committed, maxOffset}, &p.queued, nil, false)
}
