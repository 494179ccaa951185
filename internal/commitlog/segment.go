package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"mbus/internal/vfs"
)

const (
	logSuffix   = ".log"
	indexSuffix = ".index"
	cutInfix    = ".cut-" // follows the name of a segment: its quarantined tail
)

// A segment is a file of record batches, end to end, named by the offset of its
// first record, and its index.
type segment struct {
	log      *partition
	base     int64
	file     handle
	index    index
	verified verifiedRange

	sectors sectors // that can't be read
	jumps   jumps   // past damage

	loadMu sync.Mutex // held while the index is read, checked or built again
	state  segmentState
}

func newSegment(l *partition, base int64) *segment {
	name := filepath.Join(l.dir, fmt.Sprintf("%020d", base))
	s := &segment{log: l, base: base}
	s.file = handle{fs: l.fs, name: name + logSuffix}
	s.index.file = handle{fs: l.fs, name: name + indexSuffix}
	s.index.base, s.index.epoch = base, l.epoch
	s.index.reset()
	return s
}

// parseBase takes the offset from a segment's file name, without its suffix.
func parseBase(name, suffix string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil && base >= 0
}

// create creates both files, durable once the directory is synced, and acquires them.
func (s *segment) create() error {
	if _, err := s.file.create(); err != nil {
		return err
	}
	f, err := s.index.file.create()
	if err != nil {
		s.file.release()
		return err
	}
	if _, err = f.WriteAt(s.index.header(s.index.synced), 0); err == nil {
		err = f.Sync()
	}
	if err != nil {
		s.release()
	}
	return err
}

func (s *segment) acquire() error {
	if _, err := s.file.acquire(); err != nil {
		return err
	}
	if _, err := s.index.file.acquire(); err != nil {
		s.file.release()
		return err
	}
	return nil
}

func (s *segment) release() {
	s.file.release()
	s.index.file.release()
}

// truncate cuts the file off behind size bytes.
func (s *segment) truncate(size int64) error {
	f, err := s.file.acquire()
	if err != nil {
		return err
	}
	defer s.file.release()
	return f.Truncate(size)
}

// forget ensures that no reader builds the segment's index again. It waits for one that does.
func (s *segment) forget() {
	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	s.state.forgotten()
}

// remove removes both files, the index last: a segment without an index is complete, an index without a
// segment is not used.
func (s *segment) remove() error {
	s.forget()
	if err := s.log.fs.Remove(s.file.name); err != nil && !isNotExist(err) {
		return err
	}
	if err := s.log.fs.Remove(s.index.file.name); err != nil && !isNotExist(err) {
		return err
	}
	return nil
}

// load checks the entries of the index once, and builds it again if they are damaged. v is how far the
// segment can be read.
func (s *segment) load(v view) error {
	if s.state.isReady(v.active) {
		return nil
	}
	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	if !v.active {
		if _, err := s.findEnd(v); err != nil {
			return err
		}
	}
	if s.state.isReady(true) {
		return nil
	}
	err := s.index.check()
	if errors.Is(err, errStale) {
		err = s.rebuild(v, err)
	}
	return s.state.loads(err)
}

// reload builds a loaded index again that, for the reason given, can't be read any more.
func (s *segment) reload(v view, reason error) error {
	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	return s.state.loads(s.rebuild(v, reason))
}

// floor is index.floor of a loaded index, which is built again if it can't be read any more: by the first
// of several readers that find that.
func (s *segment) floor(v view, after func(entry) bool) (entry, error) {
	e, err := s.index.floor(after)
	if !errors.Is(err, errStale) {
		return e, err
	}
	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	if e, err = s.index.floor(after); !errors.Is(err, errStale) {
		return e, err
	}
	if err := s.state.loads(s.rebuild(v, err)); err != nil {
		return e, err
	}
	return s.index.floor(after)
}

