package group_test

import (
	"errors"
	"fmt"
	"time"

	"mbus/internal/group"
)

// A client is a member as its user sees it.
type client struct {
	group.Member
	group string
	uses  []*use
	sent  []delivery // the message with number 1 first

	waiter  *group.Waiter
	resting bool // it has found nothing, and was not woken since
	woken   bool // and has done nothing yet
}

// A use is how a client uses a position.
type use struct {
	*model
	stale group.Span // of an earlier Free
}

type delivery struct {
	*model
	offset int64
	end    int64 // of the hole behind it
	open   bool
}

// mine says whether a delivery has not been settled.
func (c *client) mine(d delivery) bool {
	m := d.at(d.offset)
	return d.open && m.fate == leased && m.by == c
}

func (s *simulation) join() error {
	if len(s.clients) == maxClients {
		return nil
	}
	c := &client{group: pick(s.rng, groupNames)}
	c.waiter = group.NewWaiter(func() {
		s.tally.wakes.Add(1)
		c.resting, c.woken = false, true
	})
	if s.committing(c.group) {
		return nil
	}
	for _, name := range topicNames {
		l := s.logs[name]
		if l == nil {
			continue
		}
		k := group.Key{Group: c.group, Topic: name}
		p := s.model(k)
		p.pos = position(s.groups, k)
		p.users++
		if s.rng.IntN(4) == 0 {
			p.pos.Start(l.end(), true)
			p.start(l.end(), true)
		} else {
			p.pos.Start(0, false)
			p.start(0, false)
		}
		u := &use{model: p}
		c.waiter.Watch(p.pos, l)
		c.uses = append(c.uses, u)
	}
	s.clients = append(s.clients, c)
	return nil
}

func (s *simulation) leave() error {
	if len(s.clients) > 0 {
		s.leaves(s.rng.IntN(len(s.clients)))
	}
	return nil
}

func (s *simulation) leaves(i int) {
	c := s.clients[i]
	s.clients = append(s.clients[:i:i], s.clients[i+1:]...)
	if s.rng.IntN(2) == 0 {
		s.keep(c)
	}
	c.waiter.Close()
	_ = s.release(c)
	for _, u := range c.uses {
		u.pos.Close()
		u.leave()
		if u.users == 0 && u.unsaved && !u.gone {
			delete(s.models, u.key)
		}
	}
}

// keep has what is not settled be seen later on.
func (s *simulation) keep(c *client) {
	c.Keep()
	for _, d := range c.sent {
		if c.mine(d) {
			d.unsaved = false
		}
	}
}

// lose is what the loss of a connection does.
func (s *simulation) lose(c *client) error {
	oldest := c.Oldest()
	r := s.retry()
	got, ok := c.Lose(r, s.now)
	if ok != (oldest > 0) {
		return fmt.Errorf("lost with %d: %v", oldest, ok)
	}
	if ok {
		s.tally.lost.Add(1)
		if err := s.failed(c, oldest, got, r); err != nil {
			return err
		}
	}
	return s.given(c)
}

// release is what a connection's end does, or a time-out.
func (s *simulation) release(c *client) error {
	c.Release()
	return s.given(c)
}

// given notes that a client has given back all.
func (s *simulation) given(c *client) error {
	for i, d := range c.sent {
		if d.open {
			d.returned++
		}
		if c.mine(d) {
			*d.at(d.offset) = message{attempts: d.at(d.offset).attempts}
			d.release(d.offset+1, d.end)
		}
		c.sent[i].open = false
	}
	return nil
}

// lease looks for free messages and takes some of them.
func (s *simulation) lease(c *client) error {
	if len(c.uses) == 0 {
		return nil
	}
	return s.leaseFrom(c, pick(s.rng, c.uses))
}

// leaseFrom is lease of one position. The rest is left to others, because it may take long to
// send what was leased.
func (s *simulation) leaseFrom(c *client, u *use) error {
	c.waiter.Busy()
	c.resting, c.woken = false, false
	defer c.waiter.PassOn()
	span, due := u.pos.Free(u.log.end(), s.now)
	want, wantDue := u.free(s.now)
	if span.Len() != want.Len() || want.Len() > 0 && span != want || !due.Equal(wantDue) {
		return fmt.Errorf("free is %v, due %v; not %v, %v", span, due, want, wantDue)
	}
	if span.Len() == 0 {
		return nil
	}
	if s.rng.IntN(5) == 0 {
		span, u.stale = u.stale, span
	}
	most := 1 + s.rng.Int64N(6)
	span.To = min(span.To, span.From+most)
	if u.ordered {
		return s.claim(c, u, span)
	}
	before := len(c.sent)
	if err := s.leaseSpan(c, u, span); err != nil {
		return err
	}
	if len(c.sent) > before && s.rng.IntN(6) == 0 {
		s.giveBack(c, u.model, span)
	}
	return nil
}

