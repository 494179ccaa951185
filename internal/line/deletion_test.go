package line_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
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

// Whatever a follower waits for, it gets an error line when its topic is deleted.
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
			c.mustGetMore(b)
			c.mustRefuse("GONE", `"orders"`)
			b.publish("orders", "another")
			b.dial(b.consumers, "orders?follow&ack&n=1\n").mustSay("another")
		})
	}
}

// mustGetMore waits until something comes, and fails the test if the broker answers 500 other requests meanwhile.
func (c *client) mustGetMore(b *bus) {
	c.t.Helper()
	for n := 0; ; n++ {
		c.SetReadDeadline(time.Now().Add(time.Millisecond)) // of bytes that have come
		if _, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if n == 500 {
			c.reset() // or the broker goes on to wait
			c.t.Fatal("nothing comes")
		}
		b.drain("?topics")
	}
	c.patient()
}

// awaitGroups waits until ?groups shows a line that begins so.
func (b *bus) awaitGroups(line string) {
	b.t.Helper()
	await(b.t, line, func() bool { return strings.Contains("\n"+b.drain("?groups"), "\n"+line) })
}

// The broker goes on, so -SHUTDOWN, after which clients come again, would be wrong.
func TestReadersWithMoreToComeHearOfADeletion(t *testing.T) {
	brokertest.Slow(t)
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

// After -GONE a client ends, after -SHUTDOWN it comes again.
func TestADeletionAndAStopAreDifferentToClientsThatWait(t *testing.T) {
	ends := map[string]struct {
		end  func(b *bus) (wait func())
		code string
	}{
		"deletion": {func(b *bus) func() { b.delete("orders"); return func() {} }, "GONE"},
		"stop":     {(*bus).stopping, "SHUTDOWN"},
	}
	for _, begin := range []struct {
		name string
		f    func(b *bus) *client
	}{
		{"a follower", func(b *bus) *client { return b.follows("orders?follow&group=a") }},
		{"a follower that acknowledges", func(b *bus) *client { return b.follows("orders?follow&ack&group=a") }},
		{"a follower that is to acknowledge", func(b *bus) *client { return b.follows("orders?follow&ack&window=1") }},
		{"a replay", func(b *bus) *client { return b.follows("orders?follow&from=0") }},
		{"a replay in batches", func(b *bus) *client {
			c := b.dial(b.consumers, "orders?follow&from=0&format=batch\n")
			c.awaitBytes(20)
			return c
		}},
	} {
		for name, e := range ends {
			t.Run(begin.name+", "+name, func(t *testing.T) {
				t.Parallel()
				b := start(t, setup{})
				b.publish("orders", "first")
				c := begin.f(b)
				wait := e.end(b)
				rest := c.rest()
				if ok, _ := regexp.MatchString("-"+e.code+" .*\n$", rest); !ok {
					t.Errorf("it ends as %s", brief(rest))
				}
				wait()
			})
		}
	}
}

// follows is a client that has got the first message.
func (b *bus) follows(request string) *client {
	b.t.Helper()
	c := b.dial(b.consumers, request+"\n")
	c.mustSay("first")
	return c
}

// A producer whose batch the log refuses gets the reason.
func TestAProducerGetsWhyTheLogHasEnded(t *testing.T) {
	for err, code := range map[error]string{store.ErrDeleted: "GONE", store.ErrClosed: "SHUTDOWN", store.ErrMoved: "SHUTDOWN", store.ErrUnavailable: "SHUTDOWN"} {
		for _, when := range []string{"refused", "not durable"} {
			t.Run(code+", "+when, func(t *testing.T) {
				b := start(t, setup{wrap: func(s store.Store) store.Store {
					return &storefault.Store{Store: s, Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
						if when == "refused" {
							return err
						}
						return store.Append(p, batches, func(base int64, _ error) { done(base, err) })
					}}
				}})
				b.dial(b.producers, "orders\nfirst\n").mustRefuse(code)
			})
		}
	}
}
