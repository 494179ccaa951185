package group

import "sync"

// A Span is a range of offsets: From up to but not including To.
type Span struct{ From, To int64 }

// A Member is one connection that takes messages of a group. Members are told
// apart by their address, so that a Member must not be copied.
type Member struct{ _ byte }

// A held span is leased to a member or, with none, acknowledged.
type held struct {
	Span
	by *Member
}

// A Position is how far a group has come in one partition. Everything below the
// committed offset has been consumed. Spans above it may be leased to members,
// or acknowledged out of turn. Its methods may be called by any goroutine.
type Position struct {
	key    Key
	groups *Groups
	users  int // that will call Close; guarded by the Groups' mu

	mu        sync.Mutex // guards what follows
	committed int64
	held      []held        // ascending, not overlapping, above committed
	changed   chan struct{} // closed when a lease ends; nil while nobody waits
	writing   bool          // a record of this position is on its way to the journal
	dirty     bool          // and is not the latest
}

// Committed is the offset below which everything has been consumed.
func (p *Position) Committed() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.committed
}

// Free finds the lowest offsets, below end, that nobody holds. The span is
// empty if there are none.
func (p *Position) Free(end int64) Span {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.committed
	for _, h := range p.held {
		if h.From > from {
			end = min(end, h.From)
			break
		}
		from = h.To
	}
	return Span{from, max(from, end)}
}

// Lease gives s to m, unless a part of it has been given away since Free.
func (p *Position) Lease(m *Member, s Span) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.From < p.committed || s.To <= s.From {
		return false
	}
	i := 0
	for i < len(p.held) && p.held[i].To <= s.From {
		i++
	}
	if i < len(p.held) && p.held[i].From < s.To {
		return false
	}
	if i > 0 && p.held[i-1].by == m && p.held[i-1].To == s.From {
		p.held[i-1].To = s.To
		return true
	}
	p.held = append(p.held, held{})
	copy(p.held[i+1:], p.held[i:])
	p.held[i] = held{s, m}
	return true
}

// Ack says that all that m holds has been consumed, and writes the position to
// the journal if that is anything.
func (p *Position) Ack(m *Member) {
	if !p.end(m, func(h held) (held, bool) { return held{h.Span, nil}, true }) {
		return
	}
	p.mu.Lock()
	p.advance()
	p.dirty = true
	write := !p.writing
	p.writing = true
	p.mu.Unlock()
	if write {
		p.write(nil)
	}
}

// GiveBack gives back what m holds from offset on.
func (p *Position) GiveBack(m *Member, offset int64) {
	p.end(m, func(h held) (held, bool) {
		h.To = min(h.To, offset)
		return h, h.From < h.To
	})
}

// Release gives back what m holds. The next member that asks gets it.
func (p *Position) Release(m *Member) {
	p.end(m, func(h held) (held, bool) { return h, false })
}

// end replaces or drops the spans that m holds and wakes those who wait. It
// reports whether there were any.
func (p *Position) end(m *Member, f func(held) (held, bool)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := false
	kept := p.held[:0]
	for _, h := range p.held {
		keep := true
		if h.by == m {
			found = true
			h, keep = f(h)
		}
		if keep {
			kept = append(kept, h)
		}
	}
	p.held = kept
	if found && p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
	return found
}

// advance joins acknowledged spans that touch and moves the committed offset
// over those that follow it. The caller holds mu.
func (p *Position) advance() {
	kept := p.held[:0]
	for _, h := range p.held {
		last := len(kept) - 1
		switch {
		case h.by == nil && h.From <= p.committed:
			p.committed = max(p.committed, h.To)
		case h.by == nil && last >= 0 && kept[last].by == nil && kept[last].To == h.From:
			kept[last].To = h.To
		default:
			kept = append(kept, h)
		}
	}
	p.held = kept
}

// Others returns a channel that is closed when another member than m gives back
// or acknowledges something, or nil if none holds anything below end.
func (p *Position) Others(m *Member, end int64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.held {
		if h.by != nil && h.by != m && h.From < end {
			if p.changed == nil {
				p.changed = make(chan struct{})
			}
			return p.changed
		}
	}
	return nil
}

// state is what the journal keeps of the position. The caller holds mu.
func (p *Position) state() State {
	s := State{Offset: p.committed}
	for _, h := range p.held {
		if h.by == nil && len(s.Beyond) < maxBeyond {
			s.Beyond = append(s.Beyond, h.Span)
		}
	}
	return s
}

// write hands the latest state to the journal and comes back, when that is
// durable, until there is no later one.
func (p *Position) write(error) {
	p.groups.order.RLock()
	defer p.groups.order.RUnlock()
	p.mu.Lock()
	if !p.dirty {
		p.writing = false
		p.mu.Unlock()
		return
	}
	p.dirty = false
	s := p.state()
	p.mu.Unlock()
	p.groups.journal(p.key, s, p.write)
}
