package fault

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A doomed client is a connection to a topic that will be deleted.
type doomed struct {
	request string
	busy    chan struct{} // closed when it has what it waits with
	last    chan string   // the line, or the error, that it ended with
}

// Injected: a topic is deleted, and created again, while producers write to it and consumers of
// every kind read from it, some with a full window, some with a backlog, some idle.
// Expected: each gets -GONE, none -SHUTDOWN, none hangs, and of the old topic nothing
// is in the new one.
func TestF38DeletionUnderLoadIsToldToAll(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for round := range runs(5, 300) {
		first := fmt.Sprintf("first of round %d", round)
		b.Publish("orders", first)
		clients := []*doomed{
			consumeUntilGone(t, b, "orders?follow"), consumeUntilGone(t, b, "orders?follow&from=beginning"),
			consumeUntilGone(t, b, "orders?follow&from=beginning&format=json"), consumeUntilGone(t, b, "orders?follow&group=json&format=json"),
			consumeUntilGone(t, b, "orders?follow&ack&group=full&window=1"), consumeUntilGone(t, b, "orders?follow&ack&group=full&window=5"),
			consumeUntilGone(t, b, "orders?follow&ack&group=timeout&window=1&ack-timeout=1h"),
			produceUntilGone(t, b, "orders", 1000), produceUntilGone(t, b, "orders?keyed", 1), produceUntilGone(t, b, "orders?delay=1h", 1),
		}
		for _, d := range clients {
			brokertest.Within(t, time.Minute, d.request+" begins", func() { <-d.busy })
		}
		if err := remove(b.Process, "topic=orders"); err != nil {
			t.Fatal(err)
		}
		for _, d := range clients {
			brokertest.Within(t, time.Minute, d.request+" ends", func() {
				if last := <-d.last; !strings.HasPrefix(last, "-GONE ") {
					t.Errorf("round %d: %s ended with %q", round, d.request, last)
				}
			})
		}
		if got := b.Drain("orders?from=beginning"); strings.Contains(got, first) || t.Failed() {
			t.Fatalf("round %d: the topic has %.100q", round, got)
		}
		report(t, tally{Runs: 1})
	}
}

// consumeUntilGone reads what comes, and acknowledges nothing. The first message of the topic
// is for all but those whose group another one has taken it for.
func consumeUntilGone(t *testing.T, b *brokertest.Broker, request string) *doomed {
	t.Helper()
	d := &doomed{request, make(chan struct{}), make(chan string, 1)}
	conn := brokertest.Dial(t, b.Consumers(), request+"\n")
	go func() {
		last, n := "", 0
		for in := bufio.NewReader(conn); ; n++ {
			line, err := in.ReadString('\n')
			if err != nil {
				if err != io.EOF {
					last = err.Error()
				}
				break
			}
			if last = line; n == 0 {
				close(d.busy)
			}
		}
		if n == 0 {
			close(d.busy)
		}
		conn.Close()
		d.last <- last
	}()
	return d
}

// produceUntilGone publishes so many lines, and as many again for each answer.
func produceUntilGone(t *testing.T, b *brokertest.Broker, request string, lines int) *doomed {
	t.Helper()
	d := &doomed{request, make(chan struct{}), make(chan string, 1)}
	some := strings.Repeat("key\tmessage\n", lines)
	conn := brokertest.Dial(t, b.Producers(), request+"\n"+some)
	go func() {
		last, n := "", 0
		for in := bufio.NewReader(conn); ; n++ {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			if last = line; n == 0 {
				close(d.busy)
			}
			_, _ = io.WriteString(conn, some) // it may have ended, which reading tells
		}
		conn.Close()
		d.last <- last
	}()
	return d
}
