package group

import "sync/atomic"

// Saved is how a position stands with the positions log. The position's mu guards it.
type saved struct {
	pos       *Position
	topic     ID          // written with the Groups' mu held, too
	charged   int         // bytes of metadata; guarded by the Groups' mu
	gone      atomic.Bool // deleted, or forgotten; set with the position's mu held
	unsaved   bool        // nothing is kept of the position
	dirty     bool        // changed since the positions log got it
	uncertain bool        // the disk may hold a commit that has failed, until this is written as it is
	commits   int         // on their way to the positions log
	durable   durable
	info      commitInfo
	active    int64 // when the positions log last learned what the group did, or of its last member's end; see State
}

// What is durable of a position, as others may see it.
type durable struct {
	offset   int64
	epoch    int32
	metadata string
	ok       bool // there is something
}

// A commitInfo is what the last commit holds beside the offset, if a Kafka client made it.
type commitInfo struct {
	unset    int64 // negative: what was committed in place of an offset
	epoch    int32
	metadata string
	assigned bool // by a member with assigned partitions, not leases
}

// mark has the positions log write the position. The caller holds its mu, as for all that follows,
// unless the comment differs.
func (k *saved) mark() {
	g := k.pos.groups
	if g == nil || k.gone.Load() {
		return
	}
	w := &g.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if !k.dirty {
		k.dirty = true
		w.changed = append(w.changed, k)
	}
	w.start() // also if the last write of it has failed
}

// save notes that something is kept of the position from now on. The caller marks it.
func (k *saved) save() {
	if set := k.pos.set; k.unsaved && set != nil && !k.gone.Load() {
		set.kept.Add(1)
	}
	k.unsaved = false
}

// saveAsItIs has the positions log remember a position that nothing is kept of yet. The caller does
// not hold its mu.
func (k *saved) saveAsItIs() {
	k.pos.mu.Lock()
	defer k.pos.mu.Unlock()
	if k.unsaved {
		k.save()
		k.mark()
	}
}

// isUnsaved reports whether nothing is kept of the position. The caller does not hold its mu.
func (k *saved) isUnsaved() bool {
	k.pos.mu.Lock()
	defer k.pos.mu.Unlock()
	return k.unsaved
}

// isForgettable reports whether neither the positions log nor the disk has anything of the position.
func (k *saved) isForgettable() bool { return k.unsaved && k.commits == 0 && !k.uncertain }

// state is what the positions log keeps of the position.
func (k *saved) state() State {
	p := k.pos
	s := State{
		TopicID: k.topic, Offset: p.leases.committed, AckedAhead: p.leases.ackedAhead(maxAckedAhead), Failed: p.failures.list(),
		Epoch: k.info.epoch, Metadata: k.info.metadata, Assigned: k.info.assigned, At: k.active,
	}
	if k.info.unset < 0 {
		s.Offset = k.info.unset
	}
	return s
}

// commit is what is durable of the position, and whether anything is. The caller does not
// hold the position's mu.
func (k *saved) commit() (Commit, bool) {
	k.pos.mu.Lock()
	defer k.pos.mu.Unlock()
	key, d := k.pos.key, k.durable
	return Commit{key.Topic, key.Partition, d.offset, d.epoch, d.metadata}, d.ok && !k.gone.Load()
}

// cost is what the position counts for MaxBytes. The caller holds the Groups' mu.
func (k *saved) cost() int64 {
	return PositionCost + int64(len(k.pos.key.Group)+len(k.pos.key.Topic)+k.charged)
}

// idleSince is when something was last done with the position; false if somebody uses it
// or something is on its way to the positions log. The caller holds the Groups' mu, and not the
// position's.
func (k *saved) idleSince() (int64, bool) {
	k.pos.mu.Lock()
	defer k.pos.mu.Unlock()
	return k.active, k.pos.users == 0 && k.commits == 0 && !k.dirty && !k.uncertain
}

// dropCommit ends a commit that was not written. The caller does not hold the position's mu.
func (k *saved) dropCommit() {
	k.pos.mu.Lock()
	k.endCommit()
	k.pos.mu.Unlock()
	k.pos.Close()
}

func (k *saved) endCommit() {
	k.commits--
	k.pos.set.commits.Add(-1)
}

// A change is what is to be written of a position: as it is, or what it is to be.
type change struct {
	of *saved
	to *State // nil for as it is
}

// allChanges lists what is to be written: commits last, because they say how a position
// is to be whatever it was. A commit of a position that was deleted since ends here.
func allChanges(changed []*saved, commits []Set) []change {
	all := make([]change, 0, len(changed)+len(commits))
	for _, k := range changed {
		all = append(all, change{k, nil})
	}
	for i, c := range commits {
		if k := &c.Position.kept; k.gone.Load() {
			k.dropCommit()
		} else {
			all = append(all, change{k, &commits[i].State})
		}
	}
	return all
}

// makeEntries makes the entries of changes, which are written at the time now.
func makeEntries(entries []Entry, changes []change, now int64) []Entry {
	for _, c := range changes {
		entries = append(entries, c.entry(now))
	}
	return entries
}

func (c change) entry(now int64) Entry {
	k := c.of
	k.pos.mu.Lock()
	defer k.pos.mu.Unlock()
	k.active = now
	e := Entry{Key: k.pos.key, Gone: k.gone.Load()}
	if c.to == nil {
		k.dirty = false
		e.State = k.state()
		e.Gone = e.Gone || k.unsaved
	} else {
		e.State = *c.to
		e.TopicID, e.At = k.topic, now
	}
	return e
}

// done notes that a change has been written.
func (c change) done(e Entry) {
	if c.to == nil {
		c.of.isDurable(e)
		return
	}
	p, k := c.of.pos, c.of
	p.mu.Lock()
	k.durable = durable{c.to.Offset, c.to.Epoch, c.to.Metadata, true}
	p.moveTo(*c.to)
	k.endCommit()
	k.save()
	p.finish(true)
	p.Close()
}

// isDurable notes that the position has been written as it was.
func (k *saved) isDurable(e Entry) {
	p, g := k.pos, k.pos.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	k.uncertain = false
	switch {
	case k.gone.Load() && !k.dirty: // that was the last write of it
		g.used -= k.cost()
	case e.Gone:
		k.durable = durable{}
		p.forget()
	default:
		k.durable = durable{e.Offset, e.Epoch, e.Metadata, true}
	}
}

// failed notes that a change could not be written. It reports whether it is to be tried
// again: a commit is not, because the client that made it gets the error. Of that the disk may
// hold something all the same, so that the position is written as it is: if nothing was
// kept of it before, that is to be so again; others may use it meanwhile, and what they do
// counts.
func (c change) failed() (again bool) {
	k := c.of
	k.pos.mu.Lock()
	defer k.pos.mu.Unlock()
	if c.to == nil {
		again = !k.dirty
		k.dirty = true
		return again
	}
	if !k.gone.Load() {
		k.uncertain = true
		k.mark()
	}
	return false
}
