package measure

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// A stall is a Send that takes longer than the time until several others are due.
func TestOpenLoopKeepsToItsTimesWhateverSendTakes(t *testing.T) {
	var dues []time.Time
	flushed := 0
	loop := OpenLoop{
		Rate: 1000, For: 50 * time.Millisecond,
		Send: func(due time.Time) error {
			if time.Now().Before(due) {
				t.Errorf("message %d was sent before it was due", len(dues))
			}
			dues = append(dues, due)
			for len(dues) == 10 && time.Since(due) < 20*time.Millisecond {
				time.Sleep(time.Millisecond) // a send that stalls, while others fall due
			}
			return nil
		},
		Flush: func() error { flushed = len(dues); return nil },
	}
	n, err := loop.Run()
	if err != nil || n != 50 || len(dues) != 50 || flushed != 50 {
		t.Fatalf("%d messages said, %d sent, %d flushed, %v", n, len(dues), flushed, err)
	}
	for i := 1; i < len(dues); i++ {
		if gap := dues[i].Sub(dues[i-1]); gap != time.Millisecond {
			t.Errorf("message %d was due %v after the one before", i, gap)
		}
	}
}

func TestOpenLoopEndsWithAnError(t *testing.T) {
	broken := errors.New("broken")
	sent := 0
	loop := OpenLoop{Rate: 10_000, For: time.Hour, Flush: func() error { return nil }, Send: func(time.Time) error {
		if sent++; sent == 5 {
			return broken
		}
		return nil
	}}
	if n, err := loop.Run(); n != 4 || err != broken {
		t.Errorf("after %d messages: %v", n, err)
	}
}

func TestMessagesSayWhenTheyWereDue(t *testing.T) {
	due := time.Unix(1_700_000_000, 123_456_789)
	m := Stamped(due)
	if got, err := Due(m); err != nil || !got.Equal(due) || len(m) != Size {
		t.Errorf("due %v, not %v (%v), in %d bytes", got, due, err, len(m))
	}
	if _, err := Due(m[:50]); err == nil {
		t.Error("half a message says when it was due")
	}
	if _, err := Due(bytes.Repeat([]byte("x"), Size)); err == nil {
		t.Error("a message without a time says when it was due")
	}
}

func TestMessagesAreLinesOfTheSameLengthAndDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range Messages(100) {
		if len(m) != Size || bytes.ContainsAny(m, "\n\r") || seen[string(m)] {
			t.Errorf("message %q", m)
		}
		seen[string(m)] = true
	}
}
