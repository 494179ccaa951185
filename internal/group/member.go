package group

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

const maxOffset = math.MaxInt64

// A Member is one connection that takes messages of a group, of any number of
// partitions. It numbers the records that it leases from 1, in the order of the leases:
// the numbers are what a client acknowledges. An offset without a record has no number.
// A Member must not be copied. Its methods may be called by any goroutine.
type Member struct {
	client string // for whom it is; "" for nobody that is known

	mu    sync.Mutex // guards what follows
	sent  []sending  // not settled yet, in the order of their numbers
	last  uint64     // number given
	open  int64      // messages not settled
	bytes int64      // of those, about
	holes holes      // behind records in sent; nil until there is one
}

// A sending is records at offsets in a row, with numbers in a row.
type sending struct {
	pos *Position
	Span
	first uint64 // number of the record at From
	bytes int64
}

// Holes are the offsets without a record that a member holds: where each ends, by where it
// begins. A hole is settled with the record before it.
type holes map[hole]int64

type hole struct {
	pos  *Position
	from int64
}

func (m *Member) addHole(p *Position, s Span) {
	if m.holes == nil {
		m.holes = make(holes)
	}
	m.holes[hole{p, s.From}] = s.To
	p.holes.Add(s.Len())
}

// through extends records by the hole behind them, which is forgotten.
func (m *Member) through(p *Position, s Span) Span {
	if len(m.holes) > 0 {
		s.To += m.takeHole(p, s.To)
	}
	return s
}

// takeHole forgets the hole that begins at an offset, and returns its length.
func (m *Member) takeHole(p *Position, from int64) int64 {
	h := hole{p, from}
	end, ok := m.holes[h]
	if !ok {
		return 0
	}
	delete(m.holes, h)
	p.holes.Add(from - end)
	return end - from
}

// ErrNotSent is the error for an acknowledgement of a message that the member did not get. Test with
// errors.Is.
var ErrNotSent = errors.New("not sent yet")

// Lease gives s, each offset of which has a record, to the member, unless a part of it has
// been given away since Free. bytes is about the size of the records.
func (m *Member) Lease(p *Position, s Span, bytes int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !p.lease(m, s, s.From) {
		return false
	}
	m.add(p, s, s.To, bytes)
	return true
}

// LeaseRecords is Lease for a span in which only the offsets in runs have records: runs are
// ascending parts of s that do not overlap. A hole behind a run is settled with the run's
// last record; one in front of all of them is consumed at once.
func (m *Member) LeaseRecords(p *Position, s Span, runs []Span, bytes int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(runs) == 0 {
		return p.Skip(s)
	}
	if !p.lease(m, s, runs[0].From) {
		return false
	}
	if len(runs) == 1 { // the usual case
		m.add(p, runs[0], s.To, bytes)
		return true
	}
	records := int64(0)
	for _, r := range runs {
		records += r.Len()
	}
	for i, r := range runs {
		end, part := s.To, bytes*r.Len()/records
		if i+1 < len(runs) {
			end = runs[i+1].From
		}
		m.add(p, r, end, part)
		bytes, records = bytes-part, records-r.Len()
	}
	return true
}

// Claim is Lease for one record of a group that is ordered by key: the record is at s.From,
// and the rest of s is a hole. Claim reports whether the member has the record, and whether
// it was free: a free one that the member does not have waits for an earlier one with the
// same key.
func (m *Member) Claim(p *Position, s Span, key uint64, bytes int64) (got, free bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	got, free = p.claim(m, s, key)
	if got {
		m.add(p, Span{s.From, s.From + 1}, s.To, bytes)
	}
	return got, free
}

// add numbers the records in s, which have a hole behind them up to end.
func (m *Member) add(p *Position, s Span, end int64, bytes int64) {
	if s.To < end {
		m.addHole(p, Span{s.To, end})
	}
	n := s.Len()
	first := m.last + 1
	m.last += uint64(n)
	m.open += n
	m.bytes += bytes
	if i := len(m.sent) - 1; i >= 0 {
		l := &m.sent[i]
		if l.pos == p && l.To == s.From && l.first+uint64(l.Len()) == first {
			l.To = s.To
			l.bytes += bytes
			return
		}
	}
	m.sent = append(m.sent, sending{p, s, first, bytes})
}

// Records is how many records in s, of what was leased last in ascending order, are not
// settled.
func (m *Member) Records(p *Position, s Span) (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.sent) - 1; i >= 0 && m.sent[i].pos == p && m.sent[i].To > s.From; i-- {
		n += max(0, min(s.To, m.sent[i].To)-max(s.From, m.sent[i].From))
	}
	return n
}

// GiveBack gives back the records from offset on of what was leased last, in
// ascending order: they have not been sent. Their numbers are given again.
func (m *Member) GiveBack(p *Position, offset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := int64(maxOffset) // what was leased before, but lies above, has been sent
	for i := len(m.sent) - 1; i >= 0 && m.sent[i].pos == p && m.sent[i].To <= next; i-- {
		l := &m.sent[i]
		if l.To <= offset {
			m.giveBackHole(p, Span{l.To, offset})
			return
		}
		next = l.From
		s := Span{max(l.From, offset), l.To}
		p.release(m, m.through(p, s), 0)
		m.shrink(l, s.Len())
		m.last -= uint64(s.Len())
		if l.To = s.From; l.From == l.To {
			m.sent = m.sent[:i]
		}
	}
}

// giveBackHole gives back what lies behind s of the hole that begins with it.
func (m *Member) giveBackHole(p *Position, s Span) {
	end := s.From + m.takeHole(p, s.From)
	if end > s.To {
		p.release(m, Span{s.To, end}, 0)
	}
	if s.To = min(s.To, end); s.Len() > 0 {
		m.addHole(p, s)
	}
}

