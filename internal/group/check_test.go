package group_test

import (
	"errors"
	"fmt"
	"slices"

	"mbus/internal/group"
)

// check compares everything with the model.
func (s *simulation) check() error {
	for _, n := range s.groups.Numbers("") {
		if n.Key == prodKey {
			continue
		}
		p := s.models[n.Key]
		if p == nil {
			return fmt.Errorf("%+v is not forgotten", n)
		}
		if p.inMemory == nil { // the groups may have it in memory since an earlier use of which nothing was kept
			p.inMemory = &group.Numbers{Returned: n.Returned - p.returned, Dead: n.Dead - p.buried}
		}
		n.Returned, n.Dead = n.Returned-p.inMemory.Returned, n.Dead-p.inMemory.Dead
		if want := p.numbers(); n != want {
			return fmt.Errorf("numbers are %+v, not %+v", n, want)
		}
	}
	kept := slices.Concat(s.groups.Of(groupNames[0]), s.groups.Of(groupNames[1]))
	for _, p := range s.models {
		isKept := slices.ContainsFunc(kept, func(e group.Entry) bool { return e.Key == p.key })
		if isKept == p.unsaved {
			return fmt.Errorf("%+v: something is kept: %v", p.key, isKept)
		}
		if err := s.checkPosition(p); err != nil {
			return fmt.Errorf("%+v: %w", p.key, err)
		}
	}
	for _, c := range s.clients {
		if err := s.checkClient(c); err != nil {
			return fmt.Errorf("client of %s: %w", c.group, err)
		}
	}
	return nil
}

func (s *simulation) checkPosition(p *model) error {
	committed := p.committed() // which check has compared
	if committed < p.lowest {
		return fmt.Errorf("committed is %d, was %d", committed, p.lowest)
	}
	p.lowest = committed
	durable, ok := s.groups.Committed(p.key)
	if known, err := group.ParseValue([]byte(p.known)); ok != (err == nil) || ok && durable.Offset != known.Offset {
		return fmt.Errorf("shown is %+v, %v, but durable is %+v, %v", durable, ok, known, err)
	}
	if !p.ordered {
		return nil
	}
	busy := make(map[uint64]bool)
	for o := range p.log.end() {
		if p.log.isHole(o) {
			continue
		}
		switch p.at(o).fate {
		case leased, failed, dead:
			if busy[p.log.keys[o]] {
				return fmt.Errorf("two messages with the key of %d are unacknowledged", o)
			}
			busy[p.log.keys[o]] = true
		}
	}
	return nil
}

func (s *simulation) checkClient(c *client) error {
	open, oldest := int64(0), uint64(0)
	for i, d := range c.sent {
		if !d.open {
			continue
		}
		if open++; oldest == 0 {
			oldest = uint64(i) + 1
		}
		if !c.mine(d) {
			return fmt.Errorf("message %d was given to two", i+1)
		}
	}
	messages, bytes := c.Open()
	if messages != open || c.Sent() != uint64(len(c.sent)) || c.Oldest() != oldest {
		return fmt.Errorf("open are %d of %d from %d on, not %d of %d from %d on",
			messages, c.Sent(), c.Oldest(), open, len(c.sent), oldest)
	}
	if bytes < 100*open || bytes > 199*open+100 {
		return fmt.Errorf("%d messages have %d bytes", open, bytes)
	}
	for _, u := range c.uses {
		if c.resting && u.available(s.now) && !s.anyWoken(u.model) {
			return errors.New("nobody was woken")
		}
	}
	return nil
}

// remember carries over a restart what has been confirmed.
func (p *model) remember(old *model) error {
	if old == nil {
		return nil
	}
	for o := range old.log.end() {
		m := p.at(o)
		m.confirmed = old.at(o).confirmed && old.pending == 0 && !old.uncertain
		if m.confirmed && m.fate != acked {
			return fmt.Errorf("%d is confirmed, and would be delivered again", o)
		}
		was := old.at(o)
		m.reopened, m.promised = was.reopened, was.promised && old.pending == 0 && !old.uncertain
		if m.promised && was.fate != acked && m.fate == acked {
			return fmt.Errorf("%d was reopened for good, and is lost", o)
		}
	}
	return nil
}

// remembers says whether anything has been confirmed.
func (p *model) remembers() bool {
	for i := range p.messages {
		if p.messages[i].confirmed {
			return true
		}
	}
	return false
}

// finish takes everything that is left: nothing has been lost, and all is kept.
func (s *simulation) finish() error {
	for len(s.commits) > 0 {
		if err := s.endWrite(); err != nil {
			return err
		}
	}
	for i := range s.letters {
		l := s.letters[i]
		l.pos.Bury(l.offset)
		l.buried++
		l.settle(l.offset)
	}
	s.letters = nil
	for len(s.clients) > 0 {
		s.leaves(0)
	}
	for k := range s.models {
		if err := s.drain(k); err != nil {
			return fmt.Errorf("%+v: %w", k, err)
		}
	}
	if err := s.check(); err != nil {
		return err
	}
	s.sync(s.snapshot())
	for range 2 {
		if _, err := s.succeed(s.disk, s.truth()); err != nil {
			return err
		}
	}
	for k, p := range s.models {
		state, _ := group.ParseValue([]byte(s.disk[k]))
		if !p.unsaved && (max(state.Offset, 0) != p.log.end() || len(state.AckedAhead)+len(state.Failed) > 0) {
			return fmt.Errorf("%+v is kept as %+v at %d messages", k, state, p.log.end())
		}
	}
	return s.kill(s.disk, true)
}

// drain acknowledges all of a position.
func (s *simulation) drain(k group.Key) error {
	p := s.models[k]
	s.now = s.now.Add(lastBackoff)
	s.clock.set(s.now)
	p.pos = position(s.groups, k)
	defer p.pos.Close()
	c := &client{group: k.Group}
	u := &use{model: p}
	for p.committed() < p.log.end() {
		span, _ := p.pos.Free(p.log.end(), s.now)
		if want, _ := p.free(s.now); span != want || span.Len() == 0 {
			return fmt.Errorf("free is %v, not %v: messages are lost", span, want)
		}
		take := s.leaseSpan
		if p.ordered {
			take = s.claim
		}
		if err := take(c, u, span); err != nil {
			return err
		}
		c.AckAll()
		for _, d := range c.sent {
			if c.mine(d) {
				d.settleAll()
			}
		}
	}
	return nil
}
