package broker

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// software is a time before which no broker of this kind has run. A wall clock that says
// less, as that of a machine without a battery does until it has asked others, is not set.
var software = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A clock is the broker's time. It follows the system's wall clock, and goes back
// with it at once. A jump ahead is believed only when it has lasted: for a minute
// where messages are delivered and stamped (now), and for removing as long as the
// messages in question are kept (ageTime). Its methods may be called by any
// goroutine.
//
// No message is removed before it has been kept for its time: the log stamps appends
// by the wall clock as it is (wall), so that an append at s has, at t, the age t-s
// plus all jumps between the two; and jumps that are younger than the retention are
// taken off. It may be kept longer, by the jumps of the last retention period. The time
// for which the broker was down counts as a jump (see restore), because the clock may be wrong
// at the start.
//
// A wall clock that is not set is not followed: time goes on from what was known, or else
// from the beginning of 2026. So the log never has times that no note may have.
type clock struct {
	read   func() (wall, steady time.Time) // steady does not jump
	jumped func(by time.Duration)          // told of each jump, ahead or back (negative)
	seen   atomic.Int64                    // the wall clock at the last look, in milliseconds since 1970
	unset  atomic.Bool                     // it has not been set, and is not followed

	mu     sync.Mutex // guards what follows
	wallAt time.Time  // at the last look
	steady time.Time  // of the last look
	jumps  []clockJump
	back   clockJump // by how much now has gone back of late
}

// A clockJump put the wall clock ahead by so much, and has not been taken back. The
// latest comes last.
type clockJump struct {
	seen    time.Time // steady
	by      time.Duration
	returns bool // to a time that it was before it went back for a moment
}

// newClock makes a clock over the wall clock that wall reads, which is believed at
// the start if it is set; nil for the system's.
func newClock(wall func() time.Time) *clock {
	c := &clock{jumped: func(time.Duration) {}}
	c.read = func() (time.Time, time.Time) {
		steady := time.Now()
		if wall == nil {
			return steady.Round(0), steady
		}
		return wall().Round(0), steady
	}
	c.wallAt, c.steady = c.read()
	if c.wallAt.Before(software) {
		c.wallAt = software.Add(time.Second) // that of appends is unknown where it is less
		c.unset.Store(true)
	}
	return c
}

// now is the time by which messages are delivered and stamped. It believes a jump
// ahead when it has lasted for believeAfter.
func (c *clock) now() time.Time {
	return c.look(func() time.Time {
		return c.wallAt.Add(-c.ahead(believeAfter, false))
	})
}

// ageTime is the time by which messages are judged that are kept for so long.
func (c *clock) ageTime(keep time.Duration) time.Time {
	return c.look(func() time.Time { return c.wallAt.Add(-c.ahead(keep, true)) })
}

// wall is what the system's wall clock says, whatever it is worth.
func (c *clock) wall() time.Time {
	return c.look(func() time.Time { return c.wallAt })
}

// look reads the clocks, and gives what f makes of that with mu held.
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
	c.jump(by)
	t := f()
	c.mu.Unlock()
	if by != 0 {
		c.jumped(by)
	}
	return t
}

// jump notes a jump ahead, or one back. The caller holds mu, as for all that follows.
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

// takeBack has the latest jumps undone by a jump back.
func (c *clock) takeBack(by time.Duration) {
	went := by - c.ahead(believeAfter, false) // less what was not believed
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

// ahead is by how much the wall clock has jumped ahead within the last so long. The
// returns to a time of before count only if all is true.
func (c *clock) ahead(within time.Duration, all bool) (sum time.Duration) {
	for i := len(c.jumps) - 1; i >= 0 && c.steady.Sub(c.jumps[i].seen) < within; i-- {
		if all || !c.jumps[i].returns {
			sum += c.jumps[i].by
		}
	}
	return sum
}

// join makes one of two jumps that follow on each other, as late as the later one,
// so that none is believed too early. The older they are the further apart they may
// have been: that is how few can stand for years.
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
