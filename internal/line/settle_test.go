package line_test

import (
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

func TestAcknowledgementsOfWhatWasNotSentAreRefused(t *testing.T) {
	for _, said := range []string{"=0", "=4", "=3-4", "=0-1", "=1-9223372036854775807", "-4 dead", "-4 retry=1s", "-0 dead"} {
		t.Run(said, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first", "second", "third")
			c := b.dial(b.consumers, "orders?follow&ack\n")
			c.mustSay("first", "second", "third")
			c.send("=2\n" + said + "\n")
			number, _, _ := strings.Cut(said, " ")
			c.finish().mustRefuse("BADREQUEST", number, "not sent")
			b.mustDrain("orders", "first\nthird\n")
		})
	}
}

// What was said out of turn is confirmed as that, and a count as a count.
func TestConfirmOfWhatIsAcknowledgedOutOfTurn(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	b := start(t, setup{})
	b.publish("orders", numbered(6, 0)...)
	c := b.dial(b.consumers, "orders?format=json&follow&ack&confirm\n")
	for range 6 {
		c.line()
	}
	c.send("=5\n")
	c.mustSay("=5")
	c.send("=2-3\n")
	c.mustSay("=2-3")
	c.send("=5\n=2\n+0\n") // which changes nothing
	c.mustBeSilent()
	c.send("+1\n")
	c.mustSay("+1")
	b.restart()
	b.mustDrain("orders", join([]string{"message 3 ", "message 5 "}))
}

func TestAFailureSaysWhenTheMessageComesAgain(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?follow&ack&retry=1h&attempts=3\n")
	c.mustSay("first", "second")
	c.send("-1 retry=1ms the oven is hot\n-2 the oven is hot\n")
	c.mustSay("first")
	c.send("-3 retry=1ms\n")
	c.mustSay("first")
	c.send("-4 retry=1ms and this is the third time\n") // which no time helps
	awaitCommitted(b, "default", 1)
	c.mustBeSilent()
	if got := b.drain("orders.dlq?format=json"); !strings.Contains(got, `"mbus-attempts","3","mbus-reason","and this is the third time"]`) {
		t.Errorf("the dead letter is %q", got)
	}
}

func TestAFailureMayBeTheLast(t *testing.T) {
	for options, reason := range map[string]string{"": "no such customer", "&attempts=0": ""} {
		b := start(t, setup{})
		b.publish("orders", "bad", "good")
		c := b.dial(b.consumers, "orders?follow&ack&retry=1h"+options+"\n")
		c.mustSay("bad", "good")
		c.send("-1 dead " + reason + "\n")
		awaitCommitted(b, "default", 1)
		c.send("-1 dead again\n-1 retry=1s\n") // it is settled
		c.send("+2\n")
		c.mustConfirm()
		got := b.drain("orders.dlq?format=json")
		if !strings.Contains(got, `"mbus-attempts","1","mbus-reason","`+reason+`"]`) || strings.Count(got, "\n") != 1 {
			t.Errorf("the dead letters are %q", got)
		}
	}
}

func TestWhatHasNoDeadLettersCannotBeDead(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders.dlq", "bad")
	b.publish("orders", "first")
	b.mustDrain("orders", "first\n")
	awaitMembers(b, "default", 0)
	for _, topic := range []string{"orders.dlq", broker.PositionsTopic} {
		c := b.dial(b.consumers, topic+"?follow&ack&format=json&window=1\n")
		c.mustTell(told{0, 1})
		c.send("-1 dead\n")
		c.finish().mustRefuse("BADREQUEST", "no dead letters of its own")
		awaitMembers(b, "default", 0)
		if got := b.drain("?groups&topic=" + topic); !strings.HasSuffix(got, "\t0\t0\t1\n") {
			t.Errorf("%s: listed is %q", topic, got)
		}
	}
}

// "+0", and a count that was said before, is all that the client says for longer than
// the time-out, several times over. Where the machine has been busy for so long, which
// is chance, it is cut off, and another group is looked at.
func TestAClientThatSaysThatItIsAtWorkIsNotCutOff(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	for _, said := range []string{"+0\n", "+1\n", "=1\n"} {
		t.Run(brief(said), func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first", "second", "third")
			for attempts := 0; ; attempts++ {
				if attempts == 20 {
					t.Fatal("it is always cut off")
				}
				c := b.dial(b.consumers, "orders?follow&ack&window=2&ack-timeout=200ms&group=g"+itoa(int64(attempts))+"\n")
				c.mustSay("first", "second")
				if said != "+0\n" {
					c.send(said)
					c.mustSay("third")
				}
				begun, inTime := time.Now(), true
				for inTime && time.Since(begun) < time.Second {
					time.Sleep(20 * time.Millisecond) // this is how long the client is silent
					_, err := c.Write([]byte(said))
					inTime = err == nil
				}
				if inTime && c.finish().rest() == "" {
					return
				}
			}
		})
	}
}
