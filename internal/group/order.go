package group

// An order has at most one message of each key unacknowledged. The others of
// that key wait in a queue, in the order of their offsets, while messages with
// other keys go on.
type order struct {
	keys map[uint64]*queue
	of   map[int64]uint64 // the key of each message that is first in its queue
	end  int64            // behind the highest message that was claimed
}

// A key takes a hundred bytes. A position has maxKeys at most, and all positions together
// maxAllKeys, but for leastKeys of each. When there are as many, nothing above what was
// claimed is free until one of them is consumed.
const (
	maxKeys    = 100_000
	maxAllKeys = 1_000_000
	leastKeys  = 100
)

// hasAllKeys says whether the position may have no more keys. The caller holds mu, as for
// all that follows.
func (p *Position) hasAllKeys() bool {
	if p.order == nil || len(p.order.keys) < leastKeys {
		return false
	}
	return len(p.order.keys) >= maxKeys || p.groups != nil && p.groups.keys.Load() >= maxAllKeys
}

// countKeys notes n keys more, or less.
func (p *Position) countKeys(n int) {
	if p.groups != nil {
		p.groups.keys.Add(int64(n))
	}
}

// dropOrder forgets who waits for whom.
func (p *Position) dropOrder() {
	if p.order != nil {
		p.countKeys(-len(p.order.keys))
		p.order = nil
	}
}

// A queue is the messages of one key that have been seen and are not
// acknowledged.
type queue struct {
	first int64 // that may be delivered
	rest  []int64
}

// claim leases the record at s.From to m, with the hole that is the rest of s, if no other
// record with the same key is unacknowledged; if there is one, the record waits for it. It
// reports whether m has the record, and whether it was free at all.
func (p *Position) claim(m *Member, s Span, key uint64) (got, free bool) {
	offset := s.From
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.order == nil {
		p.order = &order{keys: make(map[uint64]*queue), of: make(map[int64]uint64)}
	}
	q := p.order.keys[key]
	if q == nil && offset >= p.order.end && p.hasAllKeys() { // below it Free says that they are free
		return false, false
	}
	if q != nil && q.first != offset {
		if !p.take(s, &p.queued) {
			return false, false
		}
		if hole := (Span{offset + 1, s.To}); hole.Len() > 0 {
			p.replace(hole, &p.queued, nil, true)
			p.skipped(hole)
		}
		p.order.end = max(p.order.end, s.To)
		p.parked++
		q.rest = append(q.rest, offset)
		return false, true
	}
	if !p.take(s, m) {
		return false, false
	}
	p.order.end = max(p.order.end, s.To)
	if q == nil {
		p.countKeys(1)
		p.order.keys[key] = &queue{first: offset}
		p.order.of[offset] = key
	}
	return true, true
}

// unlockKeys frees the messages that waited for those in s, which have been
// acknowledged. It reports whether anything has become free. The caller holds mu.
func (p *Position) unlockKeys(s Span) (freed bool) {
	if p.order == nil {
		return false
	}
	if p.hasAllKeys() {
		freed = true // what comes behind them, if there are fewer now
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
		p.countKeys(-1)
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
	if p.order == nil || p.anyFailed() && !p.gone.Load() {
		return
	}
	for _, q := range p.order.keys {
		p.parked -= len(q.rest)
	}
	p.dropOrder()
	p.replace(Span{p.committed, maxOffset}, &p.queued, nil, false)
}
