package line_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/test/brokertest"
)

// A worker takes messages with one connection after the other, and dies of each that
// is "bad". It returns how often each message came when only the good ones are done.
func (b *bus) work(request string, good int) map[string]int {
	b.t.Helper()
	came, done := make(map[string]int), make(map[string]bool)
	for len(done) < good {
		c := b.dial(b.consumers, request)
		for n := 1; len(done) < good; n++ {
			message := c.line()
			if came[message]++; message == "bad" {
				c.reset()
				break
			}
			c.send(fmt.Sprintf("+%d\n", n))
			done[message] = true
		}
		if len(done) == good {
			c.finish().rest() // a bad one may lie there that nobody has looked at
		}
		awaitMembers(b, "g", 0)
	}
	return came
}

func TestAMessageThatKillsItsWorkerBecomesADeadLetter(t *testing.T) {
	brokertest.Slow(t)
	for _, options := range []string{"window=1", "window=3", "", "window=1&ordered", "window=1&format=lines&ack-timeout=1h"} {
		t.Run(options, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first", "second", "bad", "third", "fourth")
			request := "orders?group=g&follow&ack&attempts=3&retry=1ms&" + options
			came := b.work(strings.TrimSuffix(request, "&")+"\n", 4)
			for came["bad"] < 3 { // the good ones were done before
				c := b.dial(b.consumers, strings.TrimSuffix(request, "&")+"\n")
				c.mustSay("bad")
				came["bad"]++
				c.reset()
				awaitMembers(b, "g", 0)
			}
			awaitCommitted(b, "g", 5)
			if came["bad"] != 3 || came["first"] != 1 || came["second"] != 1 {
				t.Errorf("they came so often: %v", came)
			}
			letters := b.drain("orders.dlq?format=json")
			if strings.Count(letters, "\n") != 1 || !strings.Contains(letters, `"mbus-attempts","3","mbus-reason","connection lost"],"key":null,"payload":"bad"`) {
				t.Errorf("the dead letters are %q", letters)
			}
			b.restart()
			b.mustDrain("orders?group=g", "")
		})
	}
}

// Only the oldest one has failed; the others come again at once, as if nothing had been.
func TestTheRestOfALostConnectionIsGivenBackAtOnce(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	for _, options := range []string{"follow&ack", "ack"} {
		t.Run(options, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", numbered(4, 0)...)
			request := "orders?group=g&retry=1h&format=json&" + options + "\n"
			c := b.dial(b.consumers, request)
			c.mustTell(told{0, 1}, told{1, 1}, told{2, 1}, told{3, 1})
			c.send("+1\n=3\n")
			c.reset()
			awaitMembers(b, "g", 0)
			c = b.dial(b.consumers, request)
			c.mustTell(told{3, 1})
			b.mustDrain("?groups&group=g", groupsHead+"g\torders\t0\t1\t4\t2\t1\t1\t1\t2\n")
			b.restart() // which forgets the back-off
			c = b.dial(b.consumers, request)
			c.mustTell(told{1, 2}, told{3, 1})
		})
	}
}

func TestALostConnectionThatHasAcknowledgedAllCostsNothing(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?group=g&follow&ack&attempts=1&window=2\n")
	c.mustSay("first", "second")
	c.send("=2\n+1\n")
	awaitCommitted(b, "g", 2)
	c.reset()
	awaitMembers(b, "g", 0)
	b.restart()
	if b.dial(b.consumers, "?topics&topic=orders.dlq\n").mustRefuse("GONE"); b.drain("orders?group=g") != "" {
		t.Error("something comes again")
	}
}

