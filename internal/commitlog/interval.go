package commitlog

import (
	"time"
)

// isEarly says whether what has been written may be acknowledged before the sync, and sees to
// it that the sync follows. It comes after half the interval, so that it has the other half
// to take. Where it takes longer appends wait for it, and no more is unsynced than was
// written in an interval.
func (c *committer) isEarly() bool {
	interval := c.log.syncEvery
	if interval == 0 || c.log.files.tooMany() { // its files are to be closed
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Since(c.oldest)
	if !c.oldest.IsZero() && age >= interval {
		return false
	}
	if c.timer == nil && c.ended == nil {
		c.timer = time.AfterFunc(max(0, interval/2-age), c.lateSync)
	}
	return true
}

// lateSync is the sync that was to come later. A log that is closed has synced: its
// files may be those of another one by now.
func (c *committer) lateSync() {
	c.beginSync()
	defer c.endSync()
	c.mu.Lock()
	c.timer = nil
	over := c.ended != nil || c.written.pos == c.durable
	c.mu.Unlock()
	if over || c.syncNow() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure.sync == nil && c.timer == nil && c.ended == nil { // it could not be begun
		c.timer = time.AfterFunc(c.log.syncEvery, c.lateSync)
	}
}

// visibleIsDurable says whether all that is visible is durable. What segments before the active
// one hold is.
func (c *committer) visibleIsDurable() bool {
	v := &c.log.visible
	v.mu.Lock()
	defer v.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return v.high.pos <= c.durable
}

// syncVisible makes durable what an interval has let be acknowledged before its sync. What
// takes the place of older things must be durable before those are given up.
func (c *committer) syncVisible() error {
	if c.visibleIsDurable() {
		return nil
	}
	return c.syncAll()
}

// request implements store.Partition.Sync.
func (c *committer) request(done func(error)) {
	durable := c.visibleIsDurable()
	c.mu.Lock()
	err := c.failure.sync
	switch {
	case durable:
		err = nil
	case err == nil && c.ended != nil:
		err = c.ended
	case err == nil:
		c.asking = append(c.asking, done)
		if len(c.asking) == 1 {
			go c.syncForAll()
		}
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	done(err)
}

// syncForAll is the sync for all callers of request that wait, those included that come before
// its turn.
func (c *committer) syncForAll() {
	c.beginSync()
	c.mu.Lock()
	asking, err := c.asking, c.ended
	c.asking = nil
	c.mu.Unlock()
	if err == nil {
		err = c.syncNow()
	}
	c.endSync()
	for _, done := range asking {
		done(err)
	}
}
