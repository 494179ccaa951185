package line_test

import (
	"regexp"
	"strings"
	"testing"
)

// delete deletes a topic as an administrator does.
func (b *bus) delete(topic string) {
	b.t.Helper()
	if got := b.drain("?delete&topic=" + topic + "&execute"); !strings.HasPrefix(got, topicsHead) {
		b.t.Fatalf("answered %q", got)
	}
}

var toldDeleted = regexp.MustCompile(`-GONE the topic (|"orders" )was deleted\n$`)

// mustTellOfTheDeletion reads the rest, the end of which is to say that the topic is gone.
func (c *client) mustTellOfTheDeletion() {
	c.t.Helper()
	if rest := c.rest(); !toldDeleted.MatchString(rest) {
		c.t.Fatalf("it ends as %s", brief(rest))
	}
}

// Whatever a follower waits for when its topic is deleted, it is told.
func TestFollowersThatWaitForSomethingElseHearOfADeletion(t *testing.T) {
	for name, until := range map[string]func(c *client){
		"for an acknowledgement": func(c *client) { c.mustSay("first") },
		"for one, after a failure": func(c *client) {
			c.mustSay("first")
			c.send("-1 not yet\n")
			c.mustSay("first")
		},
		"for a message that has failed": func(c *client) {
			c.mustSay("first")
			c.send("-1 retry\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, setup{})
			b.publish("orders", "first")
			retry := "&retry=1ms"
			if strings.HasSuffix(name, "failed") {
				retry = "&retry=1h"
			}
			c := b.dial(b.consumers, "orders?follow&ack&window=1"+retry+"\n")
			until(c)
			b.awaitGroups("default\torders\t0\t0\t1\t1\t")
			b.delete("orders")
			c.mustRefuse("GONE", `"orders"`)
			b.publish("orders", "another")
			b.dial(b.consumers, "orders?follow&ack&n=1\n").mustSay("another")
		})
	}
}

// awaitGroups waits until ?groups shows a line that begins so.
func (b *bus) awaitGroups(line string) {
	b.t.Helper()
	await(b.t, line, func() bool { return strings.Contains("\n"+b.drain("?groups"), "\n"+line) })
}

// The broker goes on, so -SHUTDOWN, after which clients come again, would be wrong.
func TestReadersWithMoreToComeHearOfADeletion(t *testing.T) {
	for _, request := range []string{
		"orders", "orders?from=0", "orders?ack", "orders?follow", "orders?follow&from=0", "orders?follow&ack&group=g&window=100000",
		"orders?format=batch", "orders?format=json&follow",
	} {
		t.Run(request, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", numbered(20_000, 500)...)
			c := b.dialWith(small, b.consumers, request+"\n")
			c.awaitBytes(1)
			b.delete("orders")
			c.mustTellOfTheDeletion()
			b.mustDrain("orders", "")
		})
	}
}

func TestADrainThatWaitsForOthersHearsOfADeletion(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	holds := b.dial(b.consumers, "orders?follow&ack&window=1\n")
	holds.mustSay("first")
	c := b.dial(b.consumers, "orders\n")
	c.mustSay("second")
	b.delete("orders")
	holds.mustRefuse("GONE")
	c.mustTellOfTheDeletion()
}

func TestProducersHearOfADeletion(t *testing.T) {
	for name, header := range map[string]string{"at once": "orders", "later": "orders?delay=1h"} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{})
			c := b.dial(b.producers, header+"\nfirst\n")
			c.mustSay("+1")
			b.delete("orders")
			c.send("second\n")
			c.mustRefuse("GONE", "deleted")
			if name == "at once" {
				b.mustDrain("orders", "")
			}
		})
	}
}
