package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mbus/bench/bus"
)

// patience is how long a measurement may go on after its last message was sent.
const patience = 30 * time.Second

// A tally counts the messages that a group gets, in the callback of one
// consumer, and knows when there are as many as there must be.
type tally struct {
	n, target atomic.Int64  // target is 0 while it is not known
	first     chan struct{} // closed with the first message
	reached   chan struct{}
	closed    atomic.Bool
	cancel    context.CancelFunc
	ended     chan error
}

// consume has a group's messages counted, and given to also if that is not nil.
func consume(b bus.Bus, r bus.Reading, also func(n int64, message []byte)) *tally {
	ctx, cancel := context.WithCancel(context.Background())
	t := &tally{first: make(chan struct{}), reached: make(chan struct{}), cancel: cancel, ended: make(chan error, 1)}
	go func() {
		t.ended <- b.Consume(ctx, r, func(message []byte) {
			n := t.n.Add(1)
			if n == 1 {
				close(t.first)
			}
			if also != nil {
				also(n, message)
			}
			t.check()
		})
	}()
	return t
}

func (t *tally) check() {
	if target := t.target.Load(); target > 0 && t.n.Load() >= target && !t.closed.Swap(true) {
		close(t.reached)
	}
}

// soon is the deadline for what must happen now.
func soon() time.Time { return time.Now().Add(patience) }

// wait waits for so many messages in all.
func (t *tally) wait(target int, deadline time.Time) error {
	t.target.Store(int64(target))
	t.check()
	return t.await(t.reached, target, deadline)
}

// begin waits for the first message.
func (t *tally) begin(deadline time.Time) error { return t.await(t.first, 1, deadline) }

func (t *tally) await(closed <-chan struct{}, target int, deadline time.Time) error {
	select {
	case <-closed:
		return nil
	case err := <-t.ended:
		t.ended <- err
		select {
		case <-closed: // it may end with its last message
			return nil
		default:
		}
		return fmt.Errorf("the consumer ended with %d of %d messages: %v", t.n.Load(), target, err)
	case <-time.After(time.Until(deadline)):
		return fmt.Errorf("only %d of %d messages came in time", t.n.Load(), target)
	}
}

// stop ends consumers.
func stop(tallies ...*tally) error {
	for _, t := range tallies {
		t.cancel()
	}
	deadline := time.After(patience)
	var errs []error
	for _, t := range tallies {
		select {
		case err := <-t.ended:
			errs = append(errs, err)
		case <-deadline:
			return errors.New("a consumer does not end")
		}
	}
	return errors.Join(errs...)
}
