package coordinator

import "time"

// A Clock is the source of time.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in a goroutine of its own, d from now.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is one call of Clock.AfterFunc.
type Timer interface {
	// Stop keeps the timer from firing, if it has not yet.
	Stop() bool
}

type systemClock struct{}

func (systemClock) Now() time.Time                            { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// An alarm is a timer whose function runs under the coordinator's lock, and never after
// stop.
type alarm struct {
	timer   Timer
	stopped bool
}

// after calls f after d. The caller holds the lock.
func (c *Coordinator) after(d time.Duration, f func()) *alarm {
	a := new(alarm)
	a.timer = c.clock.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.unlock()
		if !a.stopped {
			f()
		}
	})
	return a
}

// stop may be called on nil.
func (a *alarm) stop() {
	if a != nil {
		a.stopped = true
		a.timer.Stop()
	}
}
