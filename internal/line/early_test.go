package line_test

import (
	"testing"

	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
)

// publishEarly creates a topic and publishes "first" to each of its partitions before anybody can
// see the topic.
func publishEarly(s store.Store, name string, partitions int, config string) (store.Topic, error) {
	t, err := s.CreateTopic(name, partitions, config)
	for i := 0; i < partitions && err == nil && name == "orders"; i++ {
		var p store.Partition
		if p, err = s.Partition(name, i); err == nil {
			_, err = store.AppendAndWait(p, newBatch("first"))
		}
	}
	return t, err
}

// A follower that waits for a topic gets the messages that were published before it saw the topic.
func TestAFollowerThatWaitsForATopicGetsItsFirstMessage(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{partitions: 2, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Create: publishEarly}
	}})
	var waiting []*client
	for _, r := range []string{"?follow&from=end", "?follow&from=-1", "?follow&from=-0", "?follow&group=a&start=end", "?follow&ack&group=b&start=end", "?follow&ack&start=end"} {
		waiting = append(waiting, b.dial(b.consumers, "orders"+r+"\n"))
	}
	for _, c := range waiting {
		c.mustBeSilent()
	}
	b.produce("orders\nsecond\n")
	for _, c := range waiting {
		got := []string{c.line(), c.line(), c.line()}
		if count(got, "first") != 2 || count(got, "second") != 1 {
			t.Errorf("%q", got)
		}
	}
}

func count(list []string, s string) (n int) {
	for _, l := range list {
		if l == s {
			n++
		}
	}
	return n
}

// A group begins where it was first asked for, whether the topic is there or not.
func TestAGroupThatAskedForATopicBeforeItWasMadeBeginsAtItsFirstMessage(t *testing.T) {
	for name, request := range map[string]string{
		"a drain": "orders?group=g&start=end", "one that acknowledges": "orders?group=g&ack&start=end", "a follower": "orders?follow&ack&group=g&start=end",
	} {
		for _, restarts := range []string{"", " over a restart before", " over one behind"} {
			t.Run(name+restarts, func(t *testing.T) {
				b := start(t, setup{partitions: 3})
				b.publish("stock", "other")
				c := b.dial(b.consumers, request+"\n")
				if name == "a follower" {
					await(t, "it waits", func() bool { return b.broker.KeepsGroup("g") })
					c.reset()
				} else {
					c.mustEnd("")
				}
				if restarts == " over a restart before" {
					b.restart()
				}
				b.publish("orders", "first")
				b.publish("orders", "second") // in another partition
				if restarts == " over one behind" {
					b.restart()
				}
				follower := b.dial(b.consumers, "orders?follow&ack&group=g&start=end\n")
				if got := []string{follower.line(), follower.line()}; count(got, "first") != 1 || count(got, "second") != 1 {
					t.Fatalf("%q", got)
				}
				follower.send("+2\n")
				follower.finish().mustEnd("")
				b.restart()
				b.mustDrain("orders?group=g&start=end", "")
			})
		}
	}
}

// Of a topic that was deleted nothing stays, and its name may be expected again.
func TestAnExpectedTopicThatIsDeletedIsForgotten(t *testing.T) {
	b := start(t, setup{})
	b.mustDrain("orders?group=g&start=end", "")
	b.publish("orders", "first")
	b.delete("orders")
	b.publish("orders", "of another topic")
	b.mustDrain("orders?group=g&start=end", "")
	b.publish("orders", "second")
	b.mustDrain("orders?group=g&start=end", "second\n")

	b.mustDrain("stock?group=h&start=end", "")
	awaitMembers(b, "h", 0)
	if got := b.drain("?delete&group=h&execute"); got != "group\ttopic\tpartition\tposition\nh\tstock\t0\t0\n" {
		t.Errorf("answered %q", got)
	}
	b.publish("stock", "before h asks")
	b.mustDrain("stock?group=h&start=end", "")
	if p := b.position("h", "stock", 0); p.Key() != (group.Key{Group: "h", Topic: "stock"}) || p.Committed() != 1 {
		t.Errorf("%v at %d", p.Key(), p.Committed())
	}
}
