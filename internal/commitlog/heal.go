package commitlog

import (
	"fmt"
	"math"
	"path/filepath"
	"syscall"
	"time"

	"mbus/internal/vfs"
)

// After a failed write or sync the active segment's file may not be on the disk behind its durable
// part, and it is never synced again. The log heals by copying the visible part into a new file,
// which is synced and takes the old one's name. That is as safe as a new segment, because no sync of
// the new file has failed. An append tries it after a pause; if that fails, the log goes on refusing
// appends.
//
// A crash leaves the old file, of which the durable part is known, or the new one.

// healName is the copy until it has the segment's name.
const healName = "copy.tmp"

// renamedName is an empty file that is there while the copy has the segment's name, and the disk may
// not know that yet.
const renamedName = "copy.renamed"

// healAfter is the pause before an attempt to heal a log. It doubles with each failure up to
// healMost.
const (
	healAfter = time.Second
	healMost  = time.Minute
)

// healIfDue heals a log that has failed, if an attempt is due.
func (a *appender) healIfDue() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.log.commits.usable() != nil && a.log.commits.mayHeal() {
		_ = a.heal() // it is logged
	}
}

// heal continues the log in a copy of the active segment's file. The caller holds mu.
func (a *appender) heal() error {
	l := a.log
	old, _, reason := l.commits.whenIdle()
	s, err := a.replace(old)
	if err == nil {
		err = l.journal.files.isSound() // the log writes to positions that refused appends had
	}
	if err != nil {
		l.warn("the log still accepts no more: its messages can't be copied to a new file; restart the broker on another disk", "file", old.file.name, "reason", err)
		return fmt.Errorf("%w, and a new file could not be made: %w", reason, err)
	}
	l.commits.healed()
	l.warn("the log accepts messages again, in a new file", "file", s.file.name)
	return nil
}

// replace replaces the active segment's file by a copy of its visible part, which is durable.
func (a *appender) replace(old *segment) (*segment, error) {
	l := a.log
	synced, end := l.commits.toCopy()
	l.commits.syncing.Lock()
	defer l.commits.syncing.Unlock()
	if err := l.copyActive(old, synced, end); err != nil {
		return nil, err
	}
	s, err := l.replaceActive(old, end)
	if err != nil {
		return nil, err
	}
	a.closeFiles() // the old file
	old.forget()   // its readers end with it
	l.install(s, end)
	a.allocated, a.noted = end.pos, 0
	l.commits.writeRecoveryPoint(syncPoint{segment: s, end: end})
	return s, nil
}

// toCopy returns how many bytes of the active segment are synced, and the end of the visible ones.
func (c *committer) toCopy() (synced int64, end position) {
	v := &c.log.visible
	v.mu.Lock()
	defer v.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced, v.high
}

// copyActive copies the active segment up to end into a file of its own, and syncs that.
// Batches that may not be durable are checked, because the system may have lost them.
func (l *partition) copyActive(old *segment, durable int64, end position) error {
	if err := old.checkFrom(durable, end); err != nil {
		return err
	}
	if !l.space.fits(end.pos) {
		return syscall.ENOSPC
	}
	name := filepath.Join(l.dir, healName)
	if err := l.fs.Remove(name); err != nil && !isNotExist(err) {
		return err
	}
	to, err := l.fs.Create(name)
	if err != nil {
		return err
	}
	defer to.Close()
	if err = copyWhole(to, old, end.pos); err == nil {
		err = to.Sync()
	}
	if err != nil {
		_ = l.fs.Remove(name) // or it takes space until the next attempt
	}
	return err
}

// copyWhole copies the first size bytes of a segment, all of which must be readable.
func copyWhole(to vfs.File, s *segment, size int64) error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	if err := copyTo(to, r, span{0, size}); err != nil {
		return err
	}
	if err := r.lost(0, size); err != nil {
		return err
	}
	got, err := to.Size()
	if err == nil && got < size {
		err = fmt.Errorf("%s is shorter than its %d bytes", s.file.name, size)
	}
	return err
}

// checkFrom returns what is wrong with the batches that reach behind a position of the segment.
func (s *segment) checkFrom(pos int64, end position) error {
	if pos >= end.pos {
		return nil
	}
	v := view{active: true, end: end.pos, next: math.MaxInt64}
	w := s.scan(v, entry{offset: s.base, before: minTime})
	defer w.close()
	for w.next() {
		if w.kind == isBatch && w.end().pos > pos {
			w.check()
		}
		if w.kind != isBatch && (w.at.pos >= pos || w.last) && w.err == nil {
			return w.reason
		}
	}
	if w.err == nil && w.end().next != end.next {
		return fmt.Errorf("%w: what is visible ends at offset %d, not %d", errDamaged, w.end().next, end.next)
	}
	return w.err
}

// replaceActive renames the copy to the active segment's name, durably, and builds the index again if
// it can't be used.
func (l *partition) replaceActive(old *segment, end position) (*segment, error) {
	s := newSegment(l, old.base)
	known, err := s.index.open()
	s.index.times, _ = old.index.appendTimes(0, minTime)
	if err == nil {
		err = l.createRenamed()
	}
	if err == nil {
		err = l.fs.Rename(filepath.Join(l.dir, healName), old.file.name)
	}
	if err == nil {
		err = l.syncRenamed()
	}
	if err == nil && !known {
		s.index.synced = end
		err = s.reload(view{active: true, end: end.pos, next: end.next}, fmt.Errorf("%w: missing or damaged", errStale))
	}
	return s, err
}

// createRenamed tells the next process, should this one be killed before syncRenamed, to call that.
func (l *partition) createRenamed() error {
	f, err := l.fs.Create(filepath.Join(l.dir, renamedName))
	if isExist(err) {
		return nil
	}
	if err == nil {
		err = f.Close()
	}
	return err
}

// syncRenamed makes the new name of a copy durable, before the log relies on the copy.
func (l *partition) syncRenamed() error {
	err := l.fs.SyncDir(l.dir)
	if err == nil {
		_ = l.fs.Remove(filepath.Join(l.dir, renamedName)) // or it stays until a start, which syncs once more
	}
	return err
}
