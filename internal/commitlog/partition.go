package commitlog

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A partition is one log on disk. Appends are written one after the other under
// appendMu. A goroutine that exists only while there is something to sync
// makes them durable, as many at a time as have been written meanwhile: that is
// the group commit.
//
// Locks are taken in this order: appendMu, syncMu, mu.
type partition struct {
	fs        FS
	dir       string
	topic     string
	number    int
	log       *slog.Logger
	segBytes  int64
	interval  int64 // bytes between index entries, at the least
	syncEvery time.Duration
	hot       *atomic.Int64 // partitions of the store with open files
	maxHot    int64

	appendMu sync.Mutex // orders appends; held over the write
	isHot    bool       // the active segment's files are open

	syncMu     sync.Mutex // held over each sync of the active segment and its mark
	markFailed bool       // said already that the mark can't be written

	mu         sync.Mutex // guards what follows
	quiet      sync.Cond  // committing has become false
	segments   []*segment // ascending; the last is active
	start      int64      // log start offset
	written    mark       // end of the active segment
	high       mark       // its part that is visible; next is the high watermark
	waiting    []waiter   // appended, not answered yet; in order
	spare      []waiter   // the slice of the last commit, to use again
	committing bool       // the commit goroutine runs
	timer      *time.Timer
	refuse     error // why appends are refused, for ever
	unsynced   error // a failed sync: nothing more may be acknowledged
	closed     bool
	wakers     map[*waker]struct{}
}

// A waiter is an append that waits for its sync.
type waiter struct {
	base int64
	done func(int64, error)
}

type waker struct {
	offset int64
	f      func()
}

func (l *partition) warn(msg string, args ...any) {
	l.log.Warn(msg, append([]any{"topic", l.topic, "partition", l.number}, args...)...)
}

func (l *partition) active() *segment { return l.segments[len(l.segments)-1] }

// Append implements store.Partition.
func (l *partition) Append(batches []byte, done func(int64, error)) error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	s, at, err := l.reserve(int64(len(batches)))
	if err != nil {
		return err
	}
	end, err := stamp(batches, at)
	if err != nil {
		return err
	}
	if err := l.write(s, batches, at.pos); err != nil {
		return err
	}
	note(s, batches, at, l.interval)
	l.submit(end, waiter{at.next, done})
	return nil
}

// reserve finds the place for n bytes more, in a new segment if need be, with
// the segment's files open. The caller holds appendMu.
func (l *partition) reserve(n int64) (*segment, mark, error) {
	if err := l.usable(); err != nil {
		return nil, mark{}, err
	}
	l.mu.Lock()
	s, at := l.active(), l.written
	l.mu.Unlock()
	if at.pos > 0 && at.pos+n > l.segBytes {
		if err := l.roll(); err != nil {
			return nil, mark{}, err
		}
		l.mu.Lock()
		s, at = l.active(), l.written
		l.mu.Unlock()
	}
	return s, at, l.heat(s)
}

func (l *partition) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return store.ErrClosed
	}
	return l.refuse
}

// heat opens the active segment's files until cool. The caller holds appendMu.
func (l *partition) heat(s *segment) error {
	if l.isHot {
		return nil
	}
	if err := s.acquire(); err != nil {
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
		s.release()
	}
}

// stamp gives the batches their offsets, from m on, and returns their end.
func stamp(batches []byte, m mark) (mark, error) {
	for rest := batches; len(rest) > 0; {
		b, r, err := batch.Next(rest)
		if err != nil {
			return m, err
		}
		b.Stamp(m.next, 0)
		m = mark{m.pos + int64(len(b)), b.NextOffset(), max(m.maxTime, b.MaxTimestamp())}
		rest = r
	}
	return m, nil
}

// note puts the batches, which begin at m, into the index.
func note(s *segment, batches []byte, m mark, interval int64) {
	for len(batches) > 0 {
		b, rest, _ := batch.Next(batches) // stamp has seen them
		s.index.note(m, interval)
		m = mark{m.pos + int64(len(b)), b.NextOffset(), max(m.maxTime, b.MaxTimestamp())}
		batches = rest
	}
}

