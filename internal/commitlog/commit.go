package commitlog

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"mbus/internal/store"
)

// submit puts a written append among those that wait, and gives the lead to it if
// there is none. Where many append nobody leads: it would keep from its own work who has
// been answered long ago.
func (l *partition) submit(end mark, w waiter) store.Lead {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.syncEvery > 0 && l.oldest.IsZero() {
		l.oldest = time.Now()
	}
	l.fresh += end.pos - l.written.pos
	l.written = end
	l.waiting = append(l.waiting, w)
	if l.committing {
		return store.Lead{}
	}
	l.committing = true
	if l.served > 1 {
		go l.Commit()
		return store.Lead{}
	}
	return store.LeadOf(l)
}

// Commit implements store.Committer.
func (l *partition) Commit() {
	defer fatal()
	l.gather()
	l.commit()
	if l.goesOn() {
		go l.Commit()
	} else if l.hot.Load() > l.maxHot && l.appendMu.TryLock() {
		l.rest()
		l.appendMu.Unlock()
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

// goesOn says whether there is more to commit. If not nobody commits any more.
func (l *partition) goesOn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.committing = len(l.waiting) > 0
	if !l.committing {
		l.quiet.Broadcast()
	}
	return l.committing
}

// rest closes the active segment's files if the log is idle. A sync that was to come
// later comes first. The caller holds appendMu.
func (l *partition) rest() {
	l.mu.Lock()
	idle, dirty := !l.committing && l.ended == nil, l.unsynced == nil && l.written.pos > l.durable
	l.mu.Unlock()
	if !idle || dirty && l.syncAndMark() != nil {
		return
	}
	l.syncMu.Lock() // for one that is under way
	defer l.syncMu.Unlock()
	l.cool()
}

// Gathering ends after so many rounds or bytes, so that the first append does not wait for as
// long as others come.
const (
	gatherRounds = 32
	gatherBytes  = 4 << 20
)

// gather lets others append before a sync as long as there are any at hand, so
// that it serves many: it gives way to every goroutine that can run, and does
// not wait for any.
func (l *partition) gather() {
	last := -1
	for range gatherRounds {
		runtime.Gosched()
		l.mu.Lock()
		n, bytes := len(l.waiting), l.fresh
		l.mu.Unlock()
		if n == last || bytes >= gatherBytes {
			return
		}
		last = n
	}
}

// commit makes what has been written visible, and answers it, once it is durable; with an
// interval while the oldest write that is not durable is younger than that.
func (l *partition) commit() {
	if l.isEarly() {
		waiting, end := l.take()
		wake, err := l.publish(end, nil)
		l.answer(waiting, wake, err)
		return
	}
	l.beginSync()
	defer l.endSync()
	waiting, end := l.take()
	synced, err := l.sync()
	wake, err := l.publish(end, err)
	l.answer(waiting, wake, err)
	runtime.Gosched()   // those who were told go first
	l.writeMark(synced) // nobody waits for it
}

// take gives all appends that wait, and the end of what they wrote.
func (l *partition) take() (waiting []waiter, end mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting = l.waiting
	l.waiting, l.spare, l.served = l.spare[:0], nil, len(waiting)
	return waiting, l.written
}

// answer calls back the appends that waited, and wakes the readers that waited for them.
func (l *partition) answer(waiting []waiter, wake []func(store.Reason), err error) {
	for i, w := range waiting {
		w.done(w.base, err)
		waiting[i] = waiter{}
	}
	for _, f := range wake {
		f(store.More)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = waiting
}

// publish raises the high watermark to end unless a sync has failed, and
// returns whom that wakes.
func (l *partition) publish(end mark, err error) ([]func(store.Reason), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		err = l.unsynced
	}
	if err != nil {
		return nil, err
	}
	l.high = end
	var wake []func(store.Reason)
	for w := range l.wakers {
		if w.offset < end.next {
			wake = append(wake, w.f)
			delete(l.wakers, w)
		}
	}
	return wake, nil
}

// A syncPoint is how far a segment is known to be synced; the zero value says
// nothing.
type syncPoint struct {
	segment *segment
	end     mark
}

// Syncs of largeSyncBytes or more use SyncLarge: writing the bytes takes longer than waking the
// goroutine.
const largeSyncBytes = 64 << 10

// sync makes all that was written before the call durable. A sync that failed is
// never tried again: the system may have dropped what it could not write and
// would claim success. One that could not be begun, as no descriptor was left for the
// file, has not failed. The caller holds syncMu.
func (l *partition) sync() (syncPoint, error) {
	l.mu.Lock()
	p, err := syncPoint{l.active(), l.written}, l.unsynced
	large := l.fresh >= largeSyncBytes
	l.fresh = 0
	l.mu.Unlock()
	if err != nil {
		return syncPoint{}, err
	}
	f, err := p.segment.file.acquire()
	if err != nil {
		return syncPoint{}, err
	}
	defer p.segment.file.release()
	var began time.Time
	if l.syncEvery > 0 {
		began = time.Now()
	}
	if large {
		err = f.SyncLarge()
	} else {
		err = f.Sync()
	}
	if err != nil {
		l.ails()
		return syncPoint{}, l.fail(err)
	}
	l.isDurable(p, began)
	return p, nil
}

// isDurable notes what a sync that began then has made durable. The oldest write behind it
// was made after that. A sync of a segment that has been completed meanwhile says nothing of
// the active one.
func (l *partition) isDurable(p syncPoint, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.segment != l.active() {
		return
	}
	l.durable = p.end.pos
	if l.written.pos == p.end.pos {
		began = time.Time{}
	}
	l.oldest = began
}

// syncAndMark is for all but who commits.
func (l *partition) syncAndMark() error {
	l.beginSync()
	defer l.endSync()
	return l.syncNow()
}

// beginSync takes syncMu when one sync more may run.
func (l *partition) beginSync() {
	l.syncs <- struct{}{}
	l.syncMu.Lock()
}

func (l *partition) endSync() {
	l.syncMu.Unlock()
	<-l.syncs
}

// syncNow is syncAndMark between beginSync and endSync.
func (l *partition) syncNow() error {
	p, err := l.sync()
	if err == nil {
		l.writeMark(p)
	}
	return err
}

// fail has the log refuse appends after a failed sync.
func (l *partition) fail(err error) error {
	err = fmt.Errorf("%w: %w", store.ErrFailed, err)
	l.mu.Lock()
	l.unsynced, l.refuse = err, err
	l.mu.Unlock()
	l.log.Error("sync failed: the log accepts no more until it could be copied to a new file, which an append tries again and again", "topic", l.topic, "partition", l.number, "reason", err)
	return err
}

// writeMark writes the sync mark, which is synced a while later. It may fail: recovery
// then reads more than it would have to. The caller holds syncMu, since the sync.
func (l *partition) writeMark(p syncPoint) {
	if p.segment == nil {
		return
	}
	before := p.segment.index.mark()
	err := p.segment.index.flush(p.end)
	if err != nil && !l.markFailed {
		l.warn("cannot write the sync mark", "file", p.segment.index.file.name, "reason", err)
	}
	l.markFailed = err != nil
	if err == nil && p.end != before {
		l.marks.moved(l, p.end.pos-before.pos)
		if l.syncEvery > 0 { // recovery is to tell by it what a power cut could tear
			l.marks.hurry(l)
		}
	}
}
