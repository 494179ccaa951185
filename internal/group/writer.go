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

// A writer writes what has changed: all positions that have changed while one
// write was under way go into the next, so that a thousand groups share a sync.
// Its goroutine exists only while there is something to write.
type writer struct {
	write Write
	time  func() int64

	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // running has become false
	changed []*saved
	commits []Set
	waiting []func(error) // called when what has changed is durable
	running bool
	ended   bool          // a write that failed is not tried again by itself
	next    time.Time     // no write that nobody waits for begins earlier
	hurry   chan struct{} // somebody waits, or the positions log ends
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
	w := &g.writer
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
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commits = append(w.commits, kept...)
	w.waiting = append(w.waiting, done)
	w.hurryUp()
	w.start()
}

// start starts the writing goroutine. The caller holds mu.
func (w *writer) start() {
	if !w.running {
		w.running = true
		go w.run()
	}
}

// Sync calls done once, when all that has changed before is durable, or with
// the reason why it may not be. done must not block.
func (g *Groups) Sync(done func(error)) {
	w := &g.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, done)
	w.hurryUp()
	w.start()
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

// Flush waits until what has changed is written. What a write that failed has left is written
// once more, and lost if that fails, too. It is for the end, when no more changes.
func (g *Groups) Flush() {
	w := &g.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.hurryUp()
	w.awaitIdle()
	if len(w.changed) > 0 {
		w.start()
		w.awaitIdle()
	}
}

// awaitIdle waits until nothing is being written. The caller holds mu.
func (w *writer) awaitIdle() {
	for w.running {
		w.idle.Wait()
	}
}

// run writes until there is nothing left to write. After a failure it waits for
// the next change, or retryAfter.
func (w *writer) run() {
	for {
		w.mu.Lock()
		w.pause()
		if len(w.changed)+len(w.commits)+len(w.waiting) == 0 {
			w.running = false
			w.idle.Broadcast()
			w.mu.Unlock()
			return
		}
		changed, commits, waiting := w.changed, w.commits, w.waiting
		w.changed, w.commits, w.waiting = nil, nil, nil
		w.mu.Unlock()
		left, err := w.writeAll(allChanges(changed, commits))
		if err != nil {
			w.putBack(left)
		}
		for _, done := range waiting {
			done(err)
		}
		if err != nil && w.stopAfterFailure() {
			return
		}
	}
}

// hurryUp ends a pause. The caller holds mu.
func (w *writer) hurryUp() {
	select {
	case w.hurry <- struct{}{}:
	default:
	}
}

// pause waits until it is time to write, or a caller waits for the write. The caller holds mu.
func (w *writer) pause() {
	for len(w.waiting)+len(w.commits) == 0 && len(w.changed) > 0 && !w.ended {
		left := time.Until(w.next)
		if left <= 0 {
			return
		}
		w.mu.Unlock()
		select {
		case <-w.hurry:
		case <-time.After(left):
		}
		w.mu.Lock()
	}
}

// putOff has the next write that nobody waits for come later if entries are long.
func (w *writer) putOff(entries []Entry) {
	n := 0
	for _, e := range entries {
		n += len(e.AckedAhead) + len(e.Failed)
	}
	if n <= longList {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = time.Now().Add(min(time.Duration(n)*longPause, longestPause))
}

// writeAll writes changes, some at a time, and returns those that are left if that fails.
func (w *writer) writeAll(left []change) ([]change, error) {
	var entries []Entry
	for len(left) > 0 {
		some := left[:min(len(left), maxWrite)]
		entries = makeEntries(entries[:0], some, w.time())
		if err := w.write(entries); err != nil {
			return left, err
		}
		w.putOff(entries)
		for i, c := range some {
			c.done(entries[i])
		}
		left = left[len(some):]
	}
	return nil, nil
}

// putBack keeps changes that could not be written for the next attempt, before what has
// changed since: of two positions with one name the later one counts.
func (w *writer) putBack(changes []change) {
	var again []*saved
	for _, c := range changes {
		if c.to == nil && c.failed() {
			again = append(again, c.of)
		}
	}
	w.mu.Lock()
	w.changed = append(again, w.changed...)
	w.mu.Unlock()
	for _, c := range changes {
		if c.to != nil {
			c.failed()
			c.of.dropCommit()
		}
	}
}

// stopAfterFailure ends the writing, unless a caller waits that has come since that write
// began. The changes are written later.
func (w *writer) stopAfterFailure() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.commits)+len(w.waiting) > 0 {
		return false
	}
	if w.running = false; len(w.changed) > 0 && !w.ended {
		time.AfterFunc(retryAfter, w.retry)
	}
	w.idle.Broadcast()
	return true
}

// retry writes what could not be written, unless that has happened meanwhile.
func (w *writer) retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changed) > 0 && !w.ended {
		w.start()
	}
}
