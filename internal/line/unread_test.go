package line_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
)

// Messages that a group has not consumed are kept past their retention, and when they go after
// all the group gets an error, whichever way it reads.
func TestUnreadMessagesAreKeptLongerAndTheirLossIsTold(t *testing.T) {
	b := start(t, setup{})
	of := func(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
	if _, err := b.broker.CreateTopic("orders", 1, map[string]string{
		broker.ConfigRetention: of(time.Hour), broker.ConfigRetentionUnread: of(3 * time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	messages := []string{"a", "b", "c", "d", "e", "f"}
	b.publish("orders", messages...)
	for _, name := range []string{"default", "drains", "acks", "follows"} {
		b.mustDrain("orders?n=2&group="+name, "a\nb\n")
	}
	await(t, "what they have consumed is durable", func() bool {
		for _, name := range []string{"default", "drains", "acks", "follows"} {
			if at, _ := b.broker.CommittedOffset(name, "orders", 0); at.Offset != 2 {
				return false
			}
		}
		return true
	})
	left := func() int64 {
		topic, err := b.broker.Topic("orders")
		if err != nil {
			t.Fatal(err)
		}
		start, high := topic.Partitions()[0].Offsets()
		return high - start
	}
	b.broker.Retain(time.Now().Add(2 * time.Hour))
	if left() != 6 {
		t.Fatalf("%d messages are left that four groups have not consumed", left())
	}
	follower := b.dial(b.consumers, "orders?group=follows&follow&ack&window=1\n")
	follower.mustSay("c")
	b.broker.Retain(time.Now().Add(4 * time.Hour))
	if left() != 0 {
		t.Fatalf("%d messages are left that are too old even so", left())
	}
	gap := goneBelow(6)
	follower.send("+1\n")
	follower.mustSay(gap)
	follower.finish().mustEnd("")
	b.mustDrain("orders", gap+"\n")
	b.mustDrain("orders?group=drains&format=json", gap+"\n")
	c := b.dial(b.consumers, "orders?group=acks&follow&ack\n")
	c.mustSay(gap)
	c.finish().mustEnd("")
	for _, name := range []string{"default", "drains", "acks", "follows"} {
		await(t, "group "+name+" is behind the gap that was reported", func() bool {
			answer := b.drain("?groups&format=json&group=" + name)
			return strings.Contains(answer, `"position":6,`) && strings.Contains(answer, `"lost":4}`)
		})
		if n := len(b.book.Lines("level=WARN", "group="+name, "topic=orders", "partition=0", "first=2", "next=6")); n != 1 {
			t.Errorf("it was said %d times that group %q loses messages", n, name)
		}
	}
	b.publish("orders", "new")
	for _, name := range []string{"default", "drains", "acks", "follows"} {
		b.mustDrain("orders?group="+name, "new\n")
	}
}

// What comes late has its full time from then on, however old it says it is: what is
// put back from the dead letters, and what was written long ago somewhere else. That
// holds over a restart.
func TestWhatComesLateIsKeptForItsTime(t *testing.T) {
	b := start(t, setup{})
	if _, err := b.broker.CreateTopic("jobs", 1, map[string]string{broker.ConfigRetention: fmt.Sprint(time.Hour.Milliseconds())}); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-1000 * time.Hour).UnixMilli()
	b.publish("jobs?format=json", fmt.Sprintf(`{"payload":"iron","ts":%d}`, old))
	c := b.dial(b.consumers, "jobs?group=house&follow&ack&attempts=1\n")
	c.mustSay("iron")
	c.send("-1 no water\n")
	await(t, "it is a dead letter", func() bool { return b.drain("jobs.dlq?from=beginning") != "" })
	c.finish().mustEnd("")
	await(t, "it goes when the group has done with it", func() bool {
		b.broker.Retain(time.Now().Add(2 * time.Hour))
		return b.drain("jobs?from=beginning") == ""
	})
	b.mustDrain("jobs.dlq?redrive&to=all", "+1\n") // it is not there any more
	for range 2 {
		b.broker.Sweep()
		b.broker.Retain(time.Now().Add(50 * time.Minute))
		b.mustDrain("jobs?from=beginning", "iron\n")
		b.restart()
	}
	b.mustDrain("jobs?group=house", "iron\n")
	await(t, "it goes when it is old", func() bool {
		b.broker.Retain(time.Now().Add(70 * time.Minute))
		return b.drain("jobs?from=beginning") == ""
	})
}
