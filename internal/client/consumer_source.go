package client

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"mbus/internal/units"
)

// A source reads from the connection. Interrupt and wake end a read that waits.
type source struct {
	conn        *conn
	timeout     time.Duration // of one read; 0 is without end
	until       time.Time     // for all reads, whatever interrupts them, if not zero
	interrupted atomic.Bool
	woken       atomic.Bool
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// Read reads what has come. It returns no bytes and no error when it was woken, and
// os.ErrDeadlineExceeded when it was interrupted, or after until.
func (s *source) Read(p []byte) (int, error) {
	if !s.until.IsZero() {
		return s.conn.Read(p) // with the deadline of finish
	}
	deadline := s.deadline()
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	if s.interrupted.Load() { // after the deadline, which would else hide it
		return 0, os.ErrDeadlineExceeded
	}
	if s.woken.Swap(false) {
		return 0, nil
	}
	n, err := s.conn.Read(p)
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded), s.interrupted.Load():
		return n, err
	case s.woken.Swap(false), deadline.IsZero(), time.Now().Before(deadline): // the deadline was that of a wake
		return n, nil
	}
	return n, silence(s.timeout)
}

// silence is the error after this time without a byte from the broker.
func silence(d time.Duration) error {
	return fmt.Errorf("the broker has said nothing for %s", units.FormatDuration(d))
}

func (s *source) deadline() time.Time {
	if s.timeout == 0 {
		return time.Time{}
	}
	return time.Now().Add(s.timeout)
}

// interrupt has Read fail, now and from now on. Any goroutine may call it. Setting a
// deadline fails only where the connection has ended.
func (s *source) interrupt() {
	s.interrupted.Store(true)
	_ = s.conn.SetReadDeadline(longAgo)
}

// wake has a Read that waits, or the next one, return. Any goroutine may call it.
func (s *source) wake() {
	s.woken.Store(true)
	_ = s.conn.SetReadDeadline(longAgo)
}

// finish has all further reads go on until then. An interrupt that comes at the same
// time may end one of them: it is called before each.
func (s *source) finish(until time.Time) error {
	s.until = until
	return s.conn.SetReadDeadline(until)
}