// write puts p at pos. A disk that is full is no reason to give up the log:
// what was written of p lies behind the log's end, where the next append, or
// recovery, disposes of it.
func (l *partition) write(s *segment, p []byte, pos int64) error {
	_, err := s.file.file.WriteAt(p, pos)
	switch {
	case err == nil:
		return nil
	case isFull(err):
		_ = s.file.file.Truncate(pos)
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	err = fmt.Errorf("%w: %w", store.ErrFailed, err)
	l.mu.Lock()
	l.refuse = err
	l.mu.Unlock()
	l.log.Error("write failed: the log accepts no more", "topic", l.topic, "partition", l.number, "reason", err)
	return err
}

// submit hands a written append to the commit goroutine.
func (l *partition) submit(end mark, w waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = end
	l.waiting = append(l.waiting, w)
	if !l.committing {
		l.committing = true
		go l.commitAll()
	}
}

// commitAll runs while there are appends to answer.
func (l *partition) commitAll() {
	for l.commit() {
	}
	if l.hot.Load() > l.maxHot && l.appendMu.TryLock() {
		l.mu.Lock()
		idle := !l.committing && len(l.waiting) == 0 && l.timer == nil && !l.closed
		l.mu.Unlock()
		if idle {
			l.cool()
		}
		l.appendMu.Unlock()
	}
}

// gather lets others append before a sync as long as there are any at hand, so
// that it serves many: it gives way to every goroutine that can run, and does
// not wait for any.
func (l *partition) gather() {
	for n, last := 0, -1; n != last; {
		runtime.Gosched()
		l.mu.Lock()
		n, last = len(l.waiting), n
		l.mu.Unlock()
	}
}

// commit makes what has been written durable and visible, and answers it. It
// reports whether it is to be called again.
func (l *partition) commit() bool {
	l.gather()
	l.mu.Lock()
	if len(l.waiting) == 0 {
		l.committing = false
		l.quiet.Broadcast()
		l.mu.Unlock()
		return false
	}
	waiting := l.waiting
	l.waiting, l.spare = l.spare[:0], nil
	end := l.written
	l.mu.Unlock()

	var err error
	if l.syncEvery == 0 {
		err = l.sync()
	} else {
		l.syncLater()
	}
	wake, err := l.publish(end, err)
	for i, w := range waiting {
		w.done(w.base, err)
		waiting[i] = waiter{}
	}
	for _, f := range wake {
		f()
	}
	l.mu.Lock()
	l.spare = waiting
	l.mu.Unlock()
	return true
}

// publish raises the high watermark to end unless a sync has failed, and
// returns whom that wakes.
func (l *partition) publish(end mark, err error) ([]func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		err = l.unsynced
	}
	if err != nil {
		return nil, err
	}
	l.high = end
	var wake []func()
	for w := range l.wakers {
		if w.offset < end.next {
			wake = append(wake, w.f)
			delete(l.wakers, w)
		}
	}
	return wake, nil
}

// sync makes all that was written before the call durable, and then says so in
// the mark. A sync that failed is never tried again: the system may have
// dropped what it could not write and would claim success.
func (l *partition) sync() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	s, end, err := l.active(), l.written, l.unsynced
	l.mu.Unlock()
	if err != nil {
		return err
	}
	f, err := s.file.acquire()
	if err == nil {
		err = f.Sync()
		s.file.release()
	}
	if err != nil {
		return l.fail(err)
	}
	l.writeMark(s, end)
	return nil
}

// fail gives the log up after a failed sync.
func (l *partition) fail(err error) error {
	err = fmt.Errorf("%w: %w", store.ErrFailed, err)
	l.mu.Lock()
	l.unsynced, l.refuse = err, err
	l.mu.Unlock()
	l.log.Error("sync failed: the log accepts no more", "topic", l.topic, "partition", l.number, "reason", err)
	return err
}

// writeMark may fail: recovery then reads more than it would have to.
func (l *partition) writeMark(s *segment, end mark) {
	err := s.index.flush(end)
	if err != nil && !l.markFailed {
		l.warn("cannot write the sync mark", "file", s.index.file.name, "reason", err)
	}
	l.markFailed = err != nil
}

// syncLater sees to it that a sync follows within syncEvery.
func (l *partition) syncLater() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil && !l.closed {
		l.timer = time.AfterFunc(l.syncEvery, func() {
			l.mu.Lock()
			l.timer = nil
			closed := l.closed
			l.mu.Unlock()
			if !closed {
				_ = l.sync() // has said so, and refuses appends from now on
			}
		})
	}
}

