package commitlog

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"mbus/internal/store"
)

// A committer makes what a log's appender has written durable, visible, and acknowledges it. While
// there is something to sync one goroutine does that, the group commit leader, with as many appends
// at a time as have been written meanwhile: the first appender, or a goroutine that this starts
// (store.Lead).
type committer struct {
	log *partition

	syncing     sync.Mutex // held over each sync of the active segment and the write of its recovery point
	pointFailed bool       // it is logged already that the recovery point can't be written

	mu         sync.Mutex // guards what follows
	idle       sync.Cond  // committing has become false
	active     *segment
	written    position      // end of the active segment
	unsynced   int64         // bytes written since the last sync began
	durable    int64         // bytes of the active segment that are known to be synced
	oldest     time.Time     // with an interval: no write that is not durable was before; zero if there is none
	waiting    []waiter      // appended, not acknowledged yet; in order
	spare      []waiter      // the slice of the last commit, to use again
	committing bool          // a goroutine commits, or is to begin it
	groupSize  int           // appends that the last commit has acknowledged
	timer      *time.Timer   // for the sync of an interval
	asking     []func(error) // for all that is visible to be durable
	failure    failure
	ended      error // store.ErrDeleted or store.ErrClosed; nil while the log is in use
}

// A waiter is an append that waits for its sync.
type waiter struct {
	base int64
	done func(int64, error)
}

// submit puts a written append among those that wait. It makes that the group commit leader if
// there is none; but not where many append at a time, because a leader's own append would be
// acknowledged long before it can go on.
func (c *committer) submit(end position, w waiter) store.Lead {
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
	if c.groupSize > 1 {
		go c.Commit()
		return store.Lead{}
	}
	return store.LeadOf(c)
}

// Commit implements store.Committer.
func (c *committer) Commit() {
	defer fatal()
	c.yieldToAppenders()
	c.commit()
	if c.goesOn() {
		go c.Commit()
	} else if c.log.files.tooMany() {
		c.log.appends.tryCloseIdle()
	}
}

// fatal is deferred where a panic must end the program, although a caller recovers from
// those of its connection: nothing would be committed any more.
func fatal() {
	if r := recover(); r != nil {
		message := fmt.Sprintf("%v\n%s", r, debug.Stack())
		go panic(message)
		select {}
	}
}

// goesOn says whether there is more to commit. If not, there is no leader any more.
func (c *committer) goesOn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committing = len(c.waiting) > 0
	if !c.committing {
		c.idle.Broadcast()
	}
	return c.committing
}

// yieldToAppenders ends after so many rounds or bytes, so that the first append does not wait for
// as long as others come.
const (
	yieldRounds = 32
	yieldBytes  = 4 << 20
)

// yieldToAppenders yields to every goroutine that can run, before a sync, until no new append
// arrives, so that the sync serves many. It does not wait for any.
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

// commit makes what has been written visible and acknowledges it, once it is durable; with an
// interval while the oldest write that is not durable is younger than that.
func (c *committer) commit() {
	if c.isEarly() {
		waiting, end := c.take()
		wake, err := c.publish(end, nil)
		c.acknowledge(waiting, wake, err)
		return
	}
	c.beginSync()
	defer c.endSync()
	waiting, end := c.take()
	synced, err := c.sync()
	wake, err := c.publish(end, err)
	c.acknowledge(waiting, wake, err)
	runtime.Gosched()            // the goroutines that were waiting go first
	c.writeRecoveryPoint(synced) // no append waits for it
}

// take gives all appends that wait, and the end of what they wrote.
func (c *committer) take() (waiting []waiter, end position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting = c.waiting
	c.waiting, c.spare, c.groupSize = c.spare[:0], nil, len(waiting)
	return waiting, c.written
}

// acknowledge calls back the appends that waited, and wakes the readers that waited for them.
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

// A syncPoint is how far a segment is known to be synced; the zero value says
// nothing.
type syncPoint struct {
	segment *segment
	end     position
}

// Syncs of largeSyncBytes or more use SyncLarge: writing the bytes takes longer than waking the
// goroutine.
const largeSyncBytes = 64 << 10

// sync makes all that was written before the call durable. A sync that failed is
// never tried again: the system may have dropped what it could not write and
// would claim success. One that could not be begun, as no descriptor was left for the
// file, has not failed. The caller holds syncing.
func (c *committer) sync() (syncPoint, error) {
	c.mu.Lock()
	p, err := syncPoint{c.active, c.written}, c.failure.sync
	large := c.unsynced >= largeSyncBytes
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
	var began time.Time
	if c.log.syncEvery > 0 {
		began = time.Now()
	}
	if large {
		err = f.SyncLarge()
	} else {
		err = f.Sync()
	}
	if err != nil {
		return syncPoint{}, c.syncFailed(err)
	}
	c.isDurable(p, began)
	return p, nil
}

// isDurable notes what a sync that began then has made durable. The oldest write behind it
// was made after that. A sync of a segment that has been completed meanwhile says nothing of
// the active one.
func (c *committer) isDurable(p syncPoint, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.segment != c.active {
		return
	}
	c.durable = p.end.pos
	if c.written.pos == p.end.pos {
		began = time.Time{}
	}
	c.oldest = began
}

// syncAll makes durable what was written, and writes the recovery point, outside the group commit.
func (c *committer) syncAll() error {
	c.beginSync()
	defer c.endSync()
	return c.syncNow()
}

// beginSync takes syncing when one sync more may run.
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

// writeRecoveryPoint writes how far the segment is synced, which is synced itself a while later. It
// may fail: recovery then reads more than it would have to. The caller holds syncing, since the
// sync.
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
		if c.log.syncEvery > 0 { // by it recovery knows what a power cut could tear
			c.log.points.hurry(c.log)
		}
	}
}

// end is the active segment, and where it ends.
func (c *committer) end() (*segment, position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active, c.written
}

// whenIdle is end once no commit runs, with why appends are refused, if they are. The caller holds
// appender.mu, so that none begins.
func (c *committer) whenIdle() (*segment, position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.committing {
		c.idle.Wait()
	}
	return c.active, c.written, c.failure.refuse
}

// isIdle says whether no commit runs or is to, and whether there is something that a sync has not
// made durable, or failed to.
func (c *committer) isIdle() (idle, dirty bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.committing && c.ended == nil, c.failure.sync == nil && c.written.pos > c.durable
}

// install is partition.install. The caller holds mu.
func (c *committer) install(s *segment, end position) {
	c.active, c.written, c.durable = s, end, end.pos
	c.unsynced, c.oldest = 0, time.Time{}
}

// close refuses appends from now on, and returns when no commit runs: false if that was done
// before.
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
