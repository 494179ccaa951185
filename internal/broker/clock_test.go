package broker

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/store"
	"mbus/test/brokertest"
)

// A clockRig moves both clocks and looks.
type clockRig struct {
	t            *testing.T
	clock        *clock
	wall, steady time.Time
}

const week = 7 * 24 * time.Hour

func newClockRig(t *testing.T) *clockRig {
	now := time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC)
	r := &clockRig{t: t, wall: now, steady: now}
	r.begin(nil)
	return r
}

// begin makes the clock, which goes on from a note.
func (r *clockRig) begin(note []byte) {
	r.t.Helper()
	r.clock = newClock(nil)
	r.clock.read = func() (time.Time, time.Time) { return r.wall, r.steady }
	r.clock.wallAt, r.clock.steady = r.clock.read()
	if note != nil && !r.clock.restore(note) {
		r.t.Errorf("%s is not taken for a note", note)
	}
}

// restart starts again after some time, in which the wall clock may have jumped, too.
func (r *clockRig) restart(down, jump time.Duration) {
	r.t.Helper()
	note := r.clock.note()
	r.steady, r.wall = r.steady.Add(down), r.wall.Add(down+jump)
	r.begin(note)
}

// Until the jump is noted, the log must not store a time after it: a crash could lose the note
// alone.
func TestNobodyGetsATimeAfterAJumpBeforeTheJumpIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newClockRig(t)
		written := make(chan struct{})
		noted := false
		r.clock.found = func() { <-written; noted = true }
		r.wall = r.wall.Add(week)
		go r.clock.wall()
		synctest.Wait() // it notes the jump
		early := false
		go func() { r.clock.wall(); early = !noted }()
		synctest.Wait()
		close(written)
		synctest.Wait()
		if early {
			t.Error("another goroutine got the time before the jump was noted")
		}
	})
}

// pass lets time pass in steps of a minute, during which the wall clock goes
// wrong by drift each, and then jumps, which is noticed.
func (r *clockRig) pass(d, drift, jump time.Duration) {
	for end := r.steady.Add(d); r.steady.Before(end); {
		step := min(time.Minute, end.Sub(r.steady))
		r.steady, r.wall = r.steady.Add(step), r.wall.Add(step+drift)
		r.clock.now()
	}
	r.wall = r.wall.Add(jump)
	r.clock.now()
}

// mustBehind says that messages which are kept for a week are judged by a time so far
// behind the wall clock.
func (r *clockRig) mustBehind(want time.Duration) {
	r.t.Helper()
	r.mustBehindFor(week, want)
}

func (r *clockRig) mustBehindFor(keep, want time.Duration) {
	r.t.Helper()
	if behind := r.wall.Sub(r.clock.ageTime(keep)); behind != want {
		r.t.Errorf("for messages that are kept for %v it is %v behind the wall clock, not %v", keep, behind, want)
	}
}

// mustNow says that messages are delivered by a time so far behind the wall clock.
func (r *clockRig) mustNow(want time.Duration) {
	r.t.Helper()
	if behind := r.wall.Sub(r.clock.now()); behind != want {
		r.t.Errorf("now is %v behind the wall clock, not %v", behind, want)
	}
}

const years = 10 * 365 * 24 * time.Hour

func TestClockFollowsAWallClockThatIsCorrectedInSmallSteps(t *testing.T) {
	r := newClockRig(t)
	r.pass(24*time.Hour, time.Second, 4*time.Second)
	r.mustBehind(0)
	r.pass(24*time.Hour, -time.Second, -4*time.Second)
	r.mustBehind(0)
	r.mustNow(0)
}

func TestClockRemovesByAJumpAheadWhenItHasLastedAsLongAsMessagesAreKept(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, years)
	r.mustBehind(years)
	r.pass(week-time.Minute, 0, 0)
	r.mustBehind(years)
	r.pass(time.Minute, 0, 0)
	r.mustBehind(0)
}

