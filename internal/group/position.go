package group

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Span is a range of offsets: From up to but not including To.
type Span struct{ From, To int64 }

// Len is the number of offsets in the span.
func (s Span) Len() int64 { return s.To - s.From }

// A Position is how far a group has come in one partition. Everything below the
// committed offset has been consumed. Spans above it may be leased to members,
// acknowledged out of turn, or wait. Its methods may be called by any goroutine.
type Position struct {
	key    Key
	groups *Groups      // nil for one that is kept nowhere
	set    *set         // that it is, or was, in
	turn   *turn        // nil for one that is kept nowhere
	users  int          // that will call Close; guarded by the Groups' mu
	holes  atomic.Int64 // offsets without a record that members hold

	mu       sync.Mutex // guards what follows
	kept     saved
	leases   leases
	failures failures
	order    *order        // nil unless messages are ordered by key
	waiters  *waiters      // nil unless somebody watches
	ended    chan struct{} // closed when a lease ends; nil while nobody waits
	ever     totals
}

// totals count messages since the start.
type totals struct {
	returned int64 // given back, or failed: they are delivered again
	dead     int64 // that went to the dead letters
	lost     int64 // that were removed before they were consumed
}

// NewPosition makes one that belongs to no group and is kept nowhere.
func NewPosition(offset int64) *Position {
	p := makePosition(Key{}, ID{}, nil)
	p.leases.committed = offset
	return p
}

func makePosition(k Key, id ID, g *Groups) *Position {
	p := &Position{key: k, groups: g}
	p.kept.pos, p.kept.topic = p, id
	p.kept.info.epoch = NoEpoch
	return p
}

// loadPosition makes one of what the positions log has kept of it.
func loadPosition(k Key, g *Groups, s State) *Position {
	p := makePosition(k, s.TopicID, g)
	p.kept.active = s.At
	p.moveTo(s)
	for _, f := range s.Failed {
		p.failures.count(f.Offset, f.Attempts)
	}
	for _, span := range s.AckedAhead {
		p.leases.spans = append(p.leases.spans, lease{Span: span})
		p.failures.forget(span)
	}
	p.leases.advance(Span{0, maxOffset})
	p.kept.durable = durable{s.Offset, s.Epoch, s.Metadata, true}
	p.kept.charged = len(s.Metadata)
	return p
}

// moveTo sets the position to a commit, and forgets all that was above. The caller
// holds mu.
func (p *Position) moveTo(s State) {
	p.kept.info = commitInfo{min(s.Offset, 0), s.Epoch, s.Metadata, s.Assigned}
	p.order.drop()
	p.order = nil
	p.leases = leases{committed: max(s.Offset, 0)}
	p.failures = failures{}
}

// Key names the position.
func (p *Position) Key() Key { return p.key }

// Turn is the partition with which the group's next member begins: the one behind the
// last that was served. It may be one above the last partition.
func (p *Position) Turn() int {
	if p.turn == nil {
		return 0
	}
	return int(p.turn.next.Load())
}

// Served is called when a member gets messages of the position: the next partition's turn
// comes.
func (p *Position) Served() {
	if p.turn != nil {
		p.turn.next.Store(int64(p.key.Partition) + 1)
	}
}

// Committed is the offset below which everything has been consumed.
func (p *Position) Committed() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leases.committed
}

// ConsumedEnd is the offset behind the last that has been consumed: the committed offset, or one
// above it where something was acknowledged out of turn.
func (p *Position) ConsumedEnd() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range slices.Backward(p.leases.spans) {
		if l.by == nil {
			return l.To
		}
	}
	return p.leases.committed
}

// Start has a position that nothing is kept of yet begin at offset. keep has
// the positions log remember that, even if nothing is ever acknowledged.
func (p *Position) Start(offset int64, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.kept.unsaved || len(p.leases.spans) > 0 {
		return
	}
	p.order.unlock(Span{p.leases.committed, offset})
	p.leases.committed = offset
	if keep {
		p.kept.save()
		p.kept.mark()
	}
}

// Clamp moves a state that lies beyond the end of its log back to the end: its log has
// lost what was consumed, and what is published next must not be skipped. It reports
// whether there was anything beyond.
func (s *State) Clamp(end int64) bool {
	beyond := s.Offset > end
	s.Offset = min(s.Offset, end)
	for i, b := range s.AckedAhead {
		if b.To > end {
			s.AckedAhead[i].To, beyond = end, true
			if s.AckedAhead = s.AckedAhead[:i+1]; b.From >= end {
				s.AckedAhead = s.AckedAhead[:i]
			}
			break
		}
	}
	for i, f := range s.Failed {
		if f.Offset >= end {
			s.Failed, beyond = s.Failed[:i], true
			break
		}
	}
	if beyond {
		s.Epoch, s.Metadata = NoEpoch, ""
	}
	return beyond
}

