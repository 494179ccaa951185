package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"mbus/internal/vfs"
)

// The log start offset is in a file of its own, which is replaced as a whole. That takes
// space, and on a full disk there is none to forget old messages with. Then it goes into
// the name of a file instead: the index of a segment that is to go is renamed, which takes
// none. When the file can be written again the name is given up.

const (
	startName   = "log-start-offset"
	startSuffix = ".start" // as long as that of an index, so that the directory has space for it
)

// A logStart moves the log start offset.
type logStart struct {
	log    *partition
	mu     sync.Mutex // one call of Trim or Retain at a time; guards what follows
	marker string     // name of a file that holds the log start offset in its name; "" for none
}

// drop makes offset the log start offset, durably, and deletes the segments that
// lie wholly below it. The caller holds mu.
func (b *logStart) drop(offset int64) error {
	if err := b.keep(offset); err != nil {
		return err
	}
	gone, first := b.log.visible.drop(offset)
	if len(gone) == 0 {
		return nil
	}
	var errs []error
	for _, s := range gone {
		errs = append(errs, s.remove())
	}
	return errors.Join(append(errs, b.removeCut(first))...)
}

// removeCut deletes what recovery has cut off segments below an offset: it is as old as
// they were.
func (b *logStart) removeCut(offset int64) error {
	entries, err := b.log.fs.ReadDir(b.log.dir)
	errs := []error{err}
	for _, e := range entries {
		name, _, isCut := strings.Cut(e.Name, cutInfix)
		if base, ok := parseBase(name, logSuffix); isCut && ok && base < offset {
			errs = append(errs, b.log.fs.Remove(filepath.Join(b.log.dir, e.Name)))
		}
	}
	return errors.Join(errs...)
}

// keep makes offset the log start offset, durably, after what is visible: what is given
// up may be what that has taken the place of. The caller holds mu.
func (b *logStart) keep(offset int64) error {
	start, end := b.log.visible.offsets()
	if offset == start {
		return nil
	}
	if err := b.log.commits.syncVisible(); err != nil {
		return err
	}
	err := b.write(offset, end)
	switch {
	case isFull(err):
		return noRoom(b.keepInName(offset, err))
	case err != nil:
		return err
	}
	b.log.visible.setStart(offset)
	if b.marker != "" && b.log.fs.Remove(b.marker) == nil {
		b.marker = "" // should it come back it does no harm: its start is an earlier one
	}
	return nil
}

// write stores the log start offset. What is before end is durable.
func (b *logStart) write(offset, end int64) error {
	return vfs.WriteFile(b.log.fs, filepath.Join(b.log.dir, startName), b.log.epoch.startText(offset, end))
}

// keepInName keeps the log start offset in the name of a file, because there is no space: the
// reason says so. That file is the one that has the last such name, or the index of a segment that
// goes.
func (b *logStart) keepInName(offset int64, reason error) error {
	l, old := b.log, b.marker
	if old == "" {
		s := b.expendable(offset)
		if s == nil {
			return reason // nothing would be freed
		}
		s.forget()                   // or a reader makes it again
		defer s.index.file.release() // readers go on with it
		old = s.index.file.name
	}
	name := filepath.Join(l.dir, fmt.Sprintf("%020d%s", offset, startSuffix))
	if err := l.fs.Rename(old, name); err != nil {
		return errors.Join(reason, err)
	}
	b.marker = name
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	l.visible.setStart(offset)
	return nil
}

// expendable finds a segment that goes when the log begins at offset and has an index, and
// acquires that; nil if there is none.
func (b *logStart) expendable(offset int64) *segment {
	for _, s := range b.log.visible.below(offset) {
		if _, err := s.index.file.acquire(); err == nil {
			return s
		}
	}
	return nil
}