// Each topic has its own retention: one that is shorter, or for ever, says nothing of
// the others.
func TestClockJudgesEachRetentionByItself(t *testing.T) {
	r := newClockRig(t)
	r.pass(0, 0, years)
	r.pass(time.Hour, 0, 0)
	for keep, behind := range map[time.Duration]time.Duration{
		0: 0, time.Minute: 0, time.Hour: 0, time.Hour + 1: years, week: years, 1<<63 - 1: years,
	} {
		r.mustBehindFor(keep, behind)
	}
}

func TestClockDeliversByAJumpAheadWhenItHasLastedForAMinute(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, years)
	r.mustNow(years)
	r.pass(believeAfter-1, 0, 0)
	r.mustNow(years)
	r.pass(1, 0, 0)
	r.mustNow(0)
	r.mustBehind(years)
	r.pass(0, 0, -years)
	r.mustNow(0)
	r.mustBehind(0)
}

func TestClockForgetsAJumpThatWasTakenBack(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, 8*time.Hour)
	r.mustBehind(8 * time.Hour)
	r.pass(24*time.Hour, 0, years)
	r.mustBehind(8*time.Hour + years)
	r.mustNow(years)
	r.pass(time.Hour, 0, -years)
	r.mustBehind(8 * time.Hour)
	r.mustNow(0)
	r.pass(week, 0, 0)
	r.mustBehind(0)
}

// What is published while the clock is behind would be old when it is put right.
func TestClockGoesBackAtOnceAndDoesNotRemoveByTheWayAhead(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, -years)
	r.mustBehind(0)
	r.mustNow(0)
	r.pass(time.Hour, 0, years)
	r.mustBehind(years)
	r.mustNow(years)
	r.pass(week, 0, 0)
	r.mustBehind(0)
}

// A clock that was behind for a moment stamps nothing with the past for a minute more,
// and is not believed beyond where it was.
func TestClockReturnsAtOnceFromAMomentInThePast(t *testing.T) {
	r := newClockRig(t)
	r.pass(0, 0, -years)
	r.pass(time.Second, 0, years+time.Hour)
	r.mustNow(time.Hour)
	r.mustBehind(years + time.Hour)
}

// A clock that goes back and forth between the right time and a wrong one is not
// believed because it has been at the wrong one before.
func TestClockDoesNotReturnToATimeThatItNeverBelieved(t *testing.T) {
	r := newClockRig(t)
	for range 3 {
		r.pass(10*time.Second, 0, years)
		r.mustNow(years)
		r.pass(10*time.Second, 0, -years)
		r.mustNow(0)
	}
}

func TestClockOfALaptopThatSleepsEachNightIsBehindByAWeekOfNights(t *testing.T) {
	r := newClockRig(t)
	for range 60 {
		r.pass(16*time.Hour, 0, 8*time.Hour)
	}
	if behind := r.wall.Sub(r.clock.ageTime(week)); behind > 12*8*time.Hour {
		t.Errorf("it is %v behind", behind)
	}
	if n := len(r.clock.jumps); n > maxJumps {
		t.Errorf("%d jumps are remembered", n)
	}
}

// However the clock jumps: nothing is removed before it has been kept for its time, and
// few jumps are remembered.
func TestClockMakesNothingOldBeforeItsTime(t *testing.T) {
	brokertest.Slow(t)
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		r := newClockRig(t)
		type stamped struct{ at, steady time.Time }
		var all []stamped
		keeps := []time.Duration{time.Second, time.Minute, time.Hour, week, 100 * week}
		for range 300 {
			step := time.Duration(rnd.ExpFloat64() * float64(keeps[rnd.IntN(len(keeps)-1)]))
			jump := time.Duration(0)
			if rnd.IntN(2) == 0 {
				jump = clockStep + time.Duration(rnd.ExpFloat64()*float64(keeps[rnd.IntN(len(keeps))]))
			}
			if rnd.IntN(2) == 0 {
				jump = -jump
			}
			if rnd.IntN(10) == 0 {
				r.restart(step, jump)
			} else {
				r.steady, r.wall = r.steady.Add(step), r.wall.Add(step+jump)
			}
			all = append(all, stamped{r.clock.wall(), r.steady})
			for _, keep := range keeps {
				now := r.clock.ageTime(keep)
				for _, s := range all {
					if age := r.steady.Sub(s.steady); age < keep && now.Sub(s.at) > age {
						t.Fatalf("seed %d: what is %v old and kept for %v counts as %v old", seed, age, keep, now.Sub(s.at))
					}
				}
			}
		}
		if n := len(r.clock.jumps); n > maxJumps {
			t.Fatalf("seed %d: %d jumps are remembered", seed, n)
		}
	}
}

