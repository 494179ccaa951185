package line_test

import (
	"strings"
	"testing"

	"mbus/internal/broker"
)

// Whether the client of a follower is there shows only when something is sent to it. One
// that was ended with ^C keeps nobody out of the group.
func TestAFollowerWhoseClientMayBeGoneGivesWay(t *testing.T) {
	for name, others := range map[string]func(b *bus) bool{
		"to a reset": func(b *bus) bool {
			return !strings.Contains(b.drain("?reset&group=g&topic=orders&to=0&execute"), "-BUSY")
		},
		"to a deletion": func(b *bus) bool { return !strings.Contains(b.drain("?delete&group=g&execute"), "-BUSY") },
		"to consumers with ordered": func(b *bus) bool {
			return !strings.Contains(b.drain("orders?ack&ordered&group=g"), "-BUSY")
		},
		"to Kafka users": func(b *bus) bool { _, err := b.broker.UseGroup("g", broker.UseKafka); return err == nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first")
			c := b.dial(b.consumers, "orders?follow&group=g\n")
			c.mustSay("first")
			await(t, "it is consumed", func() bool { return b.position("g", "orders", 0).Committed() == 1 })
			if others(b) {
				t.Fatal("a follower whose client is there ends")
			}
			c.finish()
			await(t, "it ends", func() bool { return others(b) })
			c.mustRefuse("BUSY", `"g"`)
		})
	}
}

func TestAFollowerThatHasClosedItsSendingSideGoesOn(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dialHalfClosed(b.consumers, "orders?follow&group=g\n")
	c.mustSay("first")
	for range 3 {
		b.mustDrain("?reset&group=other&topic=orders&to=0&execute", "group\ttopic\tpartition\tposition\tnew\nother\torders\t0\t0\t0\n")
		b.publish("orders", "more")
		c.mustSay("more")
	}
}

// What others want of another topic is no reason to end it.
func TestAFollowerThatMayBeGoneStaysInItsTopic(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	b.publish("bills", "first")
	c := b.dialHalfClosed(b.consumers, "orders?follow&group=g\n")
	c.mustSay("first")
	await(t, "it is consumed", func() bool { return b.position("g", "orders", 0).Committed() == 1 })
	other := b.dial(b.consumers, "bills?follow&group=g\n")
	other.mustSay("first")
	b.dial(b.consumers, "bills?ack&ordered&group=g\n").mustRefuse("BUSY", `"g"`)
	b.publish("orders", "more")
	c.mustSay("more")
}

// One that acknowledges says when it leaves.
func TestAWorkerNeverGivesWay(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?follow&ack&group=g\n")
	c.mustSay("first")
	c.send("+1\n")
	await(t, "it is consumed", func() bool { return b.position("g", "orders", 0).Committed() == 1 })
	b.dial(b.consumers, "?reset&group=g&topic=orders&to=0&execute\n").mustRefuse("BUSY", `"g"`)
	c.finish().mustEnd("")
}
