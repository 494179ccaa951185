package commitlog

import (
	"slices"
	"sync"
	"time"
)

const (
	// marksEvery is how long a sync mark that has moved waits for its own sync.
	marksEvery = time.Second
	// marksBytes is how many bytes a mark may move before it no longer waits that long. With
	// 4 MiB one connection in bulk took a tenth longer for 200 MB, with 64 MiB no longer
	// than without.
	marksBytes = 64 << 20
	// marksBudget bounds one round of syncs of marks, in time. After it, nine times as
	// long is left to the others.
	marksBudget = 100 * time.Millisecond
	// marksAtEnd bounds the round that Close waits for.
	marksAtEnd = time.Second
)

// marks makes the sync marks of a store's logs durable, a while after they have been
// written: after a power cut the mark on the disk is how it is known what had been
// synced. One round of syncs runs at a time, and none while no mark has moved.
type marks struct {
	every time.Duration // marksEvery but for tests

	mu     sync.Mutex   // guards what follows
	queue  []*partition // those whose mark has moved since its last sync; the oldest first
	timer  *time.Timer  // for the next round; nil if the queue was empty
	rest   time.Time    // no round begins before
	closed bool

	round  sync.Mutex // held over a round of syncs
	failed bool       // a mark could not be synced; guarded by round
}

// moved is for a log whose mark has been written, n bytes further on than before. It
// costs no lock but for the first time after each sync of the mark.
func (m *marks) moved(l *partition, n int64) {
	behind := l.markBehind.Add(n)
	if !l.markQueued.Load() {
		m.add(l)
	}
	if behind >= marksBytes && behind-n < marksBytes {
		m.hurry(l)
	}
}

func (m *marks) add(l *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.markQueued.Swap(true) {
		return
	}
	m.queue = append(m.queue, l)
	if m.timer == nil && !m.closed {
		m.timer = time.AfterFunc(m.every, m.tick)
	}
}

// hurry puts a log first and begins a round.
func (m *marks) hurry(l *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.queue, l); i > 0 {
		copy(m.queue[1:], m.queue[:i])
		m.queue[0] = l
	}
	if m.timer != nil && !m.closed && m.timer.Stop() { // else a round is about to begin
		m.timer.Reset(time.Until(m.rest))
	}
}

// tick is a round, and sets the time of the next.
func (m *marks) tick() {
	defer fatal()
	took := m.sync(marksBudget)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rest = time.Now().Add(9 * took)
	switch {
	case m.closed:
	case len(m.queue) == 0:
		m.timer = nil
	default:
		m.timer.Reset(max(m.every, 9*took))
	}
}

// sync syncs the marks that wait, the oldest first, until the time is used up.
func (m *marks) sync(budget time.Duration) (took time.Duration) {
	m.round.Lock()
	defer m.round.Unlock()
	for began := time.Now(); took < budget; took = time.Since(began) {
		l := m.next()
		if l == nil {
			break
		}
		if l.syncMark() != nil {
			m.failed = true
		}
	}
	return took
}

func (m *marks) next() *partition {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil
	}
	l := m.queue[0]
	m.queue = m.queue[1:]
	l.markBehind.Store(0)
	l.markQueued.Store(false) // what moves from here on comes again
	return l
}

// close is for the end, when no mark moves any more. It says whether all marks are
// durable.
func (m *marks) close() bool {
	m.mu.Lock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
	m.mu.Unlock()
	m.sync(marksAtEnd)
	m.round.Lock()
	defer m.round.Unlock()
	return m.next() == nil && !m.failed
}

// syncMark makes the sync mark durable. No lock of the log is held meanwhile. Where that
// fails recovery may find an older mark, and reads more. Only rounds call it.
func (l *partition) syncMark() error {
	l.mu.Lock()
	s := l.active()
	l.mu.Unlock()
	err := s.index.sync()
	if isNotExist(err) {
		return nil // the topic has been deleted
	}
	if err != nil && !l.markUnsafe {
		l.warn("cannot sync the sync mark: after a power cut recovery goes by an older one", "file", s.index.file.name, "reason", err)
	}
	l.markUnsafe = err != nil
	return err
}
