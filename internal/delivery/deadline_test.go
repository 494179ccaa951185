package delivery

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/group"
)

// A watched session has a client that is to acknowledge within ten seconds. Nothing is
// really sent.
type watched struct {
	*Session
	pos    *group.Position
	leased int64
}

func newWatched() *watched {
	s := (&Hub{}).NewSession(Options{Ack: true, AckTimeout: 10 * time.Second}, new(memory))
	s.pump.fn, s.pump.onError = func() error { return nil }, func() {}
	s.pump.start()
	s.deadline.start(s)
	return &watched{s, group.NewPosition(0), 0}
}

func (w *watched) send() {
	w.sub.member.Lease(w.pos, group.Span{From: w.leased, To: w.leased + 1}, 1)
	w.leased++
	w.deadline.sent()
}

func (w *watched) answer(t *testing.T, n uint64) {
	t.Helper()
	if err := w.Ack(n); err != nil {
		t.Fatal(err)
	}
}

// after lets time pass; then the follower must have ended, or not.
func (w *watched) after(t *testing.T, d time.Duration, ended bool) {
	t.Helper()
	time.Sleep(d) // in the bubble, where time passes at once
	synctest.Wait()
	if w.pump.hasEnded() != ended {
		t.Fatalf("ended: %v", w.pump.hasEnded())
	}
}

func TestAClientHasItsTimeFromTheFirstMessageAfterItHasAnsweredAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		w.send()
		w.after(t, time.Second, false)
		w.answer(t, 1)
		w.after(t, 8*time.Second, false)
		w.send()
		w.after(t, 9*time.Second, false)
		w.answer(t, 2)
		w.after(t, time.Hour, false)
		w.send()
		w.after(t, 9*time.Second, false)
		w.after(t, 2*time.Second, true)
		if err := w.Stop(); !errors.Is(err, ErrAckTimeout) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestAnAnswerToOneOfTwoMessagesGivesTheOtherItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		w.send()
		w.send()
		w.after(t, 9*time.Second, false)
		w.answer(t, 1)
		w.after(t, 9*time.Second, false)
		w.after(t, 2*time.Second, true)
	})
}

// The time-out is over just as the follower ends otherwise: then stop waits for what
// comes of it, so that nothing fails, and no burial begins, later.
func TestNothingFailsForATimeoutAfterTheFollowerHasEnded(t *testing.T) {
	w := newWatched()
	stopped, checked := make(chan struct{}), make(chan struct{})
	w.pump.onError = func() { // within the check
		go func() {
			w.deadline.stop()
			close(stopped)
		}()
		select {
		case <-stopped:
			t.Error("stop does not wait for the check that is under way")
		case <-time.After(50 * time.Millisecond): // this is how long it is watched
		}
		close(checked)
	}
	w.send()
	w.deadline.mu.Lock()
	w.deadline.limit = time.Millisecond
	w.deadline.timer.Reset(w.deadline.limit)
	w.deadline.mu.Unlock()
	<-checked
	<-stopped
	if w.sub.member.Oldest() != 0 {
		t.Error("the message has not failed")
	}
}

// The answer comes between the look at the oldest message and its failure.
func TestAnAnswerInTheLastMomentIsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched()
		w.send()
		w.send()
		w.after(t, 9*time.Second, false)
		if err := w.sub.member.Ack(1); err != nil { // without Extend yet
			t.Fatal(err)
		}
		w.deadline.mu.Lock()
		w.deadline.expire(w.Session, 1)
		w.deadline.mu.Unlock()
		w.after(t, 9*time.Second, false)
		w.after(t, 2*time.Second, true)
	})
}

func TestAHeartbeatGivesTheClientItsTimeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []uint64{0, 1} {
			w := newWatched()
			w.send()
			w.send()
			w.answer(t, n)
			for range 100 {
				w.after(t, 9*time.Second, false)
				w.answer(t, n)
			}
			w.after(t, 9*time.Second, false)
			w.after(t, 2*time.Second, true)
		}
	})
}

// The connection breaks in the moment in which the time is over, or just before.
func TestAClientThatHangsIsNotLostAsWell(t *testing.T) {
	w := newWatched()
	w.send()
	w.send()
	w.pump.fail(syscall.ECONNRESET)
	w.deadline.mu.Lock()
	w.deadline.expire(w.Session, 1)
	w.deadline.mu.Unlock()
	w.lose()
	if all := w.pos.FailuresIn(group.Span{To: 2}); len(all) != 1 || all[0].Offset != 0 || all[0].Attempts != 1 {
		t.Errorf("the failures are %v, not one of offset 0", all)
	}
}