func (s *simulation) leaseSpan(c *client, u *use, span group.Span) error {
	all := u.allFree(span)
	runs, records := u.log.runs(span)
	bytes, got := records*100+s.rng.Int64N(99), false
	if records == span.Len() {
		got = c.Lease(u.pos, span, bytes)
	} else {
		got = c.LeaseRecords(u.pos, span, runs, bytes)
	}
	if got != all {
		return fmt.Errorf("lease of %v: %v, but it is free: %v", span, got, all)
	}
	if !all {
		return nil
	}
	u.skip(span.From, u.log.holeBehind(span.From-1, span.To))
	for _, run := range runs {
		for o := run.From; o < run.To; o++ {
			if err := s.deliver(c, u.model, o, u.log.holeBehind(o, span.To)); err != nil {
				return err
			}
		}
	}
	return nil
}

// runs are the messages in a span.
func (l *log) runs(span group.Span) (runs []group.Span, records int64) {
	for o := span.From; o < span.To; o++ {
		if l.isHole(o) {
			continue
		}
		records++
		if i := len(runs) - 1; i >= 0 && runs[i].To == o {
			runs[i].To++
		} else {
			runs = append(runs, group.Span{From: o, To: o + 1})
		}
	}
	return runs, records
}

// release has the hole be free that a client has held with the message before it.
func (p *model) release(from, to int64) {
	for o := from; o < to; o++ {
		p.at(o).fate, p.at(o).by = free, nil
	}
}

// claim takes message by message, as the key of each allows.
func (s *simulation) claim(c *client, u *use, span group.Span) error {
	next := u.log.holeBehind(span.From-1, span.To)
	if first := (group.Span{From: span.From, To: next}); first.Len() > 0 {
		all := u.allFree(first)
		if got := u.pos.Skip(first); got != all {
			return fmt.Errorf("skip of %v: %v, but it is free: %v", first, got, all)
		}
		if all {
			u.skip(first.From, first.To)
		}
	}
	for next < span.To {
		o, end := next, u.log.holeBehind(next, span.To)
		next = end
		isFree, waits := u.allFree(group.Span{From: o, To: end}), u.before(o)
		got, wasFree := c.Claim(u.pos, group.Span{From: o, To: end}, u.log.keys[o], 100+s.rng.Int64N(50))
		if wasFree != isFree || got != (isFree && !waits) {
			return fmt.Errorf("claim of %d: %v, free %v; but it is free: %v, waits for its key: %v", o, got, wasFree, isFree, waits)
		}
		switch {
		case got:
			if err := s.deliver(c, u.model, o, end); err != nil {
				return err
			}
			if s.rng.IntN(8) == 0 {
				s.giveBack(c, u.model, group.Span{From: o, To: end})
			}
		case isFree:
			u.at(o).fate = queued
			u.skip(o+1, end)
			s.tally.queued.Add(1)
		}
	}
	return nil
}

// allFree says whether a span is free, and not empty.
func (p *model) allFree(span group.Span) bool {
	all := span.Len() > 0
	for o := span.From; o < span.To; o++ {
		all = all && p.at(o).fate == free
	}
	return all
}

// deliver notes that a message has gone to a client, with the hole behind it.
func (s *simulation) deliver(c *client, p *model, o, end int64) error {
	m := p.at(o)
	if m.confirmed {
		return fmt.Errorf("%d is delivered again", o)
	}
	if m.due.After(s.now) {
		return fmt.Errorf("%d is delivered before it is due", o)
	}
	s.tally.delivered.Add(1)
	for i := o; i < end; i++ {
		p.at(i).fate, p.at(i).by = leased, c
	}
	if end > o+1 {
		s.tally.holes.Add(1)
	}
	c.sent = append(c.sent, delivery{p, o, end, true})
	return nil
}

// giveBack gives back a part of what was leased last.
func (s *simulation) giveBack(c *client, p *model, span group.Span) {
	offset := span.From + s.rng.Int64N(span.Len()+1)
	c.GiveBack(p.pos, offset)
	for i := len(c.sent) - 1; i >= 0 && c.sent[i].open && c.sent[i].model == p && c.sent[i].offset >= span.From && c.sent[i].offset < span.To; i-- {
		d := &c.sent[i]
		p.release(max(d.offset, offset), d.end)
		if d.offset < offset {
			d.end = max(d.offset+1, min(d.end, offset))
			break
		}
		c.sent = c.sent[:i]
	}
}

