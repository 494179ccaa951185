package delivery

import (
	"errors"
	"testing"
	"time"

	"mbus/internal/group"
	"mbus/test/brokertest"
)

func TestOrderedHasOneMessageOfAKeyOut(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a=1", "a=2", "b=3", "a=4", "c=5", "no key", "nor this")
	x := b.worker("orders", Options{Ordered: true})
	x.mustGet("1", "3", "5", "no key", "nor this")
	x.mustGetNothing()
	y := b.worker("orders", Options{Ordered: true})
	y.mustGetNothing()
	x.must(x.Ack(5))
	brokertest.Await(t, patience, "one of them gets the next", func() bool { return x.got()+y.got() > 5 })
	awaitIdle(&x.pump)
	awaitIdle(&y.pump)
	if n := x.got() + y.got(); n != 6 {
		t.Errorf("%d messages came, 2 of one key at a time", n)
	}
}

func TestOrderedFailureHoldsUpItsKeyOnly(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a=1", "a=2", "b=3", "b=4")
	r := b.worker("orders", Options{Ordered: true})
	r.mustGet("1", "3")
	r.must(r.Nack(1, Failure{Retry: time.Millisecond, HasRetry: true}))
	r.mustGet("1") // before the next of its key
	r.must(r.Nack(3, Failure{}))
	r.must(r.Ack(3))
	r.mustGet("4")
	r.mustGetNothing()
	r.must(r.Nack(4, Failure{Dead: true}))
	r.mustGetNothing()
}

func TestOrderedFlowsOnBehindADeadMessage(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a=1", "a=2")
	r := b.worker("orders", Options{Ordered: true, Retry: group.Retry{Attempts: 1}})
	r.mustGet("1")
	r.must(r.Nack(1, Failure{}))
	r.mustGet("2")
}

func TestOrderedAndOtherSessionsDoNotMix(t *testing.T) {
	b := start(t, 1)
	b.worker("orders", Options{Ordered: true})
	var inUse *group.InUseError
	if err := b.reader("orders", Options{Ack: true}).Start(); !errors.As(err, &inUse) {
		t.Errorf("it is let in: %v", err)
	}
}
