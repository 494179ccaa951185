package group

// Unread is a position of a group that leases messages: the group has not consumed the
// messages from Offset on.
type Unread struct {
	Key
	Offset int64
}

// Unread lists the positions, in topics that match, of groups that lease messages: those
// that a member with leases has written last, those of which something is leased, and those
// in use of which nothing is kept yet. An acknowledgement that is not durable does not count.
func (g *Groups) Unread(match func(topic string) bool) []Unread {
	type used struct {
		p     *Position
		users int
	}
	var positions []used
	g.mu.Lock()
	for _, s := range g.sets {
		for part, p := range s.positions {
			if match(part.topic) {
				positions = append(positions, used{p, p.users})
			}
		}
	}
	g.mu.Unlock()
	var all []Unread
	for _, u := range positions {
		if offset, ok := u.p.unread(u.users > 0); ok {
			all = append(all, Unread{u.p.key, offset})
		}
	}
	return all
}

// unread is the offset from which on the position may hold messages back, and whether it
// does. A position of which nothing is kept does where it is used.
func (p *Position) unread(isUsed bool) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	offset, k := p.leases.committed, &p.kept
	if k.durable.ok {
		offset = max(0, min(offset, k.durable.offset))
	}
	return offset, (!k.info.assigned || p.leases.leasedToAny()) && !k.gone.Load() && (!k.unsaved || isUsed)
}

// KeepKind gives a state the kind (assigned or leased) of the position. A position of which
// nothing is kept gets the kind of the group's others, those in the same topic first.
func (p *Position) KeepKind(s State) State {
	p.mu.Lock()
	unsaved := p.kept.unsaved && p.groups != nil
	s.Assigned = p.kept.info.assigned
	p.mu.Unlock()
	if !unsaved {
		return s
	}
	others := p.groups.Of(p.key.Group)
	for i, e := range others {
		if i == 0 || e.Topic == p.key.Topic {
			s.Assigned = e.Assigned
		}
		if e.Topic == p.key.Topic {
			return s
		}
	}
	return s
}

// SetAssigned sets the kind of a position of which nothing is kept yet.
func (p *Position) SetAssigned(assigned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept.unsaved {
		p.kept.info.assigned = assigned
	}
}

// Lose counts n messages that were removed before the group had consumed them.
func (g *Groups) Lose(k Key, n int64) {
	g.mu.Lock()
	p := g.find(k)
	g.mu.Unlock()
	if p != nil {
		p.mu.Lock()
		p.ever.lost += n
		p.mu.Unlock()
	}
}
