package group

import (
	"sync"
	"time"
)

// Write makes states durable, all or none, and returns when they are, or with
// the reason why they may not be. It is called by one goroutine at a time, and
// may call Groups.List and Groups.Of, which may return newer states than the entries, and
// older ones where an entry is a commit. A position may occur twice: the later counts.
type Write func([]Entry) error

// maxWrite is how many positions are written at once. Most take a hundred bytes, and none
// more than 200 KiB.
const maxWrite = 1000

// retryAfter is the time between a write that failed and the next.
const retryAfter = time.Second

// A journal writes what has changed: all positions that have changed while one
// write was under way go into the next, so that a thousand groups share a sync.
// Its goroutine exists only while there is something to write.
type journal struct {
	write Write
	time  func() int64

	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // running has become false
	changed []*journaled
	commits []Set
	waiting []func(error) // called when what has changed is durable
	running bool
	ended   bool          // a write that failed is not tried again by itself
	next    time.Time     // no write that nobody waits for begins earlier
	hurry   chan struct{} // somebody waits, or the journal ends
}

// Long entries that nobody waits for are written less often: each run of messages that
// were acknowledged out of turn, and each that has failed, puts off the next write by longPause,
// up to longestPause. Otherwise a thousand messages in back-off would be written once more
// for each message that is acknowledged.
const (
	longList     = 100 // without a pause
	longPause    = 25 * time.Microsecond
	longestPause = 200 * time.Millisecond
)

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
			p.kept.commits++
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
		left, err := j.writeAll(allChanges(changed, commits))
		if err != nil {
			j.putBack(left)
		}
		for _, done := range waiting {
			done(err)
		}
		if err != nil && j.stopAfterFailure() {
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

// pause waits until it is time to write, or a caller waits for the write. The caller holds mu.
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
		n += len(e.AckedAhead) + len(e.Failed)
	}
	if n <= longList {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next = time.Now().Add(min(time.Duration(n)*longPause, longestPause))
}

// writeAll writes changes, some at a time, and returns those that are left if that fails.
func (j *journal) writeAll(left []change) ([]change, error) {
	var entries []Entry
	for len(left) > 0 {
		some := left[:min(len(left), maxWrite)]
		entries = makeEntries(entries[:0], some, j.time())
		if err := j.write(entries); err != nil {
			return left, err
		}
		j.putOff(entries)
		for i, c := range some {
			c.done(entries[i])
		}
		left = left[len(some):]
	}
	return nil, nil
}

// putBack keeps changes that could not be written for the next attempt, before what has
// changed since: of two positions with one name the later one counts.
func (j *journal) putBack(changes []change) {
	var again []*journaled
	for _, c := range changes {
		if c.to == nil && c.failed() {
			again = append(again, c.of)
		}
	}
	j.mu.Lock()
	j.changed = append(again, j.changed...)
	j.mu.Unlock()
	for _, c := range changes {
		if c.to != nil {
			c.failed()
			c.of.dropCommit()
		}
	}
}

// stopAfterFailure ends the writing, unless a caller waits that has come since that write
// began. The changes are written later.
func (j *journal) stopAfterFailure() bool {
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
