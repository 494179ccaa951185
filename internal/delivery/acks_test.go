package delivery

import (
	"errors"
	"slices"
	"testing"
	"time"

	"mbus/internal/group"
	"mbus/internal/vfs/crashfs"
)

func TestAFailedMessageComesAgain(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second")
	r := b.worker("orders", Options{})
	r.mustGet("first", "second")
	r.must(r.Nack(1, Failure{Retry: time.Millisecond, HasRetry: true}))
	r.mustGet("first") // as the third of the session
	r.must(r.Nack(2, Failure{}))
	r.must(r.Ack(3))
	r.mustGetNothing()
	b.publish("orders", "third")
	r.mustGet("third") // which the failed one does not hold up
}

func TestADeadMessageGoesToTheDeadLetters(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "bad", "worse", "good")
	r := b.worker("orders", Options{Retry: group.Retry{Backoff: time.Millisecond, Bound: time.Millisecond, Attempts: 2}})
	r.mustGet("bad", "worse", "good")
	r.must(r.Nack(1, Failure{Reason: "no"}))
	r.mustGet("bad")
	r.must(r.Nack(4, Failure{Reason: "no again"}))
	r.must(r.Nack(2, Failure{Dead: true, Reason: "never"}))
	r.must(r.Nack(2, Failure{Dead: true})) // it has failed already
	r.must(r.Ack(4))
	r.must(r.Close(Left)) // waits for the dead letters
	b.mustDrain("orders.dlq", "bad", "worse")
	b.mustDrain("orders")
	l := b.worker("orders.dlq", Options{Group: "letters"})
	l.mustGet("bad", "worse")
	if err := l.Nack(1, Failure{Dead: true}); !errors.Is(err, ErrNoDeadLetters) {
		t.Errorf("a dead letter is dead: %v", err)
	}
}

func TestASilentClientEndsAndItsOldestMessageHasFailed(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second")
	r := b.worker("orders", Options{AckTimeout: time.Millisecond})
	r.mustEnd(ErrAckTimeout)
	if !r.HasExpired() {
		t.Error("it does not say that it has expired")
	}
	r.must(r.Close(Lost)) // which counts no second failure
	b.restart()           // which forgets the back-off
	b.mustDrain("orders", "first", "second")
}

func TestALostSessionsMessagesComeAgain(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second", "third", "fourth")
	r := b.worker("orders", Options{})
	r.mustGet("first", "second", "third", "fourth")
	other := b.worker("orders", Options{})
	r.must(r.Ack(1))
	other.mustGetNothing()
	r.must(r.Close(Lost))
	other.mustGet("third", "fourth") // the second has failed, and waits
	other.must(other.Ack(2))
	other.must(other.Close(Left))
	b.restart()
	b.mustDrain("orders", "second")
}

// A client that is lost for its writes may have closed its sending side before: the end of the
// stream confirms its acknowledgements.
func TestWhatALostSessionAcknowledgedIsDurable(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "second")
	r := b.worker("orders", Options{})
	r.mustGet("first", "second")
	r.must(r.Ack(1))
	r.must(r.Close(Lost))
	before := b.broker
	defer before.Close()
	b.disk = b.disk.Crash(crashfs.Nothing())
	b.begin()
	b.mustDrain("orders", "second")
}

func TestConfirmsComeWhenAcknowledgementsAreDurable(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", numbers(6)...)
	r := b.worker("orders", Options{Confirm: true})
	r.mustGet(numbers(6)...)
	confirmed := func(want ...Range) {
		t.Helper()
		var got []Range
		r.sink.await(t, func() bool {
			got = slices.Clone(r.sink.confirms)
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("confirmed %v, not %v", got, want)
		}
	}
	r.must(r.AckRange(Range{5, 5}))
	r.ConfirmRanges()
	confirmed(Range{5, 5})
	r.must(r.AckRange(Range{5, 5})) // which changes nothing
	r.must(r.AckRange(Range{2, 2}))
	r.must(r.AckRange(Range{3, 3}))
	r.ConfirmRanges()
	confirmed(Range{5, 5}, Range{2, 3})
	r.must(r.Ack(1))
	confirmed(Range{5, 5}, Range{2, 3}, Range{1, 1})
}

func TestWhatWasNotSentIsNotAcknowledged(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", numbers(3)...)
	r := b.worker("orders", Options{})
	r.mustGet(numbers(3)...)
	for name, err := range map[string]error{
		"+4": r.Ack(4), "=0": r.AckRange(Range{}), "=3-4": r.AckRange(Range{3, 4}), "-4": r.Nack(4, Failure{}), "-0": r.Nack(0, Failure{Dead: true}),
	} {
		if !errors.Is(err, group.ErrNotSent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAcknowledgementsInAndOutOfTurn(t *testing.T) {
	type acks func(r *reader) error
	count := func(n uint64) acks { return func(r *reader) error { return r.Ack(n) } }
	some := func(first, last uint64) acks {
		return func(r *reader) error { return r.AckRange(Range{first, last}) }
	}
	nack := func(n uint64) acks { return func(r *reader) error { return r.Nack(n, Failure{}) } }
	for name, c := range map[string]struct {
		acks []acks
		left []int
	}{
		"=3":          {[]acks{some(3, 3)}, []int{0, 1, 3, 4, 5}},
		"=2-4":        {[]acks{some(2, 4)}, []int{0, 4, 5}},
		"=1-6":        {[]acks{some(1, 6)}, nil},
		"=6 =1 =3":    {[]acks{some(6, 6), some(1, 1), some(3, 3)}, []int{1, 3, 4}},
		"=2-4 =1-5":   {[]acks{some(2, 4), some(3, 3), some(1, 5)}, []int{5}},
		"+2 =1-4":     {[]acks{count(2), some(1, 4)}, []int{4, 5}},
		"=5 +3":       {[]acks{some(5, 5), count(3)}, []int{3, 5}},
		"=5 -5 +4":    {[]acks{some(5, 5), nack(5), count(4)}, []int{5}},
		"-5 =4-6":     {[]acks{nack(5), some(4, 6)}, []int{0, 1, 2, 4}},
		"-2 +6":       {[]acks{nack(2), count(6)}, []int{1}},
		"=4 +0 =4":    {[]acks{some(4, 4), count(0), some(4, 4)}, []int{0, 1, 2, 4, 5}},
		"=2 =4 =3 +1": {[]acks{some(2, 2), some(4, 4), some(3, 3), count(1)}, []int{4, 5}},
		"+6 -1":       {[]acks{count(6), nack(1)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, 1)
			b.publish("orders", numbers(6)...)
			r := b.worker("orders", Options{})
			r.mustGet(numbers(6)...)
			for _, ack := range c.acks {
				r.must(ack(r))
			}
			r.must(r.Close(Left))
			b.restart() // which forgets the back-off
			var left []string
			for _, i := range c.left {
				left = append(left, numbers(6)[i])
			}
			b.mustDrain("orders", left...)
		})
	}
}

func TestAFullWindowWaitsForAcknowledgements(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", numbers(6)...)
	r := b.worker("orders", Options{Window: 3})
	r.mustGet(numbers(3)...)
	r.mustGetNothing()
	r.must(r.AckRange(Range{2, 3}))
	r.mustGet(numbers(5)[3:]...)
	r.mustGetNothing()
	r.must(r.Nack(1, Failure{}))
	r.mustGet(numbers(6)[5:]...)
}
