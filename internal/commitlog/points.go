package commitlog

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pointsEvery is how long a recovery point that has moved waits for its own sync.
	pointsEvery = time.Second
	// pointsBytes is the distance in bytes behind which a recovery point is synced at once. With
	// 4 MiB one connection took a tenth longer for 200 MB, with 64 MiB no longer than without.
	pointsBytes = 64 << 20
	// pointsBudget bounds the time of one round of syncs of recovery points. A pause of nine times as
	// long follows, for the syncs of appends.
	pointsBudget = 100 * time.Millisecond
	// pointsAtEnd bounds the round that Close waits for.
	pointsAtEnd = time.Second
)

// recoveryPoints syncs the recovery points of a store's logs some time after they were written.
// After a power cut the recovery point on the disk says how far the log was synced. One round of
// syncs runs at a time, and none while no recovery point has moved.
type recoveryPoints struct {
	every time.Duration // pointsEvery but for tests

	mu        sync.Mutex   // guards what follows
	queue     []*partition // those whose recovery point has moved since its last sync; the oldest first
	timer     *time.Timer  // for the next round; nil if the queue was empty
	notBefore time.Time    // when the next round may begin
	closed    bool

	round  sync.Mutex // held over a round of syncs
	failed bool       // a recovery point could not be synced; guarded by round
}

// A pointState is what recoveryPoints notes of a log.
type pointState struct {
	queued atomic.Bool  // the log is among those that wait
	behind atomic.Int64 // bytes by which its recovery point has moved since the last sync of that began
	failed bool         // it is logged already that the recovery point can't be synced; of the rounds
}

// moved notes that the recovery point of a log was written n bytes behind the one before. It takes a
// lock only for the first time after each sync of the recovery point.
func (m *recoveryPoints) moved(l *partition, n int64) {
	behind := l.point.behind.Add(n)
	if !l.point.queued.Load() {
		m.add(l)
	}
	if behind >= pointsBytes && behind-n < pointsBytes {
		m.hurry(l)
	}
}

func (m *recoveryPoints) add(l *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.point.queued.Swap(true) {
		return
	}
	m.queue = append(m.queue, l)
	if m.timer == nil && !m.closed {
		m.timer = time.AfterFunc(m.every, m.tick)
	}
}

// hurry puts a log first and starts a round.
func (m *recoveryPoints) hurry(l *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.queue, l); i > 0 {
		copy(m.queue[1:], m.queue[:i])
		m.queue[0] = l
	}
	if m.timer != nil && !m.closed && m.timer.Stop() { // else a round is about to begin
		m.timer.Reset(time.Until(m.notBefore))
	}
}

// tick is a round, and sets the time of the next.
func (m *recoveryPoints) tick() {
	defer fatal()
	took := m.sync(pointsBudget, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notBefore = time.Now().Add(9 * took)
	switch {
	case m.closed:
	case len(m.queue) == 0:
		m.timer = nil
	default:
		m.timer.Reset(max(m.every, 9*took))
	}
}

// sync syncs the recovery points that wait, the oldest first and so many at a time, until the time is
// used up.
func (m *recoveryPoints) sync(budget time.Duration, atATime int) (took time.Duration) {
	m.round.Lock()
	defer m.round.Unlock()
	began := time.Now()
	var failed atomic.Bool
	_ = parallel(atATime, atATime, func(int) error {
		for time.Since(began) < budget {
			l := m.next()
			if l == nil {
				break
			}
			if l.syncRecoveryPoint() != nil {
				failed.Store(true)
			}
		}
		return nil
	})
	m.failed = m.failed || failed.Load()
	return time.Since(began)
}

func (m *recoveryPoints) next() *partition {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil
	}
	l := m.queue[0]
	m.queue = m.queue[1:]
	l.point.behind.Store(0)
	l.point.queued.Store(false) // what moves from here on comes again
	return l
}

// close ends the rounds when no recovery point moves any more, and returns whether all are durable.
func (m *recoveryPoints) close() bool {
	m.mu.Lock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
	m.mu.Unlock()
	m.sync(pointsAtEnd, maxSyncs) // nothing else needs the disk
	m.round.Lock()
	defer m.round.Unlock()
	return m.next() == nil && !m.failed
}

// syncRecoveryPoint makes the recovery point durable, without a lock of the log. If that fails,
// recovery may find an older one and read more. Only rounds call it.
func (l *partition) syncRecoveryPoint() error {
	s, _ := l.commits.end()
	err := s.index.sync()
	if isNotExist(err) {
		return nil // the topic has been deleted
	}
	if err != nil && !l.point.failed {
		l.warn("cannot sync the recovery point: after a power cut recovery uses an older one; look at the disk", "file", s.index.file.name, "reason", err)
	}
	l.point.failed = err != nil
	return err
}
