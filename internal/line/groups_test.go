package line_test

import (
	"testing"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

func TestAtTheLimitOfPositionsNewGroupsAreRefusedAndTheOthersGoOn(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxPositions = 2 * (group.PositionCost + 32) }})
	b.publish("orders", "first")
	b.mustDrain("orders", "first\n")
	b.mustDrain("orders?group=billing", "first\n")
	for range 3 {
		b.dial(b.consumers, "orders?group=third\n").mustRefuse("BUSY", "too many groups")
		b.dial(b.consumers, "orders?group=third&follow&ack\n").mustRefuse("BUSY", "too many groups")
	}
	b.publish("orders", "second")
	b.mustDrain("orders", "second\n")
	b.mustDrain("orders?group=billing", "second\n")
	awaitMembers(b, "billing", 0)
	b.drain("?delete&group=billing&execute")
	b.mustDrain("orders?group=third", "first\nsecond\n")
}

func TestOrderedIsOfAGroupAndTopic(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	b.publish("orders.dlq", "dead")
	ordered := b.dial(b.consumers, "orders?follow&ack&ordered\n")
	ordered.mustSay("first")
	b.mustDrain("orders.dlq", "dead\n")
	b.dial(b.consumers, "orders\n").mustRefuse("BUSY", "ordered")
	b.dial(b.consumers, "orders?ack&follow\n").mustRefuse("BUSY", "ordered")
}

// The dead letter is on its way to the disk when the client has said all.
func TestTheCloseConfirmsDeadLetters(t *testing.T) {
	for name, request := range map[string]string{
		"the client closes first": "orders?follow&ack&attempts=1\n",
		"the broker does":         "orders?ack&attempts=1\n",
	} {
		t.Run(name, func(t *testing.T) {
			begun, goOn := make(chan struct{}), make(chan struct{})
			b := start(t, setup{wrap: func(s store.Store) store.Store {
				return &storefault.Store{Store: s, Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
					if topic != "orders.dlq" {
						return store.Append(p, batches, done)
					}
					close(begun)
					return store.Append(p, batches, func(base int64, err error) {
						go func() {
							<-goOn
							done(base, err)
						}()
					})
				}}
			}})
			b.publish("orders", "bad")
			c := b.dial(b.consumers, request)
			c.mustSay("bad")
			c.send("-1 no\n")
			c.finish()
			<-begun
			if request == "orders?follow&ack&attempts=1\n" { // else it has ended its side
				c.mustBeSilent()
			}
			if p := b.position("default", "orders", 0); p.Committed() != 0 {
				t.Error("it counts as consumed though its dead letter is not durable")
			}
			close(goOn)
			c.mustEnd("")
			await(t, "the group has left", func() bool { return len(b.broker.Members("default")) == 0 })
			if got, _ := b.broker.CommittedOffset("default", "orders", 0); got.Offset != 1 {
				t.Errorf("it is closed, and the position is %+v", got)
			}
		})
	}
}
