package line_test

import (
	"fmt"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

func TestFollowerGetsWhatIsThereAndWhatComes(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?follow\n")
	c.mustSay("first")
	c.mustBeSilent()
	for i := range 20 {
		m := fmt.Sprint("message ", i)
		b.publish("orders", m)
		c.mustSay(m)
	}
}

func TestFollowerWaitsForATopicThatDoesNotExist(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.consumers, "orders?follow\n")
	c.mustBeSilent()
	b.publish("others", "not this one")
	c.mustBeSilent()
	if topics := b.broker.Topics(); len(topics) != 1 {
		t.Fatalf("waiting made a topic: there are %d", len(topics))
	}
	b.publish("orders", "first")
	c.mustSay("first")
}

func TestFollowerGetsEachPartition(t *testing.T) {
	b := start(t, setup{partitions: 3})
	c := b.dial(b.consumers, "orders?follow\n")
	for i := range 9 {
		m := fmt.Sprint("message ", i)
		b.publish("orders", m)
		c.mustSay(m)
	}
}

func TestFollowerInBatchesGetsNoEndLine(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?follow&format=batch\n")
	c.mustSay("@0")
	p, err := c.r.Peek(61) // the header of a batch
	if err != nil || p[7] != 0 {
		t.Fatalf("%q, %v where the batch at offset 0 was to come", p, err)
	}
}

func TestFollowerEndsAfterNMessages(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.consumers, "orders?follow&n=2\n")
	b.publish("orders", "first")
	b.publish("orders", "second", "third")
	c.mustEnd("first\nsecond\n")
	awaitMembers(b, "default", 0)
	b.mustDrain("orders", "third\n")
}

func TestEachGroupThatFollowsGetsEverything(t *testing.T) {
	b := start(t, setup{})
	x := b.dial(b.consumers, "orders?follow&group=x\n")
	y := b.dial(b.consumers, "orders?follow&group=y\n")
	b.publish("orders", "first", "second")
	x.mustSay("first", "second")
	y.mustSay("first", "second")
}

func TestGroupBeginsAtTheEndIfItSaysSo(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "before")
	c := b.dial(b.consumers, "orders?follow&group=late&start=end\n")
	c.mustBeSilent()
	b.publish("orders", "after")
	c.mustSay("after")
	awaitCommitted(b, "late", 2)
	c.reset()
	awaitMembers(b, "late", 0)
	b.publish("orders", "later")
	b.mustDrain("orders?group=late&start=beginning", "later\n") // it has a position now
}

// awaitMembers waits until so many connections use a group.
func awaitMembers(b *bus, group string, n int) {
	b.t.Helper()
	await(b.t, fmt.Sprintf("group %s has %d members", group, n), func() bool { return len(b.broker.Members(group)) == n })
}

func TestFollowersOfOneGroupShare(t *testing.T) {
	b := start(t, setup{})
	x := b.dial(b.consumers, "orders?follow&ack&window=3\n")
	y := b.dial(b.consumers, "orders?follow&ack&window=3\n")
	awaitMembers(b, "default", 2)
	b.publish("orders", numbered(6, 0)...)
	var texts []string
	for _, c := range []*client{x, y} {
		texts = append(texts, c.line()+"\n"+c.line()+"\n"+c.line()+"\n")
		c.mustBeSilent()
	}
	mustBeOnce(t, numbered(6, 0), texts...)
}

func TestWhatADeadFollowerHeldComesAtOnceInOrder(t *testing.T) {
	brokertest.Slow(t)
	for name, die := range map[string]func(*client){
		"reset": (*client).reset, "closed": func(c *client) { c.Close() }, "half closed": func(c *client) { c.finish() },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{})
			messages := numbered(10, 0)
			b.publish("orders", messages...)
			dies := b.dial(b.consumers, "orders?follow&ack&retry=1h\n")
			dies.mustSay(messages...)
			takes := b.dial(b.consumers, "orders?follow&ack&retry=1h\n")
			takes.mustBeSilent()
			dies.send("+3\n")
			die(dies)
			lost := messages[3:]
			if name == "reset" { // the oldest has failed
				lost = messages[4:]
			}
			takes.mustSay(lost...)
			takes.mustBeSilent()
		})
	}
}

func TestWithoutAckWhatTheSystemReceivedCounts(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.consumers, "orders?follow\n")
	b.publish("orders", "first", "second")
	c.mustSay("first", "second")
	awaitCommitted(b, "default", 2)
	c.reset()
	awaitMembers(b, "default", 0)
	b.publish("orders", "third")
	b.restart()
	b.mustDrain("orders", "third\n")
}

