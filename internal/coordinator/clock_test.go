package coordinator_test

import (
	"slices"
	"time"

	"mbus/internal/coordinator"
)

// A fakeClock stands still until advance, which runs the functions that are due in its own
// goroutine, in order.
type fakeClock struct {
	now    time.Time
	timers []*fakeTimer // in the order in which they were set
}

type fakeTimer struct {
	clock *fakeClock
	at    time.Time
	f     func()
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.Unix(1_000_000, 0)} }

func (c *fakeClock) Now() time.Time { return c.now }

func (c *fakeClock) AfterFunc(d time.Duration, f func()) coordinator.Timer {
	t := &fakeTimer{c, c.now.Add(d), f}
	c.timers = append(c.timers, t)
	return t
}

func (t *fakeTimer) Stop() bool {
	before := len(t.clock.timers)
	t.clock.timers = slices.DeleteFunc(t.clock.timers, func(o *fakeTimer) bool { return o == t })
	return len(t.clock.timers) < before
}

func (c *fakeClock) advance(d time.Duration) {
	end := c.now.Add(d)
	for {
		var next *fakeTimer
		for _, t := range c.timers {
			if !t.at.After(end) && (next == nil || t.at.Before(next.at)) {
				next = t
			}
		}
		if next == nil {
			c.now = end
			return
		}
		next.Stop()
		if next.at.After(c.now) {
			c.now = next.at
		}
		next.f()
	}
}
