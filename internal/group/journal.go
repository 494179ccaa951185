package group

import (
	"sync"
	"time"
)

// Write makes states durable, all or none, and returns when they are, or with
// the reason why they may not be. It is called by one goroutine at a time, and
// may call Groups.List and Groups.Of: what these say may be newer than the entries,
// and older where an entry is a commit. A position may occur twice: the later counts.
type Write func([]Entry) error

// maxWrite is how many positions are written at once: each takes a hundred bytes most
// often, and 200 KiB if all that may be kept of it is there.
const maxWrite = 1000

// retryAfter is the time after which what could not be written is tried again.
const retryAfter = time.Second

// A journal writes what has changed: all positions that have changed while one
// write was under way go into the next, so that a thousand groups share a sync.
// Its goroutine exists only while there is something to write.
type journal struct {
	write Write
	time  func() int64

	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // running has become false
	changed []*Position
	commits []Set
	waiting []func(error) // called when what has changed is durable
	running bool
	ended   bool          // nothing is tried again by itself
	next    time.Time     // when to write what nobody waits for, at the earliest
	hurry   chan struct{} // somebody waits, or it ends
}

// What nobody waits for is written less often where it is long: each run of messages that
// were consumed out of turn, and each that has failed, puts off the next write by longPause,
// up to longestPause. So a thousand messages in back-off do not have a list of them written
// for each message that flows by.
const (
	longList     = 100 // without a pause
	longPause    = 25 * time.Microsecond
	longestPause = 200 * time.Millisecond
)

// How a position stands with the journal.
type journaled struct {
	changed bool // since the journal got it
	doubted bool // the disk may hold a commit that has failed, until this is written as it is
	commits int  // on their way to the journal
	durable durable
	active  int64 // when the journal was last told of what the group did, or of its last member's end; see State
}

// What is durable of a position, as others may see it.
type durable struct {
	offset   int64
	epoch    int32
	metadata string
	ok       bool // there is something
}

// A Set puts a position where its State says.
type Set struct {
	Position *Position
	State    State
}

