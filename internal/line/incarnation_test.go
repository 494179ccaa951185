package line_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// id is what ?topics tells of the topic of a name.
func (b *bus) id(name string) string {
	b.t.Helper()
	var row struct{ ID string }
	if err := json.Unmarshal([]byte(b.drain("?topics&topic="+name+"&format=json")), &row); err != nil || row.ID == "" {
		b.t.Fatalf("id %q, %v", row.ID, err)
	}
	return row.ID
}

// remake deletes a topic and makes another one of its name, with so many messages.
func (b *bus) remake(name string, messages ...string) {
	b.t.Helper()
	if err := b.broker.DeleteTopic(name); err != nil {
		b.t.Fatal(err)
	}
	b.publish(name, messages...)
}

// Each way to read or to administer a topic, with its id.
var withID = []string{
	"orders?id=%", "orders?ack&id=%", "orders?follow&id=%", "orders?follow&ack&id=%", "orders?follow&group=g&start=end&id=%",
	"orders?from=1&id=%", "orders?from=1&follow&id=%", "?reset&group=r&topic=orders&to=end&execute&id=%",
	"?delete&topic=orders&execute&id=%",
}

func TestARequestWithAnIDIsForThatTopicOnly(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "old 0", "old 1", "old 2")
	b.publish("orders.dlq", "letter")
	id, letters := b.id("orders"), b.id("orders.dlq")
	b.mustDrain("orders?from=1&id="+id, "old 1\nold 2\n")
	b.mustDrain("orders?from=2&id="+strings.ToUpper(strings.ReplaceAll(id, "-", "")), "old 2\n")
	b.mustDrain("orders?group=other&id="+id, "old 0\nold 1\nold 2\n")
	follower := b.dial(b.consumers, "orders?from=2&follow&id="+id+"\n")
	follower.mustSay("old 2")
	if got := b.drain("?reset&group=r&topic=orders&to=1&execute&id=" + id); !strings.Contains(got, "r\torders\t0\t0\t1\n") {
		t.Errorf("answered %q", got)
	}
	b.remake("orders", "new 0", "new 1", "new 2", "new 3")
	b.remake("orders.dlq", "another")
	follower.mustRefuse("GONE", "orders")
	for _, r := range withID {
		b.dial(b.consumers, strings.ReplaceAll(r, "%", id)+"\n").mustRefuse("GONE", `"orders"`, id)
	}
	b.dial(b.consumers, "orders.dlq?redrive&id="+letters+"\n").mustRefuse("GONE", letters)
	b.mustDrain("orders?group=r", "new 0\nnew 1\nnew 2\nnew 3\n") // no reset, nothing deleted
	b.mustDrain("orders?from=3&id="+b.id("orders"), "new 3\n")
	b.restart()
	b.dial(b.consumers, "orders?from=1&id="+id+"\n").mustRefuse("GONE", id)
	b.mustDrain("orders?from=3&id="+b.id("orders"), "new 3\n")
}

// Without a topic of its name there is nothing to wait for: one that is made is another.
func TestARequestWithAnIDWaitsForNoTopic(t *testing.T) {
	b := start(t, setup{})
	const id = "01234567-89ab-4cde-8f01-23456789abcd"
	for _, r := range withID {
		b.dial(b.consumers, strings.ReplaceAll(r, "%", id)+"\n").mustRefuse("GONE", `"orders"`)
	}
	b.dial(b.consumers, "orders.dlq?redrive&id="+id+"\n").mustRefuse("GONE", `"orders.dlq"`)
}

func TestAnIDThatIsNoneIsRefused(t *testing.T) {
	b := start(t, setup{})
	for _, id := range []string{"", "1", "01234567-89ab-4cde-8f01-23456789abcde", strings.Repeat("g", 32)} {
		b.dial(b.consumers, "orders?id="+id+"\n").mustRefuse("BADREQUEST", "id")
	}
	b.dial(b.consumers, "?delete&group=g&id="+strings.Repeat("0", 32)+"\n").mustRefuse("BADREQUEST", `"topic"`)
	b.dial(b.producers, "orders?id=1\n").mustRefuse("BADREQUEST", "id")
	b.dial(b.producers, "orders?id="+strings.Repeat("0", 32)+"\n").mustRefuse("GONE", "orders")
}
