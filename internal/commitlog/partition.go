package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A partition is one log on disk. Appends are written one after the other under
// appendMu. While there is something to sync one goroutine makes it durable, as many
// appends at a time as have been written meanwhile: that is the group commit. It is
// that of the first appender, or one that this starts (store.Lead).
//
// Locks are taken in this order: trimMu, appendMu, syncMu, mu.
type partition struct {
	fs        vfs.FS
	dir       string
	topic     string
	number    int
	place     place
	log       *slog.Logger
	segBytes  int64
	interval  int64 // bytes between index entries, at the least
	syncEvery time.Duration
	space     *reserve
	hot       *atomic.Int64 // partitions of the store with open files
	maxHot    int64
	syncs     chan struct{} // of the store: holds an element for each sync that runs
	now       func() time.Time
	healAfter time.Duration
	marks     *marks       // of the store
	doubt     bool         // what is read may not be on the disk; for recovery
	late      bool         // what lies behind the sync mark was not synced; for recovery
	startEnd  int64        // the log has reached it when the log start offset was written; for recovery
	rollBytes atomic.Int64 // size from which a new segment is begun; 0 for segBytes
	rollAge   atomic.Int64 // seconds from the first append to a segment to the end of it; 0 for no end

	trimMu sync.Mutex // one call of Trim or Retain at a time; guards what follows
	marker string     // name of a file that holds the log start offset in its name; "" for none

	appendMu sync.Mutex     // orders appends; held over the write
	isHot    bool           // the active segment's files are open
	room     int64          // size of the active segment's file, as far as is known
	noted    uint32         // append time that the active segment's index knows
	owed     []func() error // what appends wait for, because there was no space for it

	syncMu     sync.Mutex // held over each sync of the active segment and its mark
	markFailed bool       // said already that the mark can't be written

	markQueued atomic.Bool  // among those that wait in marks
	markBehind atomic.Int64 // bytes by which the mark has moved since its last sync began
	markUnsafe bool         // said already that the mark can't be synced; of marks' rounds

	mu         sync.Mutex // guards what follows
	quiet      sync.Cond  // committing has become false
	segments   []*segment // ascending; the last is active
	start      int64      // log start offset
	written    mark       // end of the active segment
	fresh      int64      // bytes written since the last sync began
	durable    int64      // bytes of the active segment that are known to be synced
	oldest     time.Time  // with an interval: no write that is not durable was before; zero if there is none
	high       mark       // its part that is visible; next is the high watermark
	waiting    []waiter   // appended, not answered yet; in order
	spare      []waiter   // the slice of the last commit, to use again
	committing bool       // somebody commits, or is to begin it
	served     int        // appends that the last commit has answered
	timer      *time.Timer
	refuse     error // why appends are refused
	unsynced   error // a failed sync: nothing more may be acknowledged
	ailment    ailment
	ended      error         // store.ErrDeleted or store.ErrClosed; nil while the log is in use
	asking     []func(error) // for all that is visible to be durable
	wakers     map[*waker]struct{}
}

// A waiter is an append that waits for its sync.
type waiter struct {
	base int64
	done func(int64, error)
}

type waker struct {
	offset int64
	f      func(store.Reason)
}

func (l *partition) warn(msg string, args ...any) {
	l.log.Warn(msg, append([]any{"topic", l.topic, "partition", l.number}, args...)...)
}

func (l *partition) active() *segment { return l.segments[len(l.segments)-1] }

// Write implements store.Partition.
func (l *partition) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	now := seconds(l.now())
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	s, at, err := l.reserve(int64(len(batches)), now)
	if err != nil {
		return store.Lead{}, err
	}
	end, err := stamp(batches, at, l.place)
	if err != nil {
		return store.Lead{}, err
	}
	if err := l.write(s, batches, at.pos); err != nil {
		return store.Lead{}, err
	}
	note(s, batches, at, l.interval)
	if now != l.noted {
		s.index.appended(now)
		l.noted = now
	}
	s.sound.add(at.pos, end.pos)
	return l.submit(end, waiter{at.next, done}), nil
}

// reserve finds the place for n bytes more, in a new segment if need be, with
// the segment's files open. The caller holds appendMu.
func (l *partition) reserve(n int64, now uint32) (*segment, mark, error) {
	err := l.usable()
	if err != nil && l.curable() {
		err = l.heal()
	}
	if err != nil {
		return nil, mark{}, err
	}
	if err := l.pay(); err != nil {
		return nil, mark{}, err
	}
	s, at := l.end()
	full := at.pos+n > l.segmentLimit()
	lost := false
	if !l.isHot {
		if err := l.heat(s); err != nil {
			return nil, mark{}, err
		}
		lost = s.hasLost(at.pos)
	}
	if at.pos > 0 && (full || lost || now != l.noted && l.isOld(s, now)) {
		err := l.roll()
		if err != nil && !full {
			err = l.usable() // another time
		}
		if err != nil {
			return nil, mark{}, err
		}
		s, at = l.end()
	}
	return s, at, l.heat(s)
}

// end is the active segment, and where it ends.
func (l *partition) end() (*segment, mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active(), l.written
}

func (l *partition) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		return l.ended
	}
	return l.refuse
}

