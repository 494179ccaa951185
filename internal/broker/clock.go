package broker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// software is a time before which no broker of this kind has run. A wall clock that shows an
// earlier time is not set, as on a machine without a battery before it has reached a time
// server.
var software = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A clock is the broker's time. It follows the system's wall clock, and goes back with it at
// once. It ignores a forward jump until the jump has lasted: one minute for delivering and
// stamping messages (now), one retention period for removing them (ageTime). Its methods may
// be called by any goroutine.
//
// No message is removed early: the log stamps appends by the wall clock as it is (wall), so
// that at time t an append of time s has the age t-s plus all jumps between the two, and
// jumps that are younger than the retention are subtracted. A message may be kept longer, by
// the jumps of the last retention period. The time for which the broker was down counts as a
// jump (see restore), because the clock may be wrong at the start.
//
// The clock does not follow a wall clock that is not set: time goes on from the note, or from
// the beginning of 2026 without one. So the log never has times that a note can't have.
type clock struct {
	read   func() (wall, steady time.Time) // steady does not jump
	found  func()                          // notes a jump; nobody gets the new time before it returns
	jumped func(by time.Duration)          // called after each jump, ahead or back (negative)
	seen   atomic.Int64                    // the last reading of the wall clock, in milliseconds since 1970
	unset  atomic.Bool                     // the wall clock is not set

	mu     sync.Mutex // guards what follows
	wallAt time.Time  // last reading of the wall clock
	steady time.Time  // of the steady clock at the same time
	jumps  []clockJump
	back   clockJump     // by how much now went back within believeAfter
	noting chan struct{} // closed when found has returned for the latest jump; nil without one
}

// A clockJump is a forward jump of the wall clock that has not been taken back.
type clockJump struct {
	seen    time.Time // of the steady clock
	by      time.Duration
	returns bool // to a time that the clock had before it went back for a moment
}

// newClock makes a clock over the wall clock that wall reads, nil for the system's. It
// believes the first reading, if the wall clock is set.
func newClock(wall func() time.Time) *clock {
	c := &clock{found: func() {}, jumped: func(time.Duration) {}}
	c.read = func() (time.Time, time.Time) {
		steady := time.Now()
		if wall == nil {
			return steady.Round(0), steady
		}
		return wall().Round(0), steady
	}
	c.wallAt, c.steady = c.read()
	if c.wallAt.Before(software) {
		c.wallAt = software.Add(time.Second) // a log takes an earlier append time for unknown
		c.unset.Store(true)
	}
	return c
}

// now is the time for delivering and stamping messages. It ignores a forward jump until the
// jump has lasted for believeAfter.
func (c *clock) now() time.Time {
	return c.look(func() time.Time {
		return c.wallAt.Add(-c.ahead(believeAfter, false))
	})
}

// ageTime is the time for removing messages that are kept for so long.
func (c *clock) ageTime(keep time.Duration) time.Time {
	return c.look(func() time.Time { return c.wallAt.Add(-c.ahead(keep, true)) })
}

// wall is the time of the wall clock, right or wrong.
func (c *clock) wall() time.Time {
	return c.look(func() time.Time { return c.wallAt })
}

// look reads the clocks, and returns the result of f, which it calls with mu held.
func (c *clock) look(f func() time.Time) time.Time {
	c.mu.Lock()
	wall, steady := c.read()
	goesOn := c.wallAt.Add(steady.Sub(c.steady))
	c.unset.Store(wall.Before(software))
	if wall.Before(software) {
		wall = goesOn
	}
	by := wall.Sub(goesOn)
	c.wallAt, c.steady = wall, steady
	c.seen.Store(wall.UnixMilli())
	if by >= -clockStep && by <= clockStep {
		by = 0
	}
	if by != 0 {
		c.noting = make(chan struct{})
	}
	c.jump(by)
	t, noting := f(), c.noting
	c.mu.Unlock()
	switch {
	case by != 0:
		c.found()
		close(noting)
		c.jumped(by)
	case noting != nil:
		<-noting
	}
	return t
}

// jump remembers a forward jump, or undoes some by one back. The caller holds mu, as for the
// methods below.
func (c *clock) jump(by time.Duration) {
	if by < 0 {
		c.takeBack(-by)
	}
	if by <= 0 {
		return
	}
	if n := min(by, c.back.by); n > 0 && c.steady.Sub(c.back.seen) < believeAfter {
		c.jumps = append(c.jumps, clockJump{c.steady, n, true})
		c.back.by -= n
		by -= n
	}
	if by > 0 {
		c.jumps = append(c.jumps, clockJump{c.steady, by, false})
	}
	for len(c.jumps) > maxJumps {
		c.join()
	}
}

// takeBack undoes the latest forward jumps by a jump back.
func (c *clock) takeBack(by time.Duration) {
	went := by - c.ahead(believeAfter, false) // less the jumps that now ignores
	for by > 0 && len(c.jumps) > 0 {
		latest := &c.jumps[len(c.jumps)-1]
		n := min(by, latest.by)
		latest.by -= n
		by -= n
		if latest.by == 0 {
			c.jumps = c.jumps[:len(c.jumps)-1]
		}
	}
	if went += c.ahead(believeAfter, false); c.steady.Sub(c.back.seen) < believeAfter {
		went += c.back.by
	}
	c.back = clockJump{seen: c.steady, by: went}
}

// ahead is the sum of the forward jumps within the last so long. Returns to an earlier time
// count only if all is true.
func (c *clock) ahead(within time.Duration, all bool) (sum time.Duration) {
	for i := len(c.jumps) - 1; i >= 0 && c.steady.Sub(c.jumps[i].seen) < within; i-- {
		if all || !c.jumps[i].returns {
			sum += c.jumps[i].by
		}
	}
	return sum
}

// join joins two jumps that follow each other. The result is as late as the later one, so that
// neither is believed too early. The older the jumps the further apart they may be: so a few
// cover years.
func (c *clock) join() {
	best, least := 0, math.Inf(1)
	for i, j := range c.jumps[:len(c.jumps)-1] {
		apart := float64(c.jumps[i+1].seen.Sub(j.seen)) / float64(c.steady.Sub(j.seen)+1)
		if apart < least {
			best, least = i, apart
		}
	}
	c.jumps[best+1].by += c.jumps[best].by
	c.jumps[best+1].returns = c.jumps[best+1].returns && c.jumps[best].returns
	c.jumps = append(c.jumps[:best], c.jumps[best+1:]...)
}
