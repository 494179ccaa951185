package line_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// keyedMessages makes n messages of so many keys, as keyed lines, in order.
func keyedMessages(n, keys int) []string {
	messages := make([]string, n)
	for i := range messages {
		messages[i] = fmt.Sprintf("k%d\t%d", i*7%keys, i)
	}
	return messages
}

func TestOrderedMembersDieAndTheOrderIsKept(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders?keyed", "a\t1", "a\t2", "b\t3")
	dies := b.dial(b.consumers, "orders?keyed&follow&ack&ordered&retry=10ms\n")
	dies.mustSay("a\t1", "b\t3")
	lives := b.dial(b.consumers, "orders?keyed&follow&ack&ordered\n")
	lives.mustBeSilent()
	dies.reset()
	if got := []string{lives.line(), lives.line()}; !slices.Contains(got, "a\t1") || !slices.Contains(got, "b\t3") { // the former has failed
		t.Fatalf("%q come", got)
	}
	lives.send("+2\n")
	lives.mustSay("a\t2")
}

// An orderBook is what members of an ordered group tell of what they do.
type orderBook struct {
	mu   sync.Mutex
	out  map[string]bool
	last map[string]int
	done int
	bad  []string
}

func (o *orderBook) take(message string) {
	var n int
	key, value, _ := strings.Cut(message, "\t")
	fmt.Sscan(value, &n)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.out[key] {
		o.bad = append(o.bad, fmt.Sprintf("two of key %s are out, one is %d", key, n))
	}
	if last, ok := o.last[key]; ok && n <= last {
		o.bad = append(o.bad, fmt.Sprintf("of key %s %d came after %d", key, n, last))
	}
	o.out[key], o.last[key] = true, n
}

// finish is called before the acknowledgement is sent: later the next may come.
func (o *orderBook) finish(message string) (all int) {
	key, _, _ := strings.Cut(message, "\t")
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out[key] = false
	o.done++
	return o.done
}

func TestOrderedMembersKeepTheOrderOfEachOfManyKeys(t *testing.T) {
	const messages = 3000
	b := start(t, setup{partitions: 2})
	book := &orderBook{out: make(map[string]bool), last: make(map[string]int)}
	var members []*client
	for range 2 {
		members = append(members, b.dial(b.consumers, "orders?keyed&follow&ack&ordered&window=50\n"))
	}
	var all sync.WaitGroup
	for i, c := range members {
		rng := rand.New(rand.NewPCG(uint64(i), 3))
		all.Go(func() { work(c, book, messages, members, rng) })
	}
	for sent := 0; sent < messages; sent += 500 {
		b.publish("orders?keyed", keyedMessages(messages, 97)[sent:sent+500]...)
	}
	all.Wait()
	if len(book.bad) > 0 || book.done != messages {
		t.Fatalf("%d of %d messages came; %q", book.done, messages, book.bad[:min(5, len(book.bad))])
	}
}

// work takes messages and acknowledges them, some at a time, until all members
// together have done all.
func work(c *client, book *orderBook, all int, members []*client, rng *rand.Rand) {
	var held []string
	for acked := 0; ; {
		message, err := c.r.ReadString('\n')
		if err != nil {
			return // another member knows that all is done
		}
		message = strings.TrimSuffix(message, "\n")
		book.take(message)
		held = append(held, message)
		if c.r.Buffered() > 0 && rng.IntN(10) > 0 {
			continue // more has come: the window is not empty
		}
		done := 0
		for _, m := range held {
			done = book.finish(m)
		}
		acked += len(held)
		held = held[:0]
		if _, err := fmt.Fprintf(c, "+%d\n", acked); err != nil {
			return
		}
		if done == all {
			for _, m := range members {
				m.CloseWrite()
			}
		}
	}
}

func TestOrderedAndOtherMembersDoNotMix(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	ordered := b.dial(b.consumers, "orders?follow&ack&ordered\n")
	ordered.mustSay("first")
	b.dial(b.consumers, "orders?follow&ack\n").mustRefuse("BUSY", "in use", "with ordered")
	b.dial(b.consumers, "orders\n").mustRefuse("BUSY", "in use")
	b.mustDrain("orders?group=other", "first\n")
	ordered.finish().mustEnd("")
	c := b.dial(b.consumers, "orders?follow&ack\n")
	c.mustSay("first")
	b.dial(b.consumers, "orders?follow&ack&ordered\n").mustRefuse("BUSY", "without ordered")
}