// Neither is what a worker does that is to end, nor what the broker does.
func TestAnEndInGoodOrderIsNoAttempt(t *testing.T) {
	for name, end := range map[string]func(*bus, *client){
		"close":                 func(_ *bus, c *client) { c.Close() },
		"half-close":            func(_ *bus, c *client) { c.mustConfirm() },
		"half-close, then dies": func(_ *bus, c *client) { c.finish().reset() },
		"stop":                  func(b *bus, _ *client) { b.restart() },
		"a stop that a client is lost in": func(b *bus, c *client) {
			b.stop()
			c.reset()
			b.begin()
		},
		"an answer that is none": func(_ *bus, c *client) {
			c.send("what?\n")
			c.mustRefuse("BADREQUEST")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for brokers to stop
			b := start(t, setup{})
			b.publish("orders", "first", "second")
			for range 3 {
				c := b.dial(b.consumers, "orders?group=g&follow&ack&attempts=1&format=json\n")
				c.mustTell(told{0, 1}, told{1, 1})
				end(b, c)
				awaitMembers(b, "g", 0)
			}
			b.mustDrain("orders?group=g", "first\nsecond\n")
		})
	}
}

// The client closes in good order while the broker is writing, so its system resets the
// connection: that it has ended in good order was there before.
func TestACloseWhileTheBrokerWritesIsNoAttempt(t *testing.T) {
	b := start(t, setup{})
	for i := range int64(20) {
		topic := "orders" + itoa(i)
		c := b.dial(b.consumers, topic+"?group=g&follow&ack&attempts=1&window=1000\n")
		awaitMembers(b, "g", 1)
		c.Close() // with nothing unread
		b.publish(topic, numbered(3, 100_000)...)
		awaitMembers(b, "g", 0)
		b.mustDrain(topic+"?group=g", join(numbered(3, 100_000)))
		awaitMembers(b, "g", 0)
	}
}

// The broker learns of the reset as it writes, or as it reads, which is chance: what was
// said before counts in any case, and so the next message has failed, not the first.
func TestWhatWasSaidBeforeAConnectionWasLostCounts(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(40, 100_000)...)
	for i := range int64(20) {
		name := "g" + itoa(i)
		c := b.dial(b.consumers, "orders?follow&ack&window=1000&retry=1h&group="+name+"\n")
		c.line()
		c.send("+1\n")
		c.reset() // with a good part unread, and more on its way
		awaitMembers(b, name, 0)
		p := b.position(name, "orders", 0)
		if got := p.FailuresIn(group.Span{To: 40}); p.Committed() != 1 || len(got) != 1 || got[0] != (group.Failure{Offset: 1, Attempts: 1}) {
			t.Fatalf("committed is %d, and failed have %v", p.Committed(), got)
		}
		p.Close()
	}
}

func TestAReaderThatStallsHasFailed(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = moment }})
	b.publish("orders", numbered(100, 100_000)...)
	c := b.dialWith(small, b.consumers, "orders?group=g&follow&ack&window=1000&retry=1h\n")
	p := b.position("g", "orders", 0)
	defer p.Close()
	await(t, "it has failed", func() bool { return len(p.FailuresIn(group.Span{To: 100})) > 0 })
	awaitMembers(b, "g", 0)
	if got := p.FailuresIn(group.Span{To: 100}); len(got) != 1 || got[0].Offset != 0 {
		t.Errorf("failed have %v", got)
	}
	c.mustBeReset()
	if s, due := p.Free(100, time.Now()); s.From != 1 || !due.IsZero() {
		t.Errorf("free are %v, due %v", s, due)
	}
}

// A group that has been given messages and has acknowledged none is to be seen, with all
// that it has to do, when its consumers have left. One that acknowledges by closing is not.
func TestAGroupThatHasReadAndNotAcknowledgedIsListed(t *testing.T) {
	for name, leave := range map[string]func(*client){
		"close": func(c *client) { c.Close() }, "half-close": (*client).mustConfirm, "reset": (*client).reset,
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first", "second")
			c := b.dial(b.consumers, "orders?group=g&follow&ack\n")
			c.mustSay("first", "second")
			b.mustDrain("?groups&group=g", groupsHead+"g\torders\t0\t0\t2\t2\t2\t0\t1\t1\n")
			leave(c)
			awaitMembers(b, "g", 0)
			for range 2 {
				got := b.drain("?groups&group=g")
				if !strings.HasPrefix(got, groupsHead+"g\torders\t0\t0\t2\t2\t0\t") {
					t.Errorf("listed is %q", got)
				}
				b.restart()
			}
		})
	}
}
