package commitlog

import (
	"fmt"
	"time"

	"mbus/internal/store"
)

// A failure is why a log accepts no appends after a failed write or sync. The zero value is none.
type failure struct {
	refuse error         // why appends are refused
	sync   error         // a failed sync: nothing more may be acknowledged
	next   time.Time     // of the next attempt to heal the log
	pause  time.Duration // between the last attempt and the next
}

// usable returns the error by which appends are refused, or nil.
func (c *committer) usable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	return c.failure.refuse
}

// failedSync returns the error of a sync that has failed, or nil.
func (c *committer) failedSync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure.sync
}

// writeFailed refuses appends after a failed write.
func (c *committer) writeFailed(err error) error {
	err = fmt.Errorf("%w: %w", store.ErrFailed, err)
	c.fails(err, nil)
	c.log.logError("write failed: the log accepts no more until it could be copied to a new file, which an append tries again and again", "reason", err)
	return err
}

// syncFailed refuses appends after a failed sync.
func (c *committer) syncFailed(err error) error {
	err = fmt.Errorf("%w: %w", store.ErrFailed, err)
	c.fails(err, err)
	c.log.logError("sync failed: the log accepts no more until it could be copied to a new file, which an append tries again and again", "reason", err)
	return err
}

func (c *committer) fails(refuse, sync error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.failure
	f.refuse = refuse
	if sync != nil {
		f.sync = sync
	}
	f.next, f.pause = time.Now().Add(c.log.healAfter), c.log.healAfter
}

// mayHeal says whether an attempt to heal the log is due, and sets the time of the next one.
func (c *committer) mayHeal() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.failure
	now := time.Now()
	if c.ended != nil || f.refuse == nil || f.next.IsZero() || now.Before(f.next) {
		return false
	}
	f.pause = min(2*f.pause, healMost)
	f.next = now.Add(f.pause)
	return true
}

// healed accepts appends again.
func (c *committer) healed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = failure{}
}