// end returns the end of a sealed segment; the next one begins at next. It reads the header of the
// index at most, unless that is damaged.
func (s *segment) end(next int64) (position, error) {
	s.loadMu.Lock()
	defer s.loadMu.Unlock()
	return s.findEnd(view{next: next})
}

// errStale says that an index does not fit its segment.
var errStale = errors.New("not the segment's index")

// findEnd finds the end of a sealed segment in the header of its index. The caller holds loadMu.
func (s *segment) findEnd(v view) (position, error) {
	if end, known := s.state.sealedAt(); known {
		return end, nil
	}
	ok, err := s.index.open()
	if err != nil {
		end, _ := s.state.sealedAt()
		return end, err
	}
	end := s.index.recoveryPoint()
	size, err := s.file.size()
	switch {
	case (vfs.IsUnreadable(err) || isNotExist(err)) && ok && end.next <= v.next:
		return s.state.ends(end, false), nil // for the time being
	case err != nil:
		return s.state.ends(end, false), err
	case !ok:
		err = fmt.Errorf("%w: missing or damaged", errStale)
	case end.pos != size || end.next > v.next:
		err = fmt.Errorf("%w: the segment has %d bytes, its index says %d", errStale, size, end.pos)
	}
	if ok && end.pos > size {
		s.log.damaged(s.file.name, size)
		s.log.logError("synced bytes are missing from the end of a segment",
			"file", s.file.name, "size", size, "synced", end.pos)
	}
	if err != nil {
		end.pos = size
		s.state.ends(end, false)
		err = s.state.loads(s.rebuild(v, err))
		end, _ = s.state.sealedAt()
	}
	return s.state.ends(end, err == nil), err
}

// rebuild builds the index again from the batches, past damage. The caller holds loadMu.
func (s *segment) rebuild(v view, reason error) error {
	if s.state.isGone() {
		return fmt.Errorf("%s: %w", s.file.name, fs.ErrNotExist)
	}
	s.log.warn("building an index again", "file", s.index.file.name, "reason", reason)
	sealed, known := s.state.sealedAt()
	if !v.active {
		v.end = sealed.pos
	}
	built := index{base: s.base}
	w := s.scan(v, entry{offset: s.base, before: minTime})
	defer w.close()
	w.win.step = 1 << 20
	for w.nextChecked() {
		if w.kind == isBatch {
			built.note(w.at, s.log.indexInterval)
		}
	}
	if w.err != nil {
		return w.err
	}
	end := w.end()
	if !v.active {
		s.state.ends(end, known)
	}
	s.index.replace(slices.Clone(built.tail), v.end)
	write := func() error { return s.index.flush(position{v.end, end.next, end.maxTime}) }
	if v.active || s.index.recoveryPoint().pos > v.end { // visible records need not be synced, and missing ones are known by the recovery point
		write = s.index.rewrite
	}
	err := s.withIndex(write)
	if err != nil {
		s.log.warn("cannot write an index: it stays in memory; look at the disk", "file", s.index.file.name, "reason", err)
	} else if err = s.index.reread(); err != nil {
		s.log.warn("keeping an index in memory, because it can't be read from its file: look at the disk", "file", s.index.file.name, "reason", err)
	}
	if err != nil {
		s.index.hold(built.tail)
	}
	return nil
}

// writeIndex writes the index into its file, which may not exist.
func (s *segment) writeIndex(m position) error {
	return s.withIndex(func() error { return s.index.flush(m) })
}

// withIndex calls write with the index's file open. It creates the file if there is none, or if it can't
// be opened; in that case the new one stays open.
func (s *segment) withIndex(write func() error) error {
	_, err := s.index.file.acquire()
	lost := vfs.IsUnreadable(err)
	if lost || isNotExist(err) {
		_, err = s.index.file.create()
	}
	if lost && err == nil {
		_, err = s.index.file.acquire()
	}
	if err != nil {
		return err
	}
	defer s.index.file.release()
	return write()
}