// shrink takes n messages off what is open, and their part of the bytes.
func (m *Member) shrink(l *sending, n int64) {
	part := l.bytes
	if n < l.Len() {
		part = l.bytes / l.Len() * n
	}
	l.bytes -= part
	m.bytes -= part
	m.open -= n
}

// Ack acknowledges the first n messages of the member, all but those that have failed. The error is ErrNotSent if there are not as many.
func (m *Member) Ack(n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.last {
		return fmt.Errorf("%w: %d were", ErrNotSent, m.last)
	}
	done := 0
	for ; done < len(m.sent) && m.sent[done].first <= n; done++ {
		l := &m.sent[done]
		k := min(l.Len(), int64(n-l.first+1))
		l.pos.consume(m, m.through(l.pos, Span{l.From, l.From + k}))
		m.shrink(l, k)
		l.From += k
		l.first += uint64(k)
		if l.From < l.To {
			break
		}
	}
	m.sent = append(m.sent[:0], m.sent[done:]...)
	return nil
}

// AckSome acknowledges the messages from number first to last, both included, and returns
// how many were not settled before. The error is ErrNotSent
// if there are none with such numbers.
func (m *Member) AckSome(first, last uint64) (n int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if first < 1 || last < first || last > m.last {
		return 0, fmt.Errorf("%w: %d were", ErrNotSent, m.last)
	}
	for i := m.find(first); i < len(m.sent) && m.sent[i].first <= last; {
		l := m.sent[i]
		s := l.Span
		if l.first < first {
			s.From += int64(first - l.first)
		}
		if end := l.first + uint64(l.Len()); end > last+1 {
			s.To -= int64(end - last - 1)
		}
		n += s.Len()
		i = m.takeOut(i, s)
		l.pos.consume(m, m.through(l.pos, s))
	}
	return n, nil
}

// AckAll acknowledges all that was leased.
func (m *Member) AckAll() { _ = m.Ack(m.Sent()) }

// Sent is the number of messages leased so far.
func (m *Member) Sent() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// A Failed message of a member.
type Failed struct {
	Position *Position
	Offset   int64
	Attempts int  // this one included
	Dead     bool // no more attempts: the caller ends with Position.Bury or Unbury
}

// Fail notes that message n has failed. ok is false if it has been settled
// before; the error is ErrNotSent if there is no such message.
func (m *Member) Fail(n uint64, r Retry, now time.Time) (f Failed, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n < 1 || n > m.last {
		return f, false, fmt.Errorf("%w: %d were", ErrNotSent, m.last)
	}
	i := m.find(n)
	if i == len(m.sent) || m.sent[i].first > n {
		return f, false, nil
	}
	f, ok = m.fail(i, m.sent[i].From+int64(n-m.sent[i].first), r, now)
	return f, ok, nil
}

// fail notes that one message of a sending has failed. The caller holds mu.
func (m *Member) fail(i int, offset int64, r Retry, now time.Time) (f Failed, ok bool) {
	l := m.sent[i]
	f.Position, f.Offset = l.pos, offset
	s := Span{offset, offset + 1}
	m.takeOut(i, s)
	f.Attempts, f.Dead = f.Position.fail(m, m.through(l.pos, s), r, now)
	return f, f.Attempts > 0
}

// takeOut settles the messages in cut of a sending. It returns the index of the first
// sending behind them.
func (m *Member) takeOut(i int, cut Span) int {
	l := m.sent[i]
	each := l.bytes / l.Len() // of a message, about
	m.shrink(&l, cut.Len())
	rest := sending{l.pos, Span{cut.To, l.To}, l.first + uint64(cut.To-l.From), 0}
	l.To = cut.From
	switch {
	case rest.Len() == 0:
	case l.Len() == 0:
		rest.bytes = l.bytes
	default:
		rest.bytes = each * rest.Len()
		l.bytes -= rest.bytes
	}
	left := make([]sending, 0, 2)
	if l.Len() > 0 {
		left = append(left, l)
	}
	behind := i + len(left)
	if rest.Len() > 0 {
		left = append(left, rest)
	}
	m.sent = slices.Replace(m.sent, i, i+1, left...)
	return behind
}

// find is the index of the first sending that ends with message n or behind it.
func (m *Member) find(n uint64) int {
	i, _ := slices.BinarySearchFunc(m.sent, n, func(l sending, n uint64) int {
		if l.first+uint64(l.Len()) <= n {
			return -1
		}
		return 1
	})
	return i
}

// Open is the number of messages that are not settled, and their bytes, about.
func (m *Member) Open() (messages, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open, m.bytes
}

// Oldest is the number of the first message that is not settled; 0 for none.
func (m *Member) Oldest() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sent) == 0 {
		return 0
	}
	return m.sent[0].first
}

// Keep has the positions log remember the positions of what is not settled, where nothing is
// kept of them yet: so that what a group has left undone is seen when its members have
// left.
func (m *Member) Keep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.sent {
		l.pos.kept.saveAsItIs()
	}
}

// Release gives back all that is not settled.
func (m *Member) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release()
}

// Lose is Release where the client is lost: the oldest message that is not settled has
// failed, for it may be what the client died of. ok is false if there is none.
func (m *Member) Lose(r Retry, now time.Time) (f Failed, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sent) > 0 {
		f, ok = m.fail(0, m.sent[0].From, r, now)
	}
	m.release()
	return f, ok
}

func (m *Member) release() {
	for _, l := range m.sent {
		l.pos.release(m, m.through(l.pos, l.Span), l.Len())
	}
	m.sent, m.open, m.bytes = nil, 0, 0
}
