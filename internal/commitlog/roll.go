package commitlog

import (
	"errors"
	"time"

	"mbus/internal/store"
)

// Roll implements store.Partition.
func (l *partition) Roll(bytes int64, age time.Duration) {
	l.appends.rollBytes.Store(bytes)
	l.appends.rollAge.Store(int64((age + time.Second - 1) / time.Second))
}

// segmentLimit is the largest size of a segment in bytes, unless one Write has more.
func (a *appender) segmentLimit() int64 {
	if n := a.rollBytes.Load(); n > 0 {
		return min(n, a.log.segmentBytes)
	}
	return a.log.segmentBytes
}

// isOld says whether the first append to the active segment is older than rollAge.
func (a *appender) isOld(s *segment, now uint32) bool {
	age := a.rollAge.Load()
	if age <= 0 || now == 0 {
		return false
	}
	times, _ := s.index.appendTimes(now, minTime)
	return times.first > 0 && int64(now-times.first) > age
}

// rollOld begins a new segment if the active one is old, so that retention can remove it before it is
// full. On a full disk it does nothing.
func (a *appender) rollOld() error {
	s, at := a.log.commits.end()
	if at.pos == 0 || a.log.commits.usable() != nil || !a.isOld(s, seconds(a.log.now())) {
		return nil
	}
	if err := a.rollNow(); !errors.Is(err, store.ErrFull) {
		return err
	}
	return nil
}

// rollNow begins a new segment between two appends.
func (a *appender) rollNow() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.log.commits.usable(); err != nil {
		return err
	}
	if _, at := a.log.commits.end(); at.pos == 0 {
		return nil
	}
	err := a.roll()
	if a.log.files.tooMany() {
		a.closeIdle()
	}
	return err
}

// roll begins a new segment once the active one is synced and complete. The caller holds mu.
func (a *appender) roll() error {
	if err := a.pay(); err != nil {
		return err
	}
	old, end, err := a.log.commits.whenIdle()
	if err != nil {
		return err
	}
	wasOpen := a.open
	if err := a.openFiles(old); err != nil { // once for all that follows
		return err
	}
	s, err := a.next(old, end)
	if err != nil {
		if !wasOpen {
			a.closeFiles()
		}
		return err
	}
	a.closeFiles()
	a.open, a.allocated, a.noted = true, 0, 0
	a.log.files.count.Add(1)
	old.state.seal(end)
	a.log.install(s, position{next: end.next, maxTime: minTime})
	return nil
}

// next creates the segment that follows the active one, whose files are open.
func (a *appender) next(old *segment, end position) (*segment, error) {
	// Bytes behind the end are of a refused append, or were cut off by a recovery that was killed
	// before its sync. They must not come back once there is a next segment.
	if err := old.truncate(end.pos); err != nil {
		return nil, noRoom(err)
	}
	a.allocated = end.pos
	l := a.log
	l.commits.syncing.Lock()
	defer l.commits.syncing.Unlock()
	if _, err := l.commits.sync(); err != nil {
		return nil, err
	}
	if err := old.complete(end); err != nil {
		return nil, noRoom(err)
	}
	s := newSegment(l, end.next)
	if err := s.create(); err != nil {
		_ = s.remove() // or recovery removes it
		return nil, noRoom(err)
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		s.release()
		_ = s.remove()
		return nil, noRoom(err)
	}
	return s, nil
}

// complete makes the index of a segment that ends at m durable.
func (s *segment) complete(m position) error {
	if err := s.writeIndex(m); err != nil {
		return err
	}
	return s.index.sync()
}
