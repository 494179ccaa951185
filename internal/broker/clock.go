package broker

import "time"

// clockStep is how far the wall clock may be from where the time that has passed
// since the last look would have it, without having jumped: clocks are corrected
// in small steps all the time.
const clockStep = 5 * time.Second

// An ageClock is the time that messages' ages are judged by, so that a wall clock
// that jumps ahead makes none of them old. It follows the wall clock, but does not
// believe a jump ahead before it has lasted as long as messages are kept: by then
// all that was published before is as old in any case. It goes back with the wall
// clock at once, which only keeps messages longer.
//
// What the wall clock says at the start is believed.
type ageClock struct {
	keep  time.Duration // how long messages are kept
	last  time.Time     // of the last look, steady
	now   time.Time     // at the last look
	jumps []clockJump   // not believed yet; the oldest first
}

// A clockJump put the wall clock ahead by so much.
type clockJump struct {
	seen time.Time // steady
	by   time.Duration
}

func newAgeClock(wall, steady time.Time, keep time.Duration) *ageClock {
	return &ageClock{keep: keep, last: steady, now: wall.Round(0)}
}

// look gives the time, and how far the wall clock has jumped since the last look.
// steady is a time by a clock that does not jump.
func (c *ageClock) look(wall, steady time.Time) (now time.Time, jump time.Duration) {
	c.now = c.now.Add(steady.Sub(c.last))
	c.last = steady
	jump = wall.Round(0).Sub(c.now) - c.disbelieved()
	switch {
	case jump > clockStep:
		c.jumps = append(c.jumps, clockJump{steady, jump})
	case jump < -clockStep:
		c.takeBack(-jump)
	}
	for len(c.jumps) > 0 && steady.Sub(c.jumps[0].seen) >= c.keep {
		c.jumps = c.jumps[1:]
	}
	c.now = wall.Round(0).Add(-c.disbelieved())
	if jump >= -clockStep && jump <= clockStep {
		jump = 0
	}
	return c.now, jump
}

// disbelieved is how far ahead of the time the wall clock is.
func (c *ageClock) disbelieved() (sum time.Duration) {
	for _, j := range c.jumps {
		sum += j.by
	}
	return sum
}

// takeBack has the latest jumps undone by a jump back.
func (c *ageClock) takeBack(by time.Duration) {
	for by > 0 && len(c.jumps) > 0 {
		latest := &c.jumps[len(c.jumps)-1]
		n := min(by, latest.by)
		latest.by -= n
		by -= n
		if latest.by == 0 {
			c.jumps = c.jumps[:len(c.jumps)-1]
		}
	}
}
