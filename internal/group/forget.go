package group

// time is that of Now, 0 for none.
func (g *Groups) time() int64 {
	if g.Now == nil {
		return 0
	}
	return g.Now()
}

// lastLeft notes that a group was used until now, in the positions log, too, unless it was noted
// there less than NoteAgain ago. The caller holds mu.
func (g *Groups) lastLeft(name string) {
	s, now := g.sets[name], g.time()
	if s == nil {
		return
	}
	if s.left = now; g.NoteAgain == 0 || now-s.noted < g.NoteAgain {
		return
	}
	s.noted = now
	for _, p := range s.positions {
		p.mu.Lock()
		if !p.kept.unsaved && now-p.kept.active > g.NoteAgain {
			p.kept.mark()
		}
		p.mu.Unlock()
	}
}

// Forget deletes a group without members that was last active earlier than before, in
// milliseconds since 1970, as Delete does. It returns the number of positions, 0 if the
// group stays, and when the group was last active.
func (g *Groups) Forget(name string, before int64) (n int, last int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sets[name]
	if s == nil || g.uses[name] != nil || s.kept.Load() == 0 || s.left >= before {
		return 0, 0
	}
	for _, p := range s.positions {
		at, idle := p.kept.idleSince()
		if !idle || at >= before {
			return 0, 0
		}
		last = max(last, at)
	}
	return g.deleteFrom(s, func(*Position) bool { return true }), last
}