// roll begins a new segment once the active one is synced and complete. The
// caller holds appendMu, so that nothing is appended meanwhile.
func (l *partition) roll() error {
	l.mu.Lock()
	for l.committing {
		l.quiet.Wait()
	}
	old, end, err := l.active(), l.written, l.refuse
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if l.syncEvery > 0 {
		if err := l.sync(); err != nil {
			return err
		}
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err := l.complete(old, end); err != nil {
		return noRoom(err)
	}
	s := newSegment(l, end.next)
	if err := s.create(); err != nil {
		_ = s.remove() // recovery does it, too
		return noRoom(err)
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		s.release()
		return l.fail(err)
	}
	l.cool()
	l.isHot = true
	l.hot.Add(1)
	old.seal(end)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, s)
	l.written = mark{next: end.next, maxTime: minTime}
	l.high = l.written
	return nil
}

// complete makes the index of a segment that ends at m durable.
func (l *partition) complete(s *segment, m mark) error {
	if err := s.writeIndex(m); err != nil {
		return err
	}
	f, err := s.index.file.acquire()
	if err != nil {
		return err
	}
	defer s.index.file.release()
	return f.Sync()
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
func (l *partition) Wake(offset int64, f func()) (cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.high.next > offset || l.closed {
		go f()
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

// Read implements store.Partition.
func (l *partition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	s, v, err := l.locate(offset)
	if err != nil {
		return err
	}
	goesOn := c.Next == offset && !c.Lost
	if s == nil {
		if c.Clear(); !goesOn {
			c.Release()
		}
		c.First, c.Next = offset, offset
		return nil
	}
	p, same := c.Source.(*pin)
	if same && p.s == s {
		s.file.release() // the chunk has it open already
	} else {
		goesOn = false
		c.Release()
		p = &pin{s: s}
		c.Source = p
	}
	c.Clear()
	c.Next, c.Lost = -1, false // should this fail, the next Read looks anew
	if err := s.load(v); err != nil {
		return err
	}
	last := mark{pos: v.end, next: v.next}
	if !v.active {
		last = s.sealed
		v.end = last.pos
	}
	p.v = v
	m := mark{pos: c.Pos, next: offset}
	if !goesOn || m.pos >= v.end {
		if m, err = s.find(v, offset); err != nil {
			return err
		}
	}
	end, err := s.cut(v, last, m, int64(maxBytes))
	if err != nil {
		return err
	}
	c.First, c.Next, c.Pos, c.N = m.next, end.next, m.pos, int(end.pos-m.pos)
	return nil
}

// locate finds the segment that offset belongs to and opens its file; nil at
// the high watermark.
func (l *partition) locate(offset int64) (*segment, view, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, view{}, store.ErrClosed
	case offset < l.start || offset > l.high.next:
		return nil, view{}, store.ErrOutOfRange
	case offset == l.high.next:
		return nil, view{}, nil
	}
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base > offset }) - 1
	if i < 0 {
		return nil, view{}, &store.GapError{
			Topic: l.topic, Partition: l.number, First: offset, Next: l.segments[0].base,
		}
	}
	s := l.segments[i]
	_, err := s.file.acquire()
	return s, l.view(i), err
}

// view is how far the i-th segment can be read now. The caller holds mu.
func (l *partition) view(i int) view {
	if i == len(l.segments)-1 {
		return view{active: true, end: l.high.pos, next: l.high.next}
	}
	return view{next: l.segments[i+1].base}
}

// close ends the log: what was appended is answered and synced.
func (l *partition) close() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	for l.committing {
		l.quiet.Wait()
	}
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	wakers, unsynced := l.wakers, l.unsynced
	l.wakers = nil
	l.mu.Unlock()
	err := unsynced
	if l.isHot && err == nil {
		err = l.sync()
	}
	l.cool()
	for w := range wakers {
		w.f()
	}
	return err
}

// removeAll deletes a directory and all that is in it.
func removeAll(fs FS, dir string) error {
	entries, err := fs.ReadDir(dir)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name)
		if e.Dir {
			err = removeAll(fs, name)
		} else {
			err = fs.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return fs.Remove(dir)
}
