package commitlog

import (
	"time"
)

// isEarly says whether what has been written may be answered before the sync, and sees to
// it that the sync follows. It comes after half the interval, so that it has the other half
// to take. Where it takes longer appends wait for it, and no more is unsynced than was
// written in an interval.
func (l *partition) isEarly() bool {
	if l.syncEvery == 0 || l.hot.Load() > l.maxHot { // its files are to be closed
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	age := time.Since(l.oldest)
	if !l.oldest.IsZero() && age >= l.syncEvery {
		return false
	}
	if l.timer == nil && l.ended == nil {
		l.timer = time.AfterFunc(max(0, l.syncEvery/2-age), l.lateSync)
	}
	return true
}

// lateSync is the sync that was to come later. A log that is closed has synced: its
// files may be those of another one by now.
func (l *partition) lateSync() {
	l.beginSync()
	defer l.endSync()
	l.mu.Lock()
	l.timer = nil
	over := l.ended != nil || l.written.pos == l.durable
	l.mu.Unlock()
	if over || l.syncNow() == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unsynced == nil && l.timer == nil && l.ended == nil { // it could not be begun
		l.timer = time.AfterFunc(l.syncEvery, l.lateSync)
	}
}

// syncVisible makes durable what an interval has let be answered before its sync. What
// takes the place of older things must be durable before those are given up.
func (l *partition) syncVisible() error {
	l.mu.Lock()
	clean := l.high.pos <= l.durable
	l.mu.Unlock()
	if clean {
		return nil
	}
	return l.syncAndMark()
}

// Sync implements store.Partition. Calls that come while a sync runs share the next one.
func (l *partition) Sync(done func(error)) {
	l.mu.Lock()
	err := l.unsynced
	switch {
	case l.high.pos <= l.durable:
		err = nil
	case err == nil && l.ended != nil:
		err = l.ended
	case err == nil:
		l.asking = append(l.asking, done)
		if len(l.asking) == 1 {
			go l.syncForAll()
		}
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	done(err)
}

// syncForAll is the sync for all callers of Sync that wait, those included that come before
// its turn.
func (l *partition) syncForAll() {
	l.beginSync()
	l.mu.Lock()
	asking, err := l.asking, l.ended
	l.asking = nil
	l.mu.Unlock()
	if err == nil {
		err = l.syncNow()
	}
	l.endSync()
	for _, done := range asking {
		done(err)
	}
}