// Clamp is State.Clamp for a position that may be in use: one that was committed beyond
// the end of its log is moved back there. It returns where it was.
func (p *Position) Clamp(end int64) (was int64, beyond bool) {
	p.mu.Lock()
	if was = p.leases.committed; was <= end {
		p.mu.Unlock()
		return was, false
	}
	p.moveTo(State{Offset: end, Epoch: NoEpoch, Assigned: p.kept.info.assigned}) // what is forgotten lies above
	p.kept.save()
	p.kept.mark()
	p.finish(true)
	return was, true
}

// Rewrite has the positions log write the position as it is.
func (p *Position) Rewrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept.mark()
}

// maxParked bounds the messages of a position that have failed or are behind one
// with the same key. When there are as many, nothing above them is delivered.
const maxParked = 10_000

// Free finds the lowest offsets, below end, that nobody holds. If there are none
// the span is empty, and due, unless it is zero, is the time when the next
// message that has failed is free again.
func (p *Position) Free(end int64, now time.Time) (s Span, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free(end, now)
}

// free is Free. The caller holds mu.
func (p *Position) free(end int64, now time.Time) (s Span, due time.Time) {
	p.freeDue(now)
	if p.order.isFull() {
		end = min(end, p.order.end)
	}
	if s = p.leases.lowest(end); s.Len() == 0 {
		due = p.failures.nextRetry()
	}
	return s, due
}

// lease gives s to m, unless a part of it has been given away since Free. What lies below
// first is a hole, and is consumed at once.
func (p *Position) lease(m *Member, s Span, first int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.leases.take(s, m) {
		return false
	}
	if first > s.From {
		p.skip(Span{s.From, first}, m)
	}
	return true
}

// claim leases the record at s.From to m, with the hole that is the rest of s, if no other
// record with the same key is unacknowledged; if there is one, the record waits for it. It
// reports whether m has the record, and whether it was free at all.
func (p *Position) claim(m *Member, s Span, key uint64) (got, free bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.order == nil {
		p.order = newOrder(p)
	}
	got, free = p.order.claim(m, s, key)
	if hole := (Span{s.From + 1, s.To}); free && !got && hole.Len() > 0 {
		p.skip(hole, queued)
	}
	return got, free
}

// Skip consumes a span that has no records. It reports false, and does nothing, if a part
// of the span is not free.
func (p *Position) Skip(s Span) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.leases.take(s, nil) {
		return false
	}
	p.skip(s, nil)
	return true
}

// skip consumes a hole that m holds. A position that nothing is kept of stays so. The caller
// holds mu.
func (p *Position) skip(s Span, m *Member) {
	p.leases.transfer(s, m, nil)
	p.leases.advance(s)
	if !p.kept.unsaved {
		p.kept.info = commitInfo{epoch: NoEpoch}
		p.kept.mark()
	}
}

// consume acknowledges what m holds of s.
func (p *Position) consume(m *Member, s Span) {
	p.mu.Lock()
	if !p.leases.transfer(s, m, nil) {
		p.mu.Unlock()
		return
	}
	p.consumed(s)
	p.finish(p.order.unlock(s))
}

// consumed notes that a span has been acknowledged. The caller holds mu.
func (p *Position) consumed(s Span) {
	p.failures.forget(s)
	p.leases.advance(s)
	p.kept.save()
	p.kept.info = commitInfo{epoch: NoEpoch}
	p.kept.mark()
}

// release gives back what m holds of s, with so many messages that were sent. The next member that
// asks gets it.
func (p *Position) release(m *Member, s Span, sent int64) {
	p.mu.Lock()
	p.ever.returned += sent
	p.finish(p.leases.free(s, m))
}

// finish notifies the callers of LeaseEnded, unlocks mu, and then, if something has become
// free, or will, wakes one of the members that wait for that.
func (p *Position) finish(freed bool) {
	if p.ended != nil {
		close(p.ended)
		p.ended = nil
	}
	if !freed {
		p.mu.Unlock()
		return
	}
	p.unlockAndWake()
}

// LeaseEnded returns a channel that is closed when another member than m gives back
// or acknowledges something, or nil if none holds anything below end.
func (p *Position) LeaseEnded(m *Member, end int64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.leases.leasedToOthers(m, end) {
		return nil
	}
	if p.ended == nil {
		p.ended = make(chan struct{})
	}
	return p.ended
}

func (p *Position) numbers() Numbers {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.freeDue(p.clock().Now())
	n := Numbers{Key: p.key, Committed: p.leases.committed, Attempt: p.failures.most() + 1, Returned: p.ever.returned, Dead: p.ever.dead, Lost: p.ever.lost, Members: p.users}
	p.leases.count(&n)
	n.Unacknowledged = max(0, n.Unacknowledged-p.holes.Load())
	return n
}

// forgetOrder frees all that waits for a key, when no member is left. If a failed
// message waits it does nothing: those with its key may not overtake it. The
// caller holds mu.
func (p *Position) forgetOrder() {
	if p.order == nil || p.leases.holdsAny(failed) && !p.kept.gone.Load() {
		return
	}
	p.order.drop()
	p.order = nil
	p.leases.free(Span{p.leases.committed, maxOffset}, queued)
}
