package line_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"mbus/internal/batch"
)

// A told message is one of format=json with ack.
type told struct {
	Offset  int64
	Attempt int
}

// mustTell reads messages of format=json.
func (c *client) mustTell(all ...told) {
	c.t.Helper()
	for _, want := range all {
		var got told
		line := c.line()
		if err := json.Unmarshal([]byte(line), &got); err != nil || got != want {
			c.t.Fatalf("got %q, %v, not %+v", line, err, want)
		}
	}
}

func TestTheAttemptIsToldInJSON(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second", "third")
	const request = "orders?group=g&follow&ack&retry=1ms&format=json\n"
	c := b.dial(b.consumers, request)
	c.mustTell(told{0, 1}, told{1, 1}, told{2, 1})
	c.send("-2 no\n")
	c.mustTell(told{1, 2})
	c.send("-4 no\n")
	c.mustTell(told{1, 3})
	b.mustDrain("?groups&group=g", groupsHead+"g\torders\t0\t0\t3\t3\t3\t0\t1\t3\n")
	c.mustConfirm()
	b.restart()
	c = b.dial(b.consumers, request)
	c.mustTell(told{0, 1}, told{1, 3}, told{2, 1})
	c.send("+3\n")
	c.mustConfirm()
	b.mustDrain("?groups&group=g", groupsHead+"g\torders\t0\t3\t3\t0\t0\t0\t0\t1\n")
}

// Without ack nothing fails, so there is nothing to tell.
func TestNoAttemptIsToldWithoutAck(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	for _, request := range []string{"orders?format=json&from=0", "orders?format=json"} {
		if got := b.drain(request); strings.Contains(got, "attempt") {
			t.Errorf("%s gives %q", request, got)
		}
	}
}

// read reads the records of a stream of batches up to its end, as texts.
func (c *client) read() (all []string) {
	c.t.Helper()
	for {
		first, err := c.r.Peek(1)
		if err != nil {
			c.t.Fatal(err)
		}
		if first[0] != 0 { // no batch: those begin with an offset
			if line := c.line(); line == "." {
				return all
			}
			continue
		}
		all = append(all, c.readBatch()...)
	}
}

// readBatch reads one batch, and checks it.
func (c *client) readBatch() (all []string) {
	c.t.Helper()
	head, err := c.r.Peek(batch.HeaderSize)
	if err != nil {
		c.t.Fatal(err)
	}
	size, err := batch.Size(head, 64<<20)
	if err != nil {
		c.t.Fatal(err)
	}
	p := make([]byte, size)
	for n := 0; n < size; {
		m, err := c.r.Read(p[n:])
		if n += m; err != nil {
			c.t.Fatal(err)
		}
	}
	b, _, err := batch.Next(p)
	var it batch.Iterator
	if err == nil {
		err = b.Verify(&it)
	}
	if err == nil {
		err = it.Reset(b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	for it.Next() {
		r := it.Record()
		text := fmt.Sprintf("%d %s %s", r.Offset, r.Key, r.Value)
		for k, v := range r.Headers() {
			text += fmt.Sprintf(" %s=%s", k, v)
		}
		all = append(all, text)
	}
	return all
}

// In a batch of any kind a message that has failed gets a header with its attempt; the others
// stay as they are.
func TestTheAttemptIsToldInBatches(t *testing.T) {
	for name, failing := range map[string][]int{
		"one": {3}, "the first": {0}, "the last": {9}, "in a row": {4, 5, 6}, "all": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{})
			var text strings.Builder
			for i := range 10 {
				fmt.Fprintf(&text, `{"key":"k%d","payload":"v%d","headers":["h","%d"]}`+"\n", i, i, i)
			}
			b.produce("orders?format=json\n" + text.String())
			c := b.dial(b.consumers, "orders?follow&ack&retry=1h\n")
			for range 10 {
				c.line()
			}
			want := make([]string, 10)
			for i := range want {
				want[i] = fmt.Sprintf("%d k%d v%d h=%d", i, i, i, i)
			}
			for _, i := range failing {
				c.send(fmt.Sprintf("-%d no\n", i+1))
				want[i] += " mbus-attempt=2"
			}
			c.mustConfirm()
			b.restart() // which forgets the back-off
			c = b.dial(b.consumers, "orders?ack&format=batch\n")
			got := c.read()
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s", strings.Join(got, "\n"))
			}
			c.send("+10\n")
			c.mustConfirm()
			b.mustDrain("orders", "")
		})
	}
}
