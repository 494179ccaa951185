package line_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// keyOf finds a key whose messages are for a partition of so many.
func keyOf(partition, partitions int) string {
	for i := 0; ; i++ {
		if key := strconv.Itoa(i); broker.ForKey([]byte(key), partitions) == partition {
			return key
		}
	}
}

// crowd publishes so many messages to partition 0, and one to each other, which is
// the oldest.
func (b *bus) crowd(topic string, partitions, messages int) {
	b.t.Helper()
	for i := 1; i < partitions; i++ {
		b.publish(topic+"?keyed", keyOf(i, partitions)+"\trare "+strconv.Itoa(i))
	}
	lines := make([]string, messages)
	for i := range lines {
		lines[i] = keyOf(0, partitions) + "\tusual"
	}
	b.publish(topic+"?keyed", lines...)
}

// mustComeWithin fails the test unless the rare messages of all partitions but the
// first come within so many, of which next gives one or more.
func mustComeWithin(t *testing.T, most, partitions int, next func() string) {
	t.Helper()
	seen, rare := 0, 0
	for seen < most && rare < partitions-1 {
		text := next()
		seen += strings.Count(text, "\n")
		rare += strings.Count(text, "rare")
	}
	if rare < partitions-1 {
		t.Errorf("%d of %d partitions had no turn within %d messages", partitions-1-rare, partitions, seen)
	}
}

func TestNoPartitionWaitsForAnotherToBeEmpty(t *testing.T) {
	const partitions = 3
	tests := map[string]func(b *bus, group string) (most int, next func() string){
		"a window of one": func(b *bus, group string) (int, func() string) {
			c, n := b.dial(b.consumers, "orders?follow&ack&window=1&group="+group+"\n"), 0
			return 4, func() string {
				text := c.line()
				n++
				c.send("+" + strconv.Itoa(n) + "\n")
				b.publish("orders?keyed", keyOf(0, partitions)+"\tusual") // at the speed of the worker
				return text + "\n"
			}
		},
		"a window of one to the end": func(b *bus, group string) (int, func() string) {
			c, n := b.dial(b.consumers, "orders?ack&window=1&group="+group+"\n"), 0
			return 4, func() string {
				text := c.line()
				n++
				c.send("+" + strconv.Itoa(n) + "\n")
				return text + "\n"
			}
		},
		"ordered": func(b *bus, group string) (int, func() string) {
			c, n := b.dial(b.consumers, "orders?follow&ack&ordered&window=1&group="+group+"\n"), 0
			return 4, func() string {
				text := c.line()
				n++
				c.send("+" + strconv.Itoa(n) + "\n")
				return text + "\n"
			}
		},
		"a worker for each message": func(b *bus, group string) (int, func() string) {
			return 4, func() string {
				c := b.dial(b.consumers, "orders?follow&ack&window=1&n=1&group="+group+"\n")
				text := c.line()
				c.send("+1\n")
				c.finish().rest()
				return text + "\n"
			}
		},
		"drains of one": func(b *bus, group string) (int, func() string) {
			return 4, func() string { return b.drain("orders?n=1&group=" + group) }
		},
		"drains of five": func(b *bus, group string) (int, func() string) {
			return 20, func() string { return b.drain("orders?n=5&group=" + group) }
		},
	}
	b := start(t, setup{partitions: partitions})
	b.crowd("orders", partitions, 200)
	for name, of := range tests {
		t.Run(name, func(t *testing.T) {
			most, next := of(b, strings.ReplaceAll(name, " ", "-"))
			mustComeWithin(t, most, partitions, next)
		})
	}
}

// Members with windows of their own, drains that take a few, and messages that
// come to partitions unevenly: no message waits until more have been served than all
// members together take in a round of the partitions.
func TestNoFreeMessageWaitsForMoreThanARound(t *testing.T) {
	brokertest.Slow(t)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := &fairness{t: t, rng: rand.New(rand.NewPCG(seed, 1))}
			f.partitions = 2 + f.rng.IntN(3)
			f.b = start(t, setup{partitions: f.partitions})
			f.run()
		})
	}
}

// A fairness is a topic whose messages are numbered, and what of them has come.
type fairness struct {
	t          *testing.T
	rng        *rand.Rand
	b          *bus
	partitions int
	waiting    [][]int // by partition: how many had been served when each was published
	served     int
	followers  []*windowed
	round      int // messages that all members take in a round, at most
}

// A windowed follower always holds as many messages as its window has.
type windowed struct {
	*client
	acked int
}

const drainsOf = 4

func (f *fairness) run() {
	f.waiting = make([][]int, f.partitions)
	f.round = drainsOf * f.partitions
	f.publish(0, 100)
	for range f.rng.IntN(3) {
		window := 1 + f.rng.IntN(3)
		c := f.b.dial(f.b.consumers, fmt.Sprintf("orders?format=json&follow&ack&window=%d\n", window))
		f.followers = append(f.followers, &windowed{client: c})
		f.round += f.partitions + window
		for range window {
			f.serve(c.line() + "\n")
		}
	}
	for range 300 {
		f.step()
	}
}

// step has messages come and go; there are always many in the first partition.
func (f *fairness) step() {
	if len(f.waiting[0]) < 4*f.round {
		f.publish(0, f.round)
	}
	switch n := f.rng.IntN(10); {
	case n < 3:
		f.publish(f.rng.IntN(f.partitions), 1+f.rng.IntN(3))
	case n < 7 && len(f.followers) > 0:
		c := f.followers[f.rng.IntN(len(f.followers))]
		c.acked++
		c.send("+" + strconv.Itoa(c.acked) + "\n")
		f.serve(c.line() + "\n")
	default:
		f.serve(f.b.drain(fmt.Sprintf("orders?format=json&n=%d", 1+f.rng.IntN(drainsOf))))
	}
}

func (f *fairness) publish(partition, n int) {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = keyOf(partition, f.partitions) + "\tmessage"
		f.waiting[partition] = append(f.waiting[partition], f.served)
	}
	f.b.publish("orders?keyed", lines...)
}

// serve notes messages that have come. The first of each partition has not waited
// for too long.
func (f *fairness) serve(text string) {
	f.t.Helper()
	for line := range strings.Lines(text) {
		_, after, ok := strings.Cut(line, `"partition":`)
		if !ok {
			f.t.Fatalf("%q is no message", line)
		}
		p, err := strconv.Atoi(after[:1])
		if err != nil {
			f.t.Fatal(err)
		}
		f.served++
		if f.waiting[p] = f.waiting[p][1:]; len(f.waiting[p]) > 0 {
			f.waiting[p][0] = f.served // it is the first since now
		}
		for i, w := range f.waiting {
			if len(w) > 0 && f.served-w[0] > f.round {
				f.t.Fatalf("the first message of partition %d waits, and %d others came; a round is %d", i, f.served-w[0], f.round)
			}
		}
	}
}