// What the clock says at a start is believed where messages are delivered, and not where
// they are removed.
func TestClockTakesTheTimeThatTheBrokerWasDownForAJump(t *testing.T) {
	r := newClockRig(t)
	r.pass(time.Hour, 0, 0)
	r.restart(0, years)
	r.mustNow(0)
	r.mustBehind(years)
	r.pass(24*time.Hour, 0, 0)
	r.restart(time.Second, 0) // again with the wrong clock
	r.mustBehind(years)
	r.mustBehindFor(24*time.Hour, 0)
	r.restart(0, -years) // it is right again
	r.mustBehind(0)
	r.mustNow(0)
}

func TestClockBelievesTheTimeThatTheBrokerWasDownWhenItHasRunForLong(t *testing.T) {
	r := newClockRig(t)
	r.restart(24*time.Hour, 0)
	for range 6 {
		r.pass(24*time.Hour, 0, 0)
		r.restart(time.Second, 0)
		r.mustBehind(24 * time.Hour)
	}
	r.pass(24*time.Hour, 0, 0)
	r.mustBehind(0)
}

// A machine without a battery starts in 1970 each day, and is put right a little later.
func TestClockThatIsNotSetIsNotFollowed(t *testing.T) {
	r := newClockRig(t)
	for range 30 {
		real := r.wall.Add(8 * time.Hour) // of the night
		r.restart(8*time.Hour, -r.wall.Sub(time.Unix(0, 0)))
		if now := r.clock.now(); now.Sub(real) > 0 || real.Sub(now) > 9*time.Hour {
			t.Fatalf("it is %v, really %v", now, real)
		}
		r.pass(10*time.Second, 0, real.Sub(r.wall))
		r.pass(16*time.Hour, 0, 0)
		r.mustNow(0)
	}
	if behind := r.wall.Sub(r.clock.ageTime(week)); behind > 12*8*time.Hour {
		t.Errorf("messages are judged by a time %v behind", behind)
	}
	r.pass(0, 0, -years*9/2) // the battery again, while it runs
	r.mustNow(-years * 9 / 2)
}

// A clock that is behind at the start, and is put right soon, stamps and delivers as it did.
func TestClockReturnsAtOnceFromAStartInThePast(t *testing.T) {
	r := newClockRig(t)
	r.restart(time.Hour, -5*time.Hour)
	r.mustNow(0)
	r.pass(10*time.Second, 0, 5*time.Hour)
	r.mustNow(time.Hour)
}

func TestClockNotesThatCanNotBeOnesAreRefused(t *testing.T) {
	r := newClockRig(t)
	for _, note := range []string{
		"", "{", "{}", `{"time":5}`, `{"time":"now"}`, "null", `{"time":1e999}`, "\x00\x00",
		`{"time":1800000000000,"jumps":[{"by":-5,"ago":1}]}`, `{"time":1800000000000,"jumps":[{"by":5,"ago":-1}]}`,
	} {
		if r.clock.restore([]byte(note)) {
			t.Errorf("%q is taken for a note", note)
		}
	}
	for range 10 * maxJumps {
		r.pass(time.Minute, 0, time.Hour)
	}
	if n := len(r.clock.note()); n > store.MaxNote {
		t.Errorf("a note has %d bytes", n)
	}
}
