package line

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/group"
	"mbus/internal/tcpserver"
)

// A watched follower has a client that is to answer within ten seconds. Nothing is
// really sent.
type watched struct {
	*follower
	pos  *group.Position
	sent int64
}

func newWatched() *watched {
	f := &follower{consumer: newConsumer(nil, &request{ack: true, ackTimeout: 10 * time.Second})}
	f.push, f.over = func() error { return nil }, func() {}
	f.pump.start()
	f.hang.start(f)
	return &watched{f, group.NewPosition(0), 0}
}

func (w *watched) send() {
	w.member.Lease(w.pos, group.Span{From: w.sent, To: w.sent + 1}, 1)
	w.sent++
	w.hang.more(w.follower)
}

func (w *watched) answer(t *testing.T, n uint64) {
	t.Helper()
	if err := w.ack(n); err != nil {
		t.Fatal(err)
	}
}

// after lets time pass; then the follower must have ended, or not.
func (w *watched) after(t *testing.T, d time.Duration, ended bool) {
	t.Helper()
	time.Sleep(d) // in the bubble, where time passes at once
	synctest.Wait()
	if w.hasEnded() != ended {
		t.Fatalf("ended: %v", w.hasEnded())
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
		if err := w.stop(func() {}); !errors.Is(err, errHangs) {
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
	w.over = func() { // within the check
		go func() {
			w.hang.stop()
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
	w.hang.mu.Lock()
	w.hang.limit = time.Millisecond
	w.hang.timer.Reset(w.hang.limit)
	w.hang.mu.Unlock()
	<-checked
	<-stopped
	if w.member.Oldest() != 0 {
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
		if err := w.member.Ack(1); err != nil { // of which the watch has not been told yet
			t.Fatal(err)
		}
		w.hang.mu.Lock()
		w.hang.fail(w.follower, 1)
		w.hang.mu.Unlock()
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
	w.conn = &conn{server: &Server{conns: tcpserver.NewConns[*conn](nil, 1, 0)}}
	w.send()
	w.send()
	w.pump.fail(syscall.ECONNRESET)
	w.hang.mu.Lock()
	w.hang.fail(w.follower, 1)
	w.hang.mu.Unlock()
	w.countLoss(nil, w.stop(func() {}), nil)
	if n := w.member.Oldest(); n != 2 {
		t.Errorf("the oldest is message %d, not 2", n)
	}
}