// heat opens the active segment's files until cool. The caller holds appendMu.
func (l *partition) heat(s *segment) error {
	if l.isHot {
		return nil
	}
	err := s.acquire()
	if vfs.IsUnreadable(err) {
		l.mu.Lock()
		v := l.view(len(l.segments) - 1)
		l.mu.Unlock()
		if s.reload(v, err) == nil {
			err = s.acquire()
		}
	}
	if err != nil {
		return err
	}
	l.isHot = true
	l.hot.Add(1)
	return nil
}

// cool closes the active segment's files. The caller holds appendMu, and no
// commit runs.
func (l *partition) cool() {
	if l.isHot {
		l.isHot = false
		l.hot.Add(-1)
		l.mu.Lock()
		s := l.active()
		l.mu.Unlock()
		s.index.rest()
		s.release()
	}
}

// stamp gives the batches their offsets, from m on, and their place, and returns
// their end.
func stamp(batches []byte, m mark, at place) (mark, error) {
	for rest := batches; len(rest) > 0; {
		b, r, err := batch.Next(rest)
		if err != nil {
			return m, err
		}
		b.Stamp(m.next, int32(at))
		m = m.behind(b, len(b))
		rest = r
	}
	return m, nil
}

// note puts the batches, which begin at m, into the index.
func note(s *segment, batches []byte, m mark, interval int64) {
	for len(batches) > 0 {
		b, rest, _ := batch.Next(batches) // stamp has seen them
		s.index.note(m, interval)
		m = m.behind(b, len(b))
		batches = rest
	}
}

// write puts p at pos. A disk that is full is no reason to give up the log:
// what was written of p lies behind the log's end, where the next append, or
// recovery, disposes of it.
func (l *partition) write(s *segment, p []byte, pos int64) error {
	l.makeRoom(s, pos+int64(len(p)))
	_, err := s.file.file.WriteAt(p, pos)
	switch {
	case err == nil:
		return nil
	case isFull(err):
		if s.file.file.Truncate(pos) != nil { // what was refused must not come back behind the next append
			l.owed = append(l.owed, func() error { return s.truncate(pos) })
		}
		l.room = pos
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	err = fmt.Errorf("%w: %w", store.ErrFailed, err)
	l.ails()
	l.mu.Lock()
	l.refuse = err
	l.mu.Unlock()
	l.log.Error("write failed: the log accepts no more until it could be copied to a new file, which an append tries again and again", "topic", l.topic, "partition", l.number, "reason", err)
	return err
}

// roomMax is how much is allocated behind the end of a log at most, in bytes.
const roomMax = 16 << 20

// makeRoom extends the active segment's file, for a write up to end, by as much
// again as it holds then: a sync of a write that does not extend the file takes
// half as long, for there is no new size to be written with it. Where that
// fails, the write itself tells why. The caller holds appendMu.
func (l *partition) makeRoom(s *segment, end int64) {
	if end <= l.room {
		return
	}
	size := (end + min(end, roomMax) + 4095) &^ 4095
	size = max(end, min(size, l.segmentLimit()))
	if !l.space.ahead(size - end) {
		size = end
	}
	_ = s.file.file.Allocate(l.room, size)
	l.room = size
}

// noRoom turns a full disk into store.ErrFull. Other errors stay as they are:
// nothing was stored, and it may be tried again.
func noRoom(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// Offsets implements store.Partition.
func (l *partition) Offsets() (start, high int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start, l.high.next
}

// Wake implements store.Partition.
func (l *partition) Wake(offset int64, f func(store.Reason)) (cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended != nil:
		go f(reasonOf(l.ended))
		return func() {}
	case l.high.next > offset:
		go f(store.More)
		return func() {}
	}
	if l.wakers == nil {
		l.wakers = make(map[*waker]struct{})
	}
	w := &waker{offset, f}
	l.wakers[w] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.wakers, w)
	}
}

// reasonOf is why Wake calls when a log has ended.
func reasonOf(ended error) store.Reason {
	if errors.Is(ended, store.ErrDeleted) {
		return store.Deleted
	}
	return store.Closed
}

// close ends the log, with store.ErrDeleted or store.ErrClosed from then on: what was
// appended is answered and synced.
func (l *partition) close(ended error) error {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	l.mu.Lock()
	if l.ended != nil {
		l.mu.Unlock()
		return nil
	}
	l.ended = ended
	for l.committing {
		l.quiet.Wait()
	}
	segments := l.segments
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	wakers, unsynced := l.wakers, l.unsynced
	l.wakers = nil
	l.mu.Unlock()
	err := unsynced
	if err == nil && l.room > l.written.pos {
		err = l.active().truncate(l.written.pos)
	}
	if l.isHot && err == nil {
		err = l.syncAndMark()
	}
	l.cool()
	for _, s := range segments {
		s.forget()
	}
	for w := range wakers {
		w.f(reasonOf(ended))
	}
	return err
}

// removeAll deletes a directory and all that is in it; behind a link only what is
// ours. What file systems put into a directory may stay.
func removeAll(fs vfs.FS, dir string) error {
	err := removeIn(fs, dir)
	if err != nil {
		return ignoreNotExist(err)
	}
	return fs.Remove(dir)
}

// removeIn is removeAll of what is in a directory, which stays.
func removeIn(fs vfs.FS, dir string) error {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name)
		switch {
		case e.Link && e.Dir:
			err = removeLinked(fs, name)
		case e.Dir:
			err = removeAll(fs, name)
		default:
			err = ignoreNotExist(fs.Remove(name))
		}
		if err != nil && !isForeign(e.Name) {
			return err
		}
	}
	return nil
}
