package commitlog

import (
	"errors"
	"time"

	"mbus/internal/store"
)

// Roll implements store.Partition.
func (l *partition) Roll(bytes int64, age time.Duration) {
	l.rollBytes.Store(bytes)
	l.rollAge.Store(int64((age + time.Second - 1) / time.Second))
}

// segmentLimit is the size in bytes that a segment has at the most, unless one Write has
// more.
func (l *partition) segmentLimit() int64 {
	if n := l.rollBytes.Load(); n > 0 {
		return min(n, l.segBytes)
	}
	return l.segBytes
}

// isOld says whether it is so long ago that something was first appended to the active
// segment that a new one is to be begun.
func (l *partition) isOld(s *segment, now uint32) bool {
	age := l.rollAge.Load()
	if age <= 0 || now == 0 {
		return false
	}
	times, _ := s.index.appendTimes(now, minTime)
	return times.first > 0 && int64(now-times.first) > age
}

// rollOld begins a new segment if something was appended to the active one so long ago that
// it is time for that, so that what is old can go before the segment is full. Without space
// for it that has to wait.
func (l *partition) rollOld() error {
	s, at := l.end()
	if at.pos == 0 || l.usable() != nil || !l.isOld(s, seconds(l.now())) {
		return nil
	}
	if err := l.rollNow(); !errors.Is(err, store.ErrFull) {
		return err
	}
	return nil
}

// rollNow begins a new segment between two appends. It leaves no files open that are not
// to be.
func (l *partition) rollNow() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if _, at := l.end(); at.pos == 0 {
		return nil
	}
	err := l.roll()
	if l.hot.Load() > l.maxHot {
		l.rest()
	}
	return err
}

// roll begins a new segment once the active one is synced and complete. The
// caller holds appendMu, so that nothing is appended meanwhile.
func (l *partition) roll() error {
	if err := l.pay(); err != nil {
		return err
	}
	l.mu.Lock()
	for l.committing {
		l.quiet.Wait()
	}
	old, end, err := l.active(), l.written, l.refuse
	l.mu.Unlock()
	if err != nil {
		return err
	}
	wasHot := l.isHot
	if err := l.heat(old); err != nil { // once for all that follows
		return err
	}
	s, err := l.next(old, end)
	if err != nil {
		if !wasHot {
			l.cool()
		}
		return err
	}
	l.cool()
	l.isHot, l.room, l.noted = true, 0, 0
	l.hot.Add(1)
	old.seal(end)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, s)
	l.written = mark{next: end.next, maxTime: minTime}
	l.high, l.durable, l.oldest, l.fresh = l.written, 0, time.Time{}, 0
	return nil
}

// next makes the segment that follows the active one, which ends at a mark and is open.
func (l *partition) next(old *segment, end mark) (*segment, error) {
	// What lies behind the end was refused, or cut off by a recovery that was killed
	// before it had synced that. It must not come back once there is a next segment.
	if err := old.truncate(end.pos); err != nil {
		return nil, noRoom(err)
	}
	l.room = end.pos
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if _, err := l.sync(); err != nil {
		return nil, err
	}
	if err := l.complete(old, end); err != nil {
		return nil, noRoom(err)
	}
	s := newSegment(l, end.next)
	if err := s.create(); err != nil {
		_ = s.remove() // recovery does it, too
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
func (l *partition) complete(s *segment, m mark) error {
	if err := s.writeIndex(m); err != nil {
		return err
	}
	return s.index.sync()
}
