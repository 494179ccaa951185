package delivery

import (
	"sync"
	"time"

	"mbus/internal/units"
)

// An ackDeadline ends a session whose client acknowledges nothing within some time.
// The zero value never does.
type ackDeadline struct {
	mu      sync.Mutex // guards what follows
	limit   time.Duration
	since   time.Time // of the last acknowledgement, or of the first message after all were acknowledged
	idle    bool      // nothing is unacknowledged
	expired bool      // and the oldest message has failed
	timer   *time.Timer
}

// start starts the timer.
func (d *ackDeadline) start(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit, d.idle = s.options.AckTimeout, true
	d.timer = time.AfterFunc(d.limit, func() { d.check(s) })
}

// sent notes that messages have been sent.
func (d *ackDeadline) sent() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle && d.timer != nil {
		d.idle, d.since = false, time.Now()
		d.timer.Reset(d.limit)
	}
}

// extend moves the deadline. isSettled reports whether all messages have been acknowledged.
func (d *ackDeadline) extend(isSettled func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.since = time.Now()
		d.idle = d.idle || isSettled()
	}
}

func (d *ackDeadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *ackDeadline) hasExpired() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}

// overdue is the number of the oldest message if the deadline has passed; otherwise 0, and the
// timer is set. The caller holds mu.
func (d *ackDeadline) overdue(s *Session) uint64 {
	if d.timer == nil || d.idle { // sent sets the timer
		return 0
	}
	oldest := s.sub.member.Oldest()
	if d.idle = oldest == 0; d.idle {
		return 0
	}
	if left := d.limit - time.Since(d.since); left > 0 {
		d.timer.Reset(left)
		return 0
	}
	return oldest
}

// check ends the session if the deadline has passed: its oldest message has failed. stop waits
// for it, so that no message fails, or goes to the dead letters, after a session has ended
// otherwise.
func (d *ackDeadline) check(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	oldest := d.overdue(s)
	if oldest != 0 {
		d.expire(s, oldest)
	}
}

// expire says that the oldest message has failed. If it was acknowledged just now the deadline
// is extended. The caller holds mu.
func (d *ackDeadline) expire(s *Session, oldest uint64) {
	failed, ok, err := s.sub.member.Fail(oldest, s.options.retry(), time.Now())
	if err != nil || !ok {
		d.since = time.Now()
		d.timer.Reset(d.limit)
		return
	}
	d.expired = true
	s.bury(failed, "ack-timeout")
	s.pump.fail(errorf(ErrAckTimeout, "no acknowledgement within %s", units.FormatDuration(d.limit)))
}
