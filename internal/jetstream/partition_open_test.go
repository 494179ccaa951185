package jetstream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/store"
)

func TestFencesOfIdlePartitionsDoNotPileUp(t *testing.T) {
	for name, records := range map[string]int{"never written": 0, "with records": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted()
				p := s.opened(t, 1)
				for i := range records {
					appended(t, p, fmt.Sprint(i), int64(i))
				}
				p.cancel()
				before := len(s.of(scriptedPlace))
				for epoch := uint32(2); epoch < 1002; epoch++ {
					p := s.owned(t, epoch)
					old, err := p.recover(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if epoch%3 > 0 { // some don't come to it
						if err := p.tidy(old); err != nil {
							t.Fatal(err)
						}
					}
					p.cancel()
				}
				if n := len(s.of(scriptedPlace)); n > before+3 {
					t.Errorf("after 1000 takeovers there are %d messages, before there were %d", n, before)
				}
				last := s.opened(t, 2000)
				if start, high := last.Offsets(); start != 0 || high != int64(records) {
					t.Errorf("the log goes from %d to %d", start, high)
				}
				appended(t, last, "more", int64(records))
				walkAll(t, s.of(scriptedPlace))
			})
		})
	}
}

// A trim of everything leaves a message without records, which tells the next offset.
func TestTakeoverOfALogThatWasTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := written(t, s, 30)
		if err := p.Trim(30); err != nil {
			t.Fatal(err)
		}
		for epoch := uint32(3); epoch < 6; epoch++ {
			p = s.owned(t, epoch)
			old, err := p.recover(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := p.tidy(old); err != nil {
				t.Fatal(err)
			}
			if start, high := p.Offsets(); start != 30 || high != 30 || p.Size() != 0 {
				t.Fatalf("the log goes from %d to %d and has %d bytes", start, high, p.Size())
			}
		}
		appended(t, p, "more", 30)
	})
}

// What the leader says first may be old: a new one answers before it has all, and one that was cut off
// does not know of the new one.
func TestTakeoverReadsUpToItsFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := s.opened(t, 1)
		for i := range 10 {
			appended(t, p, fmt.Sprint(i), int64(i))
		}
		reads := 0
		s.reads = func(int) readFate {
			reads++
			return readFate{lag: max(0, 8-reads)}
		}
		p = s.opened(t, 2)
		if _, high := p.Offsets(); high != 10 {
			t.Errorf("the high watermark is %d, want 10", high)
		}
		appended(t, p, "more", 10)
		walkAll(t, s.of(scriptedPlace))
	})
}

func TestTakeoverFailsIfTheLastMessageIsLost(t *testing.T) {
	for _, how := range []string{"missing", "prefix", "batch"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted()
				p := s.opened(t, 1)
				for i := range 10 {
					appended(t, p, fmt.Sprint(i), int64(i))
				}
				s.opened(t, 2) // the last message is a fence, which knows of the one before
				s.edit = func(_ int, m stored) (stored, bool) { return spoil(m, 9, how) }
				p = s.owned(t, 3)
				if _, err := p.recover(t.Context()); err == nil {
					_, high := p.Offsets()
					t.Errorf("the log is open, up to offset %d", high)
				}
				if err := p.Available(); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("available: %v", err)
				}
				s.edit = func(_ int, m stored) (stored, bool) { return m, true }
				if _, err := p.recover(t.Context()); err != nil {
					t.Fatal(err)
				}
				appended(t, p, "more", 10)
			})
		})
	}
}

func TestTakeoverFailsWhereALaterOwnerHasBeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := s.opened(t, 5)
		appended(t, p, "message", 0)
		slow := s.owned(t, 4)
		if _, err := slow.recover(t.Context()); !errors.Is(err, store.ErrMoved) {
			t.Errorf("recovered: %v", err)
		}
		<-slow.lost
		appended(t, p, "more", 1)
	})
}

// A partition whose stream has no leader refuses everything until it is opened.
func TestPartitionThatIsNotOpenYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		written(t, s, 5)
		s.reads = func(int) readFate { return readFate{silent: true} }
		p := s.owned(t, 3)
		ctx, cancel := context.WithTimeout(t.Context(), openTime)
		defer cancel()
		if _, err := p.recover(ctx); err == nil {
			t.Fatal("it is open")
		}
		woken := make(chan store.Reason, 1)
		p.Wake(0, func(r store.Reason) { woken <- r })
		var c store.Chunk
		_, err1 := p.Write(oneRecord("x"), func(int64, error) { t.Error("done was called") })
		_, err2 := p.OffsetForTime(0)
		_, err3 := p.Retain(store.Retention{})
		_, err4 := p.Tail(0)
		for _, err := range []error{p.Available(), p.Read(0, 1, &c), p.Trim(0), err1, err2, err3, err4} {
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("refused with %v", err)
			}
		}
		if start, high := p.Offsets(); start != 0 || high != 0 || p.Size() != 0 {
			t.Errorf("offsets %d to %d, %d bytes", start, high, p.Size())
		}
		s.reads = func(int) readFate { return readFate{} }
		if _, err := p.recover(t.Context()); err != nil || p.Available() != nil {
			t.Fatal(err, p.Available())
		}
		if r := <-woken; r != store.More {
			t.Errorf("woken with the reason %d", r)
		}
		appended(t, p, "more", 5)
	})
}

// One that is never opened ends with the store.
func TestPartitionThatIsNeverOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newScripted().owned(t, 1)
		woken := make(chan store.Reason, 1)
		p.Wake(0, func(r store.Reason) { woken <- r })
		p.close(store.ErrClosed)
		if r := <-woken; r != store.Closed {
			t.Errorf("woken with the reason %d", r)
		}
		if _, err := p.Write(oneRecord("x"), nil); !errors.Is(err, store.ErrClosed) {
			t.Errorf("written: %v", err)
		}
		time.Sleep(time.Second)
	})
}

// An owner is slow: another one has come and has written when its fence is stored.
func TestTakeoverFailsIfALaterOwnerComesBeforeTheFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		appended(t, s.opened(t, 1), "first", 0)
		slow := s.owned(t, 2)
		known, err := slow.lastKnown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		later := s.opened(t, 3)
		appended(t, later, "second", 1)
		at, err := slow.fence(t.Context(), known)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := slow.walk(t.Context(), known, at); !errors.Is(err, store.ErrMoved) {
			t.Errorf("walked: %v", err)
		}
		<-slow.lost
		appended(t, later, "third", 2)
	})
}