// Commit sets positions, whatever they were, and forgets what was leased or
// acknowledged above. That happens when it is durable, not before: then done is
// called, or with the reason why it may not be; it must not block. It is for
// groups without members, or whose members are another protocol's. The positions
// are closed.
func (g *Groups) Commit(sets []Set, done func(error)) {
	j := &g.journal
	var kept []Set
	for _, c := range sets {
		if p := c.Position; p.groups != nil {
			p.mu.Lock()
			p.commits++
			p.set.commits.Add(1)
			p.mu.Unlock()
			kept = append(kept, c)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.commits = append(j.commits, kept...)
	j.waiting = append(j.waiting, done)
	j.hurryUp()
	j.start()
}

// committedAs is what Commit does when it is durable.
func (p *Position) committedAs(s State) {
	p.mu.Lock()
	p.moveTo(s)
	p.commits--
	p.set.commits.Add(-1)
	p.keep()
	p.finish(true)
	p.Close()
}

// mark says that the position has changed. The caller holds p.mu.
func (p *Position) mark() {
	if p.groups == nil || p.gone.Load() {
		return
	}
	j := &p.groups.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if !p.changed {
		p.changed = true
		j.changed = append(j.changed, p)
	}
	j.start() // also if the last write of it has failed
}

// start starts the writing goroutine. The caller holds mu.
func (j *journal) start() {
	if !j.running {
		j.running = true
		go j.run()
	}
}

// Sync calls done once, when all that has changed before is durable, or with
// the reason why it may not be. done must not block.
func (g *Groups) Sync(done func(error)) {
	j := &g.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting = append(j.waiting, done)
	j.hurryUp()
	j.start()
}

// AwaitCommits calls done once, when the commits of a group that were made before are
// durable, or have failed. It reports false, and does not call done, if there are none.
// done must not block.
func (g *Groups) AwaitCommits(name string, done func()) bool {
	g.mu.Lock()
	s := g.sets[name]
	g.mu.Unlock()
	if s == nil || s.commits.Load() == 0 {
		return false
	}
	g.Sync(func(error) { done() })
	return true
}

// Flush waits until nothing is being written. It is for the end, when no more
// changes.
func (g *Groups) Flush() {
	j := &g.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	j.hurryUp()
	for j.running {
		j.idle.Wait()
	}
}

// run writes until there is nothing left to write. After a failure it waits for
// the next change, or retryAfter.
func (j *journal) run() {
	for {
		j.mu.Lock()
		j.pause()
		if len(j.changed)+len(j.commits)+len(j.waiting) == 0 {
			j.running = false
			j.idle.Broadcast()
			j.mu.Unlock()
			return
		}
		changed, commits, waiting := j.changed, j.commits, j.waiting
		j.changed, j.commits, j.waiting = nil, nil, nil
		j.mu.Unlock()
		left, err := j.writeAll(together(changed, commits))
		if err != nil {
			j.drop(left)
		}
		for _, done := range waiting {
			done(err)
		}
		if err != nil && j.rest() {
			return
		}
	}
}

// hurryUp ends a pause. The caller holds mu.
func (j *journal) hurryUp() {
	select {
	case j.hurry <- struct{}{}:
	default:
	}
}

// pause waits until it is time to write, or somebody waits for that. The caller holds mu.
func (j *journal) pause() {
	for len(j.waiting)+len(j.commits) == 0 && len(j.changed) > 0 && !j.ended {
		left := time.Until(j.next)
		if left <= 0 {
			return
		}
		j.mu.Unlock()
		select {
		case <-j.hurry:
		case <-time.After(left):
		}
		j.mu.Lock()
	}
}

// putOff has the next write that nobody waits for come later if entries are long.
func (j *journal) putOff(entries []Entry) {
	n := 0
	for _, e := range entries {
		n += len(e.Beyond) + len(e.Failed)
	}
	if n <= longList {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next = time.Now().Add(min(time.Duration(n)*longPause, longestPause))
}

// writeAll writes changes a piece at a time, and returns those that are left if that
// fails.
func (j *journal) writeAll(left []change) ([]change, error) {
	var entries []Entry
	for len(left) > 0 {
		piece := left[:min(len(left), maxWrite)]
		entries = gather(entries[:0], piece, j.time())
		if err := j.write(entries); err != nil {
			return left, err
		}
		j.putOff(entries)
		for i, c := range piece {
			c.done(entries[i])
		}
		left = left[len(piece):]
	}
	return nil, nil
}

// A change is what is to be written of a position: as it is, or what it is to be.
type change struct {
	*Position
	to *State // nil for as it is
}

// together lists what is to be written: commits last, for they say how a position
// is to be whatever it was. What was deleted since it was committed ends here.
func together(changed []*Position, commits []Set) []change {
	all := make([]change, 0, len(changed)+len(commits))
	for _, p := range changed {
		all = append(all, change{p, nil})
	}
	for i, c := range commits {
		if c.Position.gone.Load() {
			c.Position.dropCommit()
		} else {
			all = append(all, change{c.Position, &commits[i].State})
		}
	}
	return all
}

// gather makes the entries of changes, which are written at the time now.
func gather(entries []Entry, changes []change, now int64) []Entry {
	for _, c := range changes {
		c.mu.Lock()
		c.active = now
		e := Entry{Key: c.key, Gone: c.gone.Load()}
		if c.to == nil {
			c.changed = false
			e.State = c.state()
			e.Gone = e.Gone || c.fresh
		} else {
			e.State = *c.to
			e.TopicID, e.At = c.topic, now
		}
		c.mu.Unlock()
		entries = append(entries, e)
	}
	return entries
}

// done notes that a change has been written.
func (c change) done(e Entry) {
	if c.to == nil {
		c.isDurable(e)
		return
	}
	c.mu.Lock()
	c.durable = durable{c.to.Offset, c.to.Epoch, c.to.Metadata, true}
	c.mu.Unlock()
	c.committedAs(*c.to)
}

// isDurable notes that the position has been written as it was.
func (p *Position) isDurable(e Entry) {
	g := p.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubted = false
	switch {
	case p.gone.Load() && !p.changed: // that was the last write of it
		g.used -= p.cost()
	case e.Gone:
		p.durable = durable{}
		p.forget()
	default:
		p.durable = durable{e.Offset, e.Epoch, e.Metadata, true}
	}
}

// drop keeps changes that could not be written for the next attempt, before what has
// changed since: of two positions with one name the later one counts. Commits are
// not tried again: who made them is told.
func (j *journal) drop(changes []change) {
	var again []*Position
	for _, c := range changes {
		c.mu.Lock()
		if c.to == nil && !c.changed {
			c.changed = true
			again = append(again, c.Position)
		}
		c.mu.Unlock()
	}
	j.mu.Lock()
	j.changed = append(again, j.changed...)
	j.mu.Unlock()
	for _, c := range changes {
		if c.to != nil {
			c.doubt()
			c.dropCommit()
		}
	}
}

// rest ends the writing after a failure, unless there is somebody to answer who has
// come since that write began. What has changed is tried again later.
func (j *journal) rest() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.commits)+len(j.waiting) > 0 {
		return false
	}
	if j.running = false; len(j.changed) > 0 && !j.ended {
		time.AfterFunc(retryAfter, j.retry)
	}
	j.idle.Broadcast()
	return true
}

// retry writes what could not be written, unless that has happened meanwhile.
func (j *journal) retry() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.changed) > 0 && !j.ended {
		j.start()
	}
}

// doubt has a position written as it is: the disk may hold a commit of it that has
// failed. If nothing was kept of it before, that is to be so again; others may use
// it meanwhile, and what they do counts.
func (p *Position) doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone.Load() {
		p.doubted = true
		p.mark()
	}
}

// dropCommit ends a commit that could not be written.
func (p *Position) dropCommit() {
	p.mu.Lock()
	p.commits--
	p.set.commits.Add(-1)
	p.mu.Unlock()
	p.Close()
}
