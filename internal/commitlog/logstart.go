package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"mbus/internal/vfs"
)

// The log start offset has a file of its own, which is replaced as a whole. On a full disk there is no
// space for a new file, although old messages have to be removed. Then the offset is stored in the
// name of a file: the index of a segment that will be removed is renamed, which takes no space. When
// the file can be written again, the renamed index is removed.

const (
	startName   = "log-start-offset"
	startSuffix = ".start" // as long as that of an index, so that the directory has space for it
)

// A logStart moves the log start offset.
type logStart struct {
	log    *partition
	mu     sync.Mutex // held by Trim and Retain; guards what follows
	marker string     // name of a file that holds the log start offset in its name; "" for none
}

// drop makes offset the log start offset, durably, and removes the segments below it. The caller holds
// mu.
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

// removeCut removes quarantined tails of segments below an offset.
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

// keep makes offset the log start offset, durably. Visible records become durable first, because they
// may replace those that are removed. The caller holds mu.
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
		b.marker = "" // if a crash brings it back it has a lower offset
	}
	return nil
}

// write stores the log start offset. The log is durable up to end.
func (b *logStart) write(offset, end int64) error {
	return vfs.WriteFile(b.log.fs, filepath.Join(b.log.dir, startName), b.log.epoch.startText(offset, end))
}

// keepInName stores the log start offset in the name of a file, because the disk is full, as the reason
// says: in that of the last such file, or of the index of a segment that will be removed.
func (b *logStart) keepInName(offset int64, reason error) error {
	l, old := b.log, b.marker
	if old == "" {
		s := b.expendable(offset)
		if s == nil {
			return reason // nothing would be freed
		}
		s.forget()                   // or a reader builds it again
		defer s.index.file.release() // readers go on using it
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

// expendable returns a segment below offset that has an index, which it acquires; nil if there is none.
func (b *logStart) expendable(offset int64) *segment {
	for _, s := range b.log.visible.below(offset) {
		if _, err := s.index.file.acquire(); err == nil {
			return s
		}
	}
	return nil
}