// awaitCommitted waits until a group has consumed the first n messages of
// partition 0 of orders.
func awaitCommitted(b *bus, group string, n int64) {
	b.t.Helper()
	await(b.t, fmt.Sprintf("group %s comes to %d", group, n), func() bool {
		at, ok := b.broker.CommittedOffset(group, "orders", 0)
		return ok && at.Offset == n
	})
}

// A client that closes wholly looks like one that closes its sending side until
// its system answers a message with a reset.
func TestMessageThatOnlyAClosedClientGotComesAgain(t *testing.T) {
	b := start(t, setup{})
	for range 20 {
		c := b.dial(b.consumers, "orders?follow\n")
		b.publish("orders", "first")
		c.mustSay("first")
		c.Close()
		b.publish("orders", "second")
		awaitMembers(b, "default", 0)
		if got := b.drain("orders"); got != "second\n" && got != "first\nsecond\n" {
			t.Fatalf("%q comes again", got)
		}
	}
}

func TestWithoutAckWhatNobodyReceivedComesAgain(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(2000, 10_000) // more than the system's buffers take
	for at := 0; at < len(messages); at += 500 {
		b.publish("orders", messages[at:at+500]...)
	}
	stalls := b.dialWith(small, b.consumers, "orders?follow\n")
	stalls.mustSay(messages[:10]...)
	stalls.reset()
	awaitMembers(b, "default", 0)
	got := strings.Split(strings.TrimSuffix(b.drain("orders"), "\n"), "\n")
	if len(got) > len(messages) || len(got) < 1000 {
		t.Fatalf("%d of %d messages come again", len(got), len(messages))
	}
	for i, want := range messages[len(messages)-len(got):] {
		if got[i] != want {
			t.Fatalf("message %d of what comes again is %s, not %s", i, brief(got[i]), brief(want))
		}
	}
}

func TestFollowerThatHasClosedItsSendingSideGoesOn(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.consumers, "orders?follow\n").finish()
	b.publish("orders", "first")
	c.mustSay("first")
	b.publish("orders", "second")
	c.mustSay("second")
	c.Close()
	b.publish("orders", "third") // the answer is a reset, by which the broker learns it
	awaitMembers(b, "default", 0)
}

func TestStoppingTheBrokerEndsFollowers(t *testing.T) {
	for _, options := range []string{"follow", "follow&ack", "follow&from=end", "follow&group=x&ack&ordered"} {
		t.Run(options, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first")
			c := b.dial(b.consumers, "orders?"+options+"\n")
			if !strings.Contains(options, "from") {
				c.mustSay("first")
			}
			waits := b.dial(b.consumers, "none?"+options+"\n")
			b.drain("others")    // what came before it has been accepted
			waits.mustBeSilent() // both are under way
			done := make(chan struct{})
			go func() {
				defer close(done)
				b.stop()
			}()
			c.mustRefuse("SHUTDOWN")
			waits.mustRefuse("SHUTDOWN")
			<-done
		})
	}
}

func TestStoppingTheBrokerEndsAFollowerThatHasClosedItsSendingSide(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?follow\n").finish()
	c.mustSay("first")
	c.mustBeSilent()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.stop()
	}()
	c.mustRefuse("SHUTDOWN")
	<-done
}

func TestDeletedTopicTellsItsFollowers(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	followers := []*client{
		b.dial(b.consumers, "orders?follow\n"),
		b.dial(b.consumers, "orders?follow&group=x&ack\n"),
		b.dial(b.consumers, "orders?follow&from=0\n"),
	}
	for _, c := range followers {
		c.mustSay("first")
		c.mustBeSilent()
	}
	if got := b.drain("?delete&topic=orders&execute"); !strings.HasPrefix(got, "topic\t") {
		t.Fatalf("answered %q", got)
	}
	for _, c := range followers {
		c.mustRefuse("GONE", `"orders"`)
	}
}

func TestStalledFollowerDelaysNoOther(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = never }})
	stalls := b.dialWith(small, b.consumers, "orders?follow&group=stalls\n")
	reads := b.dial(b.consumers, "orders?follow&group=reads\n")
	messages := numbered(1000, 10_000)
	for at := 0; at < len(messages); at += 100 {
		b.publish("orders", messages[at:at+100]...)
		reads.mustSay(messages[at : at+100]...)
	}
	stalls.mustSay(messages...) // it has lost nothing by that
}

// Nothing is sent to these clients: only their resets show that they are gone.
func TestFollowersThatHaveHalfClosedAreGoneWithAReset(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	for _, request := range []string{"orders?follow&group=g", "stock?follow&group=g"} { // of the latter there is no topic
		c := b.dial(b.consumers, request+"\n").finish()
		awaitMembers(b, "g", 1)
		if strings.HasPrefix(request, "orders") {
			c.mustSay("first")
		}
		c.reset()
		awaitMembers(b, "g", 0)
	}
}
