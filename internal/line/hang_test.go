package line

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/group"
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
