package commitlog

import (
	"fmt"
	"sync"
	"sync/atomic"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// An appender writes to a log's active segment, one append after the other, and begins the next
// segment.
type appender struct {
	log       *partition
	rollBytes atomic.Int64 // largest size of a segment; 0 for segmentBytes
	rollAge   atomic.Int64 // seconds from the first append to a segment to the end of it; 0 for no end

	mu        sync.Mutex     // orders appends; held over the write; guards what follows
	open      bool           // the active segment's files are open
	allocated int64          // size of the active segment's file, as far as is known
	noted     uint32         // time of the last append to the active segment; its age is checked once a second
	owed      []func() error // pending steps of recovery, which found the disk full
}

// append implements store.Partition.Write.
func (a *appender) append(batches []byte, done func(int64, error)) (store.Lead, error) {
	now := seconds(a.log.now())
	a.mu.Lock()
	defer a.mu.Unlock()
	s, at, err := a.prepare(int64(len(batches)), now)
	if err != nil {
		return store.Lead{}, err
	}
	end, err := stamp(batches, at, a.log.epoch)
	if err != nil {
		return store.Lead{}, err
	}
	if err := a.write(s, batches, at.pos); err != nil {
		return store.Lead{}, err
	}
	note(s, batches, at, a.log.indexInterval)
	s.index.appended(now) // always: retention may have corrected the time
	a.noted = now
	s.verified.add(at.pos, end.pos)
	return a.log.commits.submit(batches, end, waiter{at.next, done}), nil
}

// prepare returns the segment and position for the next n bytes, after it has begun a new segment if
// necessary and opened its files. The caller holds mu.
func (a *appender) prepare(n int64, now uint32) (*segment, position, error) {
	c := &a.log.commits
	err := c.usable()
	if err != nil && c.mayHeal() {
		err = a.heal()
	}
	if err != nil {
		return nil, position{}, err
	}
	if err := a.pay(); err != nil {
		return nil, position{}, err
	}
	s, at := c.end()
	full := at.pos+n > a.segmentLimit()
	lost := false
	if !a.open {
		if err := a.openFiles(s); err != nil {
			return nil, position{}, err
		}
		lost = s.hasLost(at.pos)
	}
	if at.pos > 0 && (full || lost || now != a.noted && a.isOld(s, now)) {
		err := a.roll()
		if err != nil && !full {
			err = c.usable() // another time
		}
		if err != nil {
			return nil, position{}, err
		}
		s, at = c.end()
	}
	return s, at, a.openFiles(s)
}

// openFiles opens the active segment's files until closeFiles. The caller holds mu.
func (a *appender) openFiles(s *segment) error {
	if a.open {
		return nil
	}
	err := s.acquire()
	if vfs.IsUnreadable(err) && s.reload(a.log.visible.activeView(), err) == nil {
		err = s.acquire()
	}
	if err != nil {
		return err
	}
	a.open = true
	a.log.files.count.Add(1)
	return nil
}

// closeFiles closes the active segment's files. The caller holds mu, and no commit runs.
func (a *appender) closeFiles() {
	if a.open {
		a.open = false
		a.log.files.count.Add(-1)
		s, _ := a.log.commits.end()
		s.index.dropRecent()
		s.release()
	}
}

// tryCloseIdle is closeIdle unless an append is in progress.
func (a *appender) tryCloseIdle() {
	if a.mu.TryLock() {
		a.closeIdle()
		a.mu.Unlock()
	}
}

// closeIdle closes the active segment's files if the log is idle, after a pending sync. The caller
// holds mu.
func (a *appender) closeIdle() {
	c := &a.log.commits
	idle, dirty := c.isIdle()
	if !idle || dirty && c.syncAll() != nil {
		return
	}
	c.syncing.Lock() // for a sync in progress
	defer c.syncing.Unlock()
	a.closeFiles()
}

// finish syncs and closes the files of a log that has ended. The caller holds mu, and no commit runs.
func (a *appender) finish() error {
	s, end := a.log.commits.end()
	err := a.log.commits.failedSync()
	if err == nil && a.allocated > end.pos {
		err = s.truncate(end.pos)
	}
	if err == nil && (a.open || a.isLeft()) {
		err = a.log.commits.syncAll()
	}
	a.closeFiles()
	return err
}

// stamp writes offsets from m on and the leader epoch into the batches, and returns their end.
func stamp(batches []byte, m position, epoch leaderEpoch) (position, error) {
	for rest := batches; len(rest) > 0; {
		b, r, err := batch.Next(rest)
		if err != nil {
			return m, err
		}
		b.Stamp(m.next, int32(epoch))
		m = m.behind(b, len(b))
		rest = r
	}
	return m, nil
}

// note adds the batches, which begin at m, to the index.
func note(s *segment, batches []byte, m position, interval int64) {
	for len(batches) > 0 {
		b, rest, _ := batch.Next(batches) // stamp has seen them
		s.index.note(m, interval)
		m = m.behind(b, len(b))
		batches = rest
	}
}

// write writes p at pos. A full disk does not fail the log: the part of p that was written lies behind
// the log's end, and the next append or recovery removes it.
func (a *appender) write(s *segment, p []byte, pos int64) error {
	a.preallocate(s, pos+int64(len(p)))
	_, err := s.file.file.WriteAt(p, pos)
	switch {
	case err == nil:
		return nil
	case isFull(err):
		if s.file.file.Truncate(pos) != nil { // or a refused record would follow the next append
			a.owed = append(a.owed, func() error {
				defer a.log.commits.isCut()
				return s.truncate(pos)
			})
		}
		a.log.commits.isCut()
		a.allocated = pos
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return a.log.commits.writeFailed(err)
}

// allocateAhead is the most that is allocated behind the end of a log, in bytes.
const allocateAhead = 16 << 20

// preallocate doubles the active segment's file for a write up to end: a sync takes half as long if
// the write does not extend the file, because no new size has to be written. If it fails, the write
// returns the reason. The caller holds mu.
func (a *appender) preallocate(s *segment, end int64) {
	if end <= a.allocated {
		return
	}
	size := (end + min(end, allocateAhead) + 4095) &^ 4095
	size = max(end, min(size, a.segmentLimit()))
	if !a.log.space.ahead(size - end) {
		size = end
	}
	_ = s.file.file.Allocate(a.allocated, size)
	a.allocated = size
}

// noRoom turns the error of a full disk into store.ErrFull, and returns other errors as they are.
func noRoom(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}
