package commitlog

import (
	"time"
)

// isEarly says whether appends may be acknowledged before their sync, and starts the timer of that
// sync. It begins after half the interval, and has the other half to end. If it takes longer, appends
// wait for it, so that no write stays unsynced for longer than an interval.
func (c *committer) isEarly() bool {
	interval := c.log.syncEvery
	if interval == 0 || c.log.files.tooMany() { // its files have to be closed
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

// lateSync is the sync of the timer. A log that has ended is synced, and its files may belong to
// another log by now.
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
	if c.failure.sync == nil && c.timer == nil && c.ended == nil { // the sync could not begin
		c.timer = time.AfterFunc(c.log.syncEvery, c.lateSync)
	}
}

// visibleIsDurable says whether all visible records are durable. Segments before the active one are.
func (c *committer) visibleIsDurable() bool {
	v := &c.log.visible
	v.mu.Lock()
	defer v.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return v.high.pos <= c.durable
}

// syncVisible makes all visible records durable: records that replace older ones must be durable
// before the older ones are removed.
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

// syncForAll is the sync for all callers of request that wait when it begins.
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
