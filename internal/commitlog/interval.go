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

// lateSync is the sync of the timer. The next one comes for writes that it leaves.
func (c *committer) lateSync() {
	c.syncSoon(func() func(error) {
		return func(err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.timer = nil
			after := c.log.syncEvery/2 - time.Since(c.oldest)
			if err != nil { // the sync could not begin
				after = c.log.syncEvery
			}
			c.setTimer(after)
		}
	})
}

// setTimer sets the timer of the next late sync if there are writes for it. A leader does that at its end.
// The caller holds mu.
func (c *committer) setTimer(after time.Duration) {
	if c.timer == nil && !c.committing && c.ended == nil && c.failure.sync == nil && c.written.pos != c.durable.pos {
		c.timer = time.AfterFunc(max(0, after), c.lateSync)
	}
}

// visibleIsDurable says whether all visible records are durable. Segments before the active one are.
func (c *committer) visibleIsDurable() bool {
	v := &c.log.visible
	v.mu.Lock()
	defer v.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return v.high.pos <= c.durable.pos
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
			go c.syncSoon(c.takeAsking)
		}
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	done(err)
}

// takeAsking takes all callers of request that wait when a sync begins.
func (c *committer) takeAsking() (done func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	asking := c.asking
	c.asking = nil
	return func(err error) {
		for _, done := range asking {
			done(err)
		}
	}
}

// syncSoon makes all writes durable that are there when it calls begin, in a round of the journal if
// other logs have something to sync. It calls the function that begin returns with the result.
func (c *committer) syncSoon(begin func() func(error)) {
	j := c.log.journal
	j.enter()
	w := joiner{c: c, begin: func() func(error) {
		done := begin()
		return func(err error) {
			j.leave()
			done(err)
		}
	}}
	if j.isWanted() {
		j.join(w).Go()
		return
	}
	w.sync()
}

// syncInUse is syncAll for a log that may have ended. Such a log is synced, and its files may belong to
// another log by now. It calls begin when the sync begins.
func (c *committer) syncInUse(begin func()) error {
	c.beginSync()
	defer c.endSync()
	begin()
	c.mu.Lock()
	ended, synced := c.ended, c.written.pos == c.synced
	c.mu.Unlock()
	if ended != nil || synced {
		return ended
	}
	return c.syncNow()
}
