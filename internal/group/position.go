package group

import (
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
	key     Key
	topic   ID          // written with the Groups' mu and mu held
	groups  *Groups     // nil for one that is kept nowhere
	set     *set        // that it is, or was, in
	turn    *turn       // nil for one that is kept nowhere
	users   int         // that will call Close; guarded by the Groups' mu
	charged int         // bytes of metadata; guarded by the Groups' mu
	gone    atomic.Bool // deleted, or forgotten; set with mu held

	mu        sync.Mutex // guards what follows
	committed int64
	held      []held        // ascending, not overlapping, above committed
	order     *order        // nil unless messages are ordered by key
	watchers  *watchers     // nil unless somebody watches
	ended     chan struct{} // closed when a lease ends; nil while nobody waits
	lost      int64         // messages that were removed before they were consumed, since the start
	fresh     bool          // nothing is kept of it
	said
	failing
	journaled
}

// What the last commit said beside the offset, if a Kafka client made it.
type said struct {
	unset    int64 // negative: what was committed in place of an offset
	epoch    int32
	metadata string
	assigned bool // by a member with assigned partitions, not leases
}

// commit is what is durable of the position, and whether anything is.
func (p *Position) commit() (Commit, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.durable
	return Commit{p.key.Topic, p.key.Partition, d.offset, d.epoch, d.metadata}, d.ok && !p.gone.Load()
}

// NewPosition makes one that belongs to no group and is kept nowhere.
func NewPosition(offset int64) *Position { return &Position{committed: offset} }

func newPosition(k Key, g *Groups, s State) *Position {
	p := &Position{key: k, topic: s.TopicID, groups: g, journaled: journaled{active: s.At}}
	p.moveTo(s)
	for _, f := range s.Failed {
		p.countFailure(f.Offset, f.Attempts)
	}
	for _, span := range s.Beyond {
		p.held = append(p.held, held{Span: span})
		p.forgetFailures(span)
	}
	p.advance(Span{0, maxOffset})
	return p
}

// moveTo puts the position where a commit says, and forgets all that was above. The caller
// holds mu.
func (p *Position) moveTo(s State) {
	p.committed = max(s.Offset, 0)
	p.said = said{min(s.Offset, 0), s.Epoch, s.Metadata, s.Assigned}
	p.dropOrder()
	p.held, p.retries, p.attempts, p.parked = nil, nil, nil, 0
}

// Key names the position.
func (p *Position) Key() Key { return p.key }

// Turn is the partition with which the group's next member begins to look in the
// topic: the one behind the last that was served. It may be a partition too many.
func (p *Position) Turn() int {
	if p.turn == nil {
		return 0
	}
	return int(p.turn.next.Load())
}

// Served says that a member has got messages of the position: it is the next
// partition's turn.
func (p *Position) Served() {
	if p.turn != nil {
		p.turn.next.Store(int64(p.key.Partition) + 1)
	}
}

// Committed is the offset below which everything has been consumed.
func (p *Position) Committed() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.committed
}

// isFresh says whether nothing is kept of the position.
func (p *Position) isFresh() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fresh
}

// Start has a position that nothing is kept of yet begin at offset. keep has
// the journal remember that, even if nothing is ever acknowledged.
func (p *Position) Start(offset int64, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fresh || len(p.held) > 0 {
		return
	}
	p.unlockKeys(Span{p.committed, offset})
	p.committed = offset
	if keep {
		p.keep()
		p.mark()
	}
}