// ack acknowledges the first n messages, or more than there are.
func (s *simulation) ack(c *client) error {
	n := s.rng.IntN(len(c.sent) + 2)
	if s.rng.IntN(3) == 0 {
		n = len(c.sent)
	}
	err := c.Ack(uint64(n))
	if (n > len(c.sent)) != errors.Is(err, group.ErrNotSent) {
		return fmt.Errorf("ack of %d, of %d sent: %w", n, len(c.sent), err)
	}
	if err != nil {
		return nil
	}
	for i, d := range c.sent[:n] {
		if c.mine(d) {
			s.tally.acked.Add(1)
			d.settleAll()
		}
		c.sent[i].open = false
	}
	return nil
}

// ackSome acknowledges some messages out of turn, or such that there are not.
func (s *simulation) ackSome(c *client) error {
	first := s.rng.IntN(len(c.sent) + 2)
	last := first + s.rng.IntN(4)
	n, err := c.AckSome(uint64(first), uint64(last))
	if (first < 1 || last > len(c.sent)) != errors.Is(err, group.ErrNotSent) {
		return fmt.Errorf("ack of %d to %d, of %d sent: %w", first, last, len(c.sent), err)
	}
	if err != nil {
		return nil
	}
	for i := first - 1; i < last; i++ {
		d := c.sent[i]
		if d.open { // of what was deleted, too
			n--
		}
		if c.mine(d) {
			s.tally.some.Add(1)
			d.settleAll()
		}
		c.sent[i].open = false
	}
	if n != 0 {
		return fmt.Errorf("ack of %d to %d is of %d more than it should", first, last, n)
	}
	return nil
}

// fail says that a message has failed, or one that there is not.
func (s *simulation) fail(c *client) error {
	n := s.rng.IntN(len(c.sent) + 2)
	if s.rng.IntN(2) == 0 && c.Oldest() > 0 {
		n = int(c.Oldest())
	}
	r := s.retry()
	got, ok, err := c.Fail(uint64(n), r, s.now)
	if (n < 1 || n > len(c.sent)) != errors.Is(err, group.ErrNotSent) {
		return fmt.Errorf("fail of %d, of %d sent: %w", n, len(c.sent), err)
	}
	if err != nil {
		return nil
	}
	if ok != c.mine(c.sent[n-1]) {
		return fmt.Errorf("fail of %d: %v", n, ok)
	}
	if !ok {
		c.sent[n-1].open = false
		return nil
	}
	s.tally.failed.Add(1)
	return s.failed(c, uint64(n), got, r)
}

// retry is what the options of a connection ask for, or the answer about a message:
// that it comes again after this time, once, or is dead at once.
func (s *simulation) retry() group.Retry {
	r := group.Retry{Backoff: firstBackoff, Bound: lastBackoff, Attempts: s.rng.IntN(4)}
	if s.rng.IntN(4) == 0 {
		r.Backoff = time.Duration(1+s.rng.IntN(30)) * time.Millisecond
		r.Bound = r.Backoff
	}
	return r
}

// failed notes that message n of a client has failed.
func (s *simulation) failed(c *client, n uint64, got group.Failed, r group.Retry) error {
	d := c.sent[n-1]
	c.sent[n-1].open = false
	m := d.at(d.offset)
	m.attempts++
	d.unsaved = false
	for o := d.offset + 1; o < d.end; o++ {
		d.at(o).fate, d.at(o).by = acked, nil
	}
	want := group.Failed{Position: d.pos, Offset: d.offset, Attempts: m.attempts, Dead: r.Attempts > 0 && m.attempts >= r.Attempts}
	if got != want {
		return fmt.Errorf("fail of %d: %+v, not %+v", n, got, want)
	}
	m.by = nil
	if got.Dead {
		m.fate = dead
		s.letters = append(s.letters, letter{d.model, d.offset})
		return nil
	}
	d.returned++
	m.fate, m.due = failed, s.now.Add(backoff(r, m.attempts))
	return nil
}

// The back-off of most failures: the first, and the bound of its doubling.
const (
	firstBackoff = 10 * time.Millisecond
	lastBackoff  = 50 * time.Millisecond
)

// backoff doubles with each attempt, up to its bound.
func backoff(r group.Retry, attempts int) time.Duration {
	return min(r.Backoff<<(attempts-1), r.Bound)
}

// others asks whether anybody else holds something.
func (s *simulation) others(c *client) error {
	if len(c.uses) == 0 {
		return nil
	}
	u := pick(s.rng, c.uses)
	end, somebody := s.rng.Int64N(u.log.end()+1), false
	u.pos.Free(0, s.now) // frees messages that are due, which nobody holds then
	u.retry(s.now)
	for o := range end {
		m := u.at(o)
		somebody = somebody || m.fate != free && m.fate != acked && m.by != c
	}
	if got := u.pos.LeaseEnded(&c.Member, end) != nil; got != somebody {
		return fmt.Errorf("others below %d: %v, but %v", end, got, somebody)
	}
	return nil
}
