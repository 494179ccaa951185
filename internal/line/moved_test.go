package line_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// soon has a server that is stopped wait for its clients for a second.
func soon(l *broker.Limits) { l.StopTime = time.Second }

// When another node has taken the topics over, no client gets that its topic is gone: producers and consumers connect
// again.
func TestATopicThatHasMovedIsNotGone(t *testing.T) {
	var st *storefault.Movable
	b := start(t, setup{limits: soon, wrap: func(s store.Store) store.Store { st = storefault.NewMovable(s); return st }})
	b.publish("orders", "first")
	b.mustDrain("orders?group=a", "first\n")
	idle := b.dial(b.producers, "orders\n")
	named := b.dial(b.producers, "orders?producer=7\nother\n")
	named.mustSay("+1")
	follower := b.dial(b.consumers, "orders?group=b&follow\n")
	follower.mustSay("first", "other")
	acks := b.dial(b.consumers, "orders?group=c&follow&ack\n")
	acks.mustSay("first", "other")
	st.Move()
	idle.send("second\n")
	idle.mustRefuse("SHUTDOWN")
	named.send("second\n")
	named.mustRefuse("SHUTDOWN")
	b.dial(b.producers, "orders\nthird\n").mustRefuse("SHUTDOWN")
	b.dial(b.producers, "others\nfirst\n").mustRefuse("SHUTDOWN")
	b.dial(b.consumers, "orders?group=d\n").mustRefuse("SHUTDOWN")
	b.dial(b.consumers, "orders?from=beginning\n").mustRefuse("SHUTDOWN")
	wait := b.stopping() // which is what ends those that wait
	follower.mustRefuse("SHUTDOWN")
	acks.mustRefuse("SHUTDOWN")
	wait()
}

// A server is stopped after its broker has left: nothing of it waits, and nothing is confirmed that is not durable.
func TestAServerIsStoppedAfterItsBrokerHasLeft(t *testing.T) {
	var st *storefault.Movable
	b := start(t, setup{wrap: func(s store.Store) store.Store { st = storefault.NewMovable(s); return st }})
	b.publish("orders", "first", "second")
	acks := b.dial(b.consumers, "orders?group=a&follow&ack&confirm&format=json\n")
	acks.line()
	acks.line()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	st.Move()
	within(t, "the broker leaves", func() { _ = b.broker.Leave(over) })
	acks.send("+2\n")
	within(t, "the server stops", func() { b.server.Stop(over) })
	if rest, _ := acks.tryRest(); strings.Contains(rest, "+2") {
		t.Errorf("an acknowledgement is confirmed that is not durable: %q", rest)
	}
}
