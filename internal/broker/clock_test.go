package broker

import (
	"testing"
	"time"
)

// A clockRig moves both clocks and looks.
type clockRig struct {
	t            *testing.T
	clock        *ageClock
	wall, steady time.Time
}

const week = 7 * 24 * time.Hour

func newClockRig(t *testing.T) *clockRig {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &clockRig{t, newAgeClock(now, now, week), now, now}
}

// pass lets time pass in steps of a minute, during which the wall clock goes
// wrong by drift each, and then jumps.
func (r *clockRig) pass(d, drift, jump time.Duration) {
	for end := r.steady.Add(d); r.steady.Before(end); {
		r.steady, r.wall = r.steady.Add(time.Minute), r.wall.Add(time.Minute+drift)
		r.clock.look(r.wall, r.steady)
	}
	r.wall = r.wall.Add(jump)
}

// mustBehind says that the clock is so far behind the wall clock.
func (r *clockRig) mustBehind(want time.Duration) {
	r.t.Helper()
	if now, _ := r.clock.look(r.wall, r.steady); r.wall.Sub(now) != want {
		r.t.Errorf("it is %v behind the wall clock, not %v", r.wall.Sub(now), want)
	}
}

const years = 10 * 365 * 24 * time.Hour

func TestAgeClockFollowsAWallClockThatIsCorrectedInSmallSteps(t *testing.T) {
	r := newClockRig(t)
	r.pass(24*time.Hour, time.Second, 4*time.Second)
	r.mustBehind(0)
	r.pass(24*time.Hour, -time.Second, -4*time.Second)
	r.mustBehind(0)
}

func TestAgeClockBelievesAJumpAheadWhenItHasLastedAsLongAsMessagesAreKept(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, years)
	r.mustBehind(years)
	r.pass(week-time.Minute, 0, 0)
	r.mustBehind(years)
	r.pass(time.Minute, 0, 0)
	r.mustBehind(0)
}

func TestAgeClockForgetsAJumpThatWasTakenBack(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, 8*time.Hour)
	r.mustBehind(8 * time.Hour)
	r.pass(24*time.Hour, 0, years)
	r.mustBehind(8*time.Hour + years)
	r.pass(time.Hour, 0, -years)
	r.mustBehind(8 * time.Hour)
	r.pass(week, 0, 0)
	r.mustBehind(0)
}

// What is published while the clock is behind would be old when it is put right.
func TestAgeClockGoesBackAtOnceAndDoesNotBelieveTheWayAhead(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, -years)
	r.mustBehind(0)
	r.pass(time.Hour, 0, years)
	r.mustBehind(years)
	r.pass(week, 0, 0)
	r.mustBehind(0)
}

func TestAgeClockOfALaptopThatSleepsEachNightIsBehindByAWeekOfNights(t *testing.T) {
	r := newClockRig(t)
	for range 60 {
		r.pass(16*time.Hour, 0, 8*time.Hour)
	}
	now, _ := r.clock.look(r.wall, r.steady)
	if behind := r.wall.Sub(now); behind > 12*8*time.Hour {
		t.Errorf("it is %v behind", behind)
	}
}
