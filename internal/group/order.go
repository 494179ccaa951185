package group

import (
	"slices"
	"sync/atomic"
)

// An order has at most one message of each key unacknowledged. The others of
// that key wait in a queue, in the order of their offsets, while messages with
// other keys go on. A nil order is that of a position without keys.
type order struct {
	leases *leases       // of the position
	total  *atomic.Int64 // keys of all positions; nil for one that is kept nowhere
	keys   map[uint64]*queue
	of     map[int64]uint64 // the key of each message that is first in its queue
	end    int64            // behind the highest message that was claimed
}

// A queue is the messages of one key that have been seen and are not
// acknowledged.
type queue struct {
	first int64 // that may be delivered
	rest  []int64
}

// A key takes a hundred bytes. A position has maxKeys at most, and all positions together
// maxAllKeys, but for leastKeys of each. When there are as many, nothing above what was
// claimed is free until one of them is consumed.
const (
	maxKeys    = 100_000
	maxAllKeys = 1_000_000
	leastKeys  = 100
)

func newOrder(p *Position) *order {
	o := &order{leases: &p.leases, keys: make(map[uint64]*queue), of: make(map[int64]uint64)}
	if p.groups != nil {
		o.total = &p.groups.keys
	}
	return o
}

// isFull reports whether the position may have no more keys. The caller holds the position's mu,
// as for all that follows.
func (o *order) isFull() bool {
	if o == nil || len(o.keys) < leastKeys {
		return false
	}
	return len(o.keys) >= maxKeys || o.total != nil && o.total.Load() >= maxAllKeys
}

// count notes n keys more, or less.
func (o *order) count(n int) {
	if o.total != nil {
		o.total.Add(int64(n))
	}
}

// drop forgets all keys.
func (o *order) drop() {
	if o != nil {
		o.count(-len(o.keys))
	}
}

// claim gives the record at s.From to m, with the hole that is the rest of s, if no other
// record with the same key is unacknowledged; if there is one, the record waits for it.
func (o *order) claim(m *Member, s Span, key uint64) (got, free bool) {
	offset, q := s.From, o.keys[key]
	if q == nil && offset >= o.end && o.isFull() { // below it Free returns them
		return false, false
	}
	waits := q != nil && q.first != offset
	if waits {
		m = queued
	}
	if !o.leases.take(s, m) {
		return false, false
	}
	o.end = max(o.end, s.To)
	switch {
	case waits:
		q.rest = append(q.rest, offset)
	case q == nil:
		o.count(1)
		o.keys[key] = &queue{first: offset}
		o.of[offset] = key
	}
	return !waits, true
}

// unlock frees the messages that waited for those in s, which have been acknowledged. It
// reports whether anything has become free.
func (o *order) unlock(s Span) (freed bool) {
	if o == nil {
		return false
	}
	freed = o.isFull() // what comes behind them, if there are fewer now
	if int64(len(o.of)) < s.Len() {
		for offset := range o.of {
			if s.From <= offset && offset < s.To && o.unlockKey(offset) {
				freed = true
			}
		}
		return freed
	}
	for offset := s.From; offset < s.To; offset++ {
		if o.unlockKey(offset) {
			freed = true
		}
	}
	return freed
}

// unlockKey frees the message that waited for the one at offset, if there is one.
func (o *order) unlockKey(offset int64) (freed bool) {
	key, ok := o.of[offset]
	if !ok {
		return false
	}
	delete(o.of, offset)
	q := o.keys[key]
	if len(q.rest) == 0 {
		delete(o.keys, key)
		o.count(-1)
		return false
	}
	next := q.rest[0]
	q.first, q.rest = next, q.rest[1:]
	o.of[next] = key
	o.leases.free(Span{next, next + 1}, queued)
	return true
}

// dequeue takes messages in s out of the queues behind their keys: their spans are still to be
// consumed.
func (o *order) dequeue(s Span) {
	if o == nil {
		return
	}
	for _, q := range o.keys {
		q.rest = slices.DeleteFunc(q.rest, func(offset int64) bool { return s.From <= offset && offset < s.To })
	}
}
