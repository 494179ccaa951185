package commitlog

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"mbus/internal/store"
)

// A committer makes the appends of a log durable and visible, and acknowledges them. One goroutine at
// a time does that, the group commit leader: the first appender, or a goroutine that it starts
// (store.Lead). Each of its commits takes all appends that were written during the one before.
type committer struct {
	log *partition

	syncing     sync.Mutex // held over each sync of the active segment and the write of its recovery point
	pointFailed bool       // it is logged already that the recovery point can't be written

	mu   sync.Mutex // guards what follows
	idle sync.Cond  // committing has become false
	progress
	waiting    []waiter      // appended, not acknowledged yet; in order
	spare      []waiter      // the slice of the last commit, to use again
	committing bool          // there is a group commit leader
	groupSize  int           // appends that the last commit has acknowledged
	timer      *time.Timer   // for the sync of an interval
	asking     []func(error) // calls of request that wait for a sync
	failure    failure
	ended      error // store.ErrDeleted or store.ErrClosed; nil while the log is in use
}

// A waiter is an append that waits for its sync.
type waiter struct {
	base int64
	done func(int64, error)
}

// submit adds an append, of bytes that end at end, to those that wait. If there is no group commit
// leader, the caller becomes it, or starts it if many append at a time: then a caller that leads would
// go on long after its own append is acknowledged.
func (c *committer) submit(written []byte, end position, w waiter) store.Lead {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log.syncEvery > 0 && c.oldest.IsZero() {
		c.oldest = time.Now()
	}
	c.unsynced += end.pos - c.written.pos
	c.written = end
	c.waiting = append(c.waiting, w)
	if c.committing {
		return store.Lead{}
	}
	c.committing = true
	others := c.log.journal.begins(c)
	switch {
	case c.log.syncEvery == 0 && others && c.fits():
		return c.log.journal.join(joiner{c: c, at: end.pos - int64(len(written)), data: written})
	case c.groupSize > 1:
		go c.Commit()
		return store.Lead{}
	}
	return store.LeadOf(c)
}

// Commit implements store.Committer.
func (c *committer) Commit() {
	defer fatal()
	c.yieldToAppenders()
	if c.isEarly() {
		waiting, end := c.take()
		wake, err := c.publish(end, nil)
		c.acknowledge(waiting, wake, err)
		c.goOn()
		return
	}
	c.mu.Lock()
	joins := c.fits() && c.log.journal.isWanted()
	c.mu.Unlock()
	if joins {
		c.log.journal.join(joiner{c: c}).Go()
		return
	}
	c.commit()
	c.goOn()
}

// goOn ends the leader's duty if no appends wait, or gives it to another goroutine.
func (c *committer) goOn() {
	c.mu.Lock()
	c.committing = len(c.waiting) > 0
	goesOn, joins := c.committing, c.log.syncEvery == 0 && c.fits() && c.log.journal.isWanted()
	if !goesOn {
		if c.log.syncEvery > 0 {
			c.setTimer(c.log.syncEvery/2 - time.Since(c.oldest))
		}
		c.log.journal.leave()
		c.idle.Broadcast()
	}
	c.mu.Unlock()
	switch {
	case joins && goesOn:
		c.log.journal.join(joiner{c: c}).Go()
	case goesOn:
		go c.Commit()
	case c.log.files.tooMany():
		c.log.appends.tryCloseIdle()
	}
}

// fits says whether the journal can make the writes durable. The caller holds mu.
func (c *committer) fits() bool {
	return c.isSmall() && c.failure.sync == nil && !c.log.files.tooMany() // its files have to be closed
}

// fatal is deferred where a panic must end the program although a caller would recover from it:
// without a leader the log would never commit again.
func fatal() {
	if r := recover(); r != nil {
		message := fmt.Sprintf("%v\n%s", r, debug.Stack())
		go panic(message)
		select {}
	}
}

// yieldToAppenders ends after this many rounds or bytes, to bound the time that the first append waits.
const (
	yieldRounds = 32
	yieldBytes  = 4 << 20
)

// yieldToAppenders yields to all goroutines that can run until no new append arrives, so that the
// sync that follows serves many. It does not wait for any of them.
func (c *committer) yieldToAppenders() {
	last := -1
	for range yieldRounds {
		runtime.Gosched()
		c.mu.Lock()
		n, bytes := len(c.waiting), c.unsynced
		c.mu.Unlock()
		if n == last || bytes >= yieldBytes {
			return
		}
		last = n
	}
}

// commit syncs the active segment, makes the appends that wait visible, and acknowledges them.
func (c *committer) commit() {
	c.beginSync()
	defer c.endSync()
	waiting, end := c.take()
	c.log.stats.Appends.Observe(int64(len(waiting)))
	synced, err := c.sync()
	wake, err := c.publish(end, err)
	c.acknowledge(waiting, wake, err)
	runtime.Gosched()            // appenders go first
	c.writeRecoveryPoint(synced) // no append waits for it
}