// Clamp moves a state that lies beyond the end of its log back to the end: its log has
// lost what was consumed, and what is published next must not be skipped. It reports
// whether there was anything beyond.
func (s *State) Clamp(end int64) bool {
	beyond := s.Offset > end
	s.Offset = min(s.Offset, end)
	for i, b := range s.Beyond {
		if b.To > end {
			s.Beyond[i].To, beyond = end, true
			if s.Beyond = s.Beyond[:i+1]; b.From >= end {
				s.Beyond = s.Beyond[:i]
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
	if was = p.committed; was <= end {
		p.mu.Unlock()
		return was, false
	}
	p.moveTo(State{Offset: end, Epoch: NoEpoch, Assigned: p.assigned}) // what is forgotten lies above
	p.keep()
	p.mark()
	p.finish(true)
	return was, true
}

// Rewrite has the journal write the position as it is.
func (p *Position) Rewrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark()
}

// keep says that something is kept of the position from now on. The caller holds
// mu, and marks it.
func (p *Position) keep() {
	if p.fresh && p.set != nil && !p.gone.Load() {
		p.set.kept.Add(1)
	}
	p.fresh = false
}

// keepAsItIs has the journal remember a position that nothing is kept of yet.
func (p *Position) keepAsItIs() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh {
		p.keep()
		p.mark()
	}
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
	p.retry(now)
	if p.parked >= maxParked {
		end = min(end, p.lastParked())
	}
	if p.hasAllKeys() {
		end = min(end, p.order.end)
	}
	from := p.committed
	for _, h := range p.held {
		if h.From > from {
			end = min(end, h.From)
			break
		}
		from = h.To
	}
	if from < end {
		return Span{from, end}, time.Time{}
	}
	if len(p.retries) > 0 {
		due = p.retries[0].due
	}
	return Span{from, from}, due
}

// lease gives s to m, unless a part of it has been given away since Free. What lies below
// first is a hole, and is consumed at once.
func (p *Position) lease(m *Member, s Span, first int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.take(s, m) {
		return false
	}
	if first > s.From {
		hole := Span{s.From, first}
		p.replace(hole, m, nil, true)
		p.skipped(hole)
	}
	return true
}

// Skip consumes a span that has no records. It reports false, and does nothing, if a part
// of the span is not free.
func (p *Position) Skip(s Span) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.take(s, nil) {
		return false
	}
	p.skipped(s)
	return true
}

// skipped notes that a hole counts as consumed. A position that nothing is kept of stays
// so. The caller holds mu.
func (p *Position) skipped(s Span) {
	p.advance(s)
	if !p.fresh {
		p.said = said{epoch: NoEpoch}
		p.mark()
	}
}

// consume says that what m holds of s has been consumed.
func (p *Position) consume(m *Member, s Span) {
	p.mu.Lock()
	if !p.replace(s, m, nil, true) {
		p.mu.Unlock()
		return
	}
	p.consumed(s)
	freed := p.unlockKeys(s)
	p.finish(freed)
}

// consumed notes that a span has been acknowledged. The caller holds mu.
func (p *Position) consumed(s Span) {
	p.forgetFailures(s)
	p.advance(s)
	p.keep()
	p.said = said{epoch: NoEpoch}
	p.mark()
}

// release gives back what m holds of s. The next member that asks gets it.
func (p *Position) release(m *Member, s Span) {
	p.mu.Lock()
	p.finish(p.replace(s, m, nil, false))
}

// finish tells those who wait for the end of a lease, unlocks mu, and then, if
// something has become free, or will, wakes one of those who wait for that.
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

// Others returns a channel that is closed when another member than m gives back
// or acknowledges something, or nil if none holds anything below end.
func (p *Position) Others(m *Member, end int64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.held {
		if h.by != nil && h.by != m && h.From < end {
			if p.ended == nil {
				p.ended = make(chan struct{})
			}
			return p.ended
		}
	}
	return nil
}

// state is what the journal keeps of the position. The caller holds mu.
func (p *Position) state() State {
	s := State{TopicID: p.topic, Offset: p.committed, Epoch: p.epoch, Metadata: p.metadata, Assigned: p.assigned, At: p.active, Failed: p.failures()}
	if p.unset < 0 {
		s.Offset = p.unset
	}
	for _, h := range p.held {
		if h.by == nil && len(s.Beyond) < maxBeyond {
			s.Beyond = append(s.Beyond, h.Span)
		}
	}
	return s
}

func (p *Position) numbers() Numbers {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retry(p.clock().Now())
	n := Numbers{Committed: p.committed, Attempt: p.mostAttempts() + 1, Lost: p.lost}
	for _, h := range p.held {
		switch h.by {
		case nil:
			n.Beyond += h.Len()
		case &p.failed, &p.queued:
			n.Waiting += h.Len()
		default:
			n.Unacknowledged += h.Len()
		}
	}
	return n
}
