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
	since   time.Time // of the last acknowledgement, or of the first message after all was settled
	idle    bool      // nothing is unacknowledged
	expired bool      // and the oldest message has failed
	timer   *time.Timer
}

// start begins to watch.
func (d *ackDeadline) start(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit, d.idle = s.options.AckTimeout, true
	d.timer = time.AfterFunc(d.limit, func() { d.check(s) })
}

// sent says that messages have been sent.
func (d *ackDeadline) sent() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle && d.timer != nil {
		d.idle, d.since = false, time.Now()
		d.timer.Reset(d.limit)
	}
}

// extend gives the client its time again. isSettled says that all has been acknowledged.
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

// overdue is the number of the oldest message where the time is over; 0 if it is not: then
// it sees to the next check. The caller holds mu.
func (d *ackDeadline) overdue(s *Session) uint64 {
	if d.timer == nil || d.idle { // sent has it checked again
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

// check ends the session when the time is over: its oldest message
// has failed. While it does that stop waits, so that no message fails, or goes to the
// dead letters, behind the back of a session that has ended otherwise.
func (d *ackDeadline) check(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	oldest := d.overdue(s)
	if oldest != 0 {
		d.expire(s, oldest)
	}
}

// expire says that the oldest message has failed, unless it was settled just now:
// then the client has its time again. The caller holds mu.
func (d *ackDeadline) expire(s *Session, oldest uint64) {
	failed, ok, err := s.sub.member.Fail(oldest, s.options.Retry, time.Now())
	if err != nil || !ok {
		d.since = time.Now()
		d.timer.Reset(d.limit)
		return
	}
	d.expired = true
	s.bury(failed, "ack-timeout")
	s.pump.fail(errorf(ErrAckTimeout, "no acknowledgement within %s", units.FormatDuration(d.limit)))
}