// take returns all appends that wait, and their end.
func (c *committer) take() (waiting []waiter, end position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeWaiting(), c.written
}

// takeWaiting returns all appends that wait. The caller holds mu.
func (c *committer) takeWaiting() []waiter {
	waiting := c.waiting
	c.waiting, c.spare, c.groupSize = c.spare[:0], nil, len(waiting)
	return waiting
}

// acknowledge calls done of the appends, and wakes readers.
func (c *committer) acknowledge(waiting []waiter, wake []func(store.Reason), err error) {
	for i, w := range waiting {
		w.done(w.base, err)
		waiting[i] = waiter{}
	}
	for _, f := range wake {
		f(store.More)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spare = waiting
}

// publish raises the high watermark to end unless a sync has failed, and returns the functions
// of readers to call.
func (c *committer) publish(end position, err error) ([]func(store.Reason), error) {
	if err == nil {
		err = c.failedSync()
	}
	if err != nil {
		return nil, err
	}
	return c.log.visible.raise(end), nil
}

// A syncPoint is a segment and the position up to which it is synced. The zero value is none.
type syncPoint struct {
	segment *segment
	end     position
	cuts    int // how often the file had been cut off
}

// Syncs of largeSyncBytes or more use SyncLarge: writing the bytes takes longer than waking the
// goroutine.
const largeSyncBytes = 64 << 10

// sync makes all writes before the call durable. A failed sync is never tried again: the system may
// have dropped the bytes, and would report success. A sync that could not begin because the process
// has too many open files has not failed. The caller holds syncing.
func (c *committer) sync() (syncPoint, error) {
	c.mu.Lock()
	p, err := syncPoint{c.active, c.written, c.cuts}, c.failure.sync
	unsynced := c.unsynced
	c.unsynced = 0
	c.mu.Unlock()
	if err != nil {
		return syncPoint{}, err
	}
	f, err := p.segment.file.acquire()
	if err != nil {
		return syncPoint{}, err
	}
	defer p.segment.file.release()
	began := time.Now()
	if unsynced >= largeSyncBytes {
		err = f.SyncLarge()
	} else {
		err = f.Sync()
	}
	if err != nil {
		return syncPoint{}, c.syncFailed(err)
	}
	c.log.stats.Syncs.Observe(int64(time.Since(began)))
	c.log.stats.Bytes.Observe(unsynced)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log.syncEvery == 0 {
		began = time.Time{}
	}
	c.isSynced(p, began)
	return p, nil
}

// syncAll makes all writes durable and writes the recovery point, outside the group commit.
func (c *committer) syncAll() error {
	c.beginSync()
	defer c.endSync()
	return c.syncNow()
}

// beginSync takes syncing as soon as the store's limit of syncs allows one more.
func (c *committer) beginSync() {
	c.log.syncs <- struct{}{}
	c.syncing.Lock()
}

func (c *committer) endSync() {
	c.syncing.Unlock()
	<-c.log.syncs
}

// syncNow is syncAll between beginSync and endSync.
func (c *committer) syncNow() error {
	p, err := c.sync()
	if err == nil {
		c.writeRecoveryPoint(p)
	}
	return err
}

// writeRecoveryPoint writes how far the segment is synced. If that fails, recovery reads more. The
// caller has held syncing since the sync.
func (c *committer) writeRecoveryPoint(p syncPoint) {
	if p.segment == nil {
		return
	}
	before := p.segment.index.recoveryPoint()
	err := p.segment.index.flush(p.end)
	if err != nil && !c.pointFailed {
		c.log.warn("cannot write the recovery point: after a power cut recovery reads more; look at the disk", "file", p.segment.index.file.name, "reason", err)
	}
	c.pointFailed = err != nil
	if err == nil && p.end != before {
		c.log.points.moved(c.log, p.end.pos-before.pos)
		if c.log.syncEvery > 0 { // it tells recovery what a power cut could tear
			c.log.points.hurry(c.log)
		}
	}
}

// end returns the active segment and its end.
func (c *committer) end() (*segment, position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active, c.written
}

// whenIdle waits until no commit runs, and returns the active segment, its end, and the error by which
// appends are refused. The caller holds appender.mu, so that no commit begins.
func (c *committer) whenIdle() (*segment, position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.committing {
		c.idle.Wait()
	}
	return c.active, c.written, c.failure.refuse
}

// isIdle says whether there is no leader, and whether there are writes to sync.
func (c *committer) isIdle() (idle, dirty bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.committing && c.ended == nil, c.failure.sync == nil && (c.written.pos > c.synced || c.cuts > c.lastCut)
}

// close refuses appends from now on, and waits until no commit runs. It returns false if the log had
// ended before.
func (c *committer) close(ended error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return false
	}
	c.ended = ended
	for c.committing {
		c.idle.Wait()
	}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	return true
}
