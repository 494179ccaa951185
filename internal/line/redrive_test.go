package line_test

import (
	"strings"
	"testing"
	"time"
)

const fields = `"tstype":"create","ts":1718017201000,"broker":1,`

// bury has all messages of orders fail.
func bury(b *bus, n int64) {
	b.t.Helper()
	c := b.dial(b.consumers, "orders?follow&ack&window=1&attempts=1\n")
	for i := int64(1); i <= n; i++ {
		c.line()
		c.send("-" + itoa(i) + " bad\n")
	}
	awaitCommitted(b, "default", n)
	c.mustConfirm()
}

func TestRedrivePutsDeadLettersBack(t *testing.T) {
	b := start(t, setup{})
	b.produce("orders?format=json\n" +
		`{"key":"k","payload":"first","headers":["a","1","mbus-deliver-at-all","2"],"ts":1718017201000}` + "\n" +
		`{"payload":null,"ts":1718017201000}` + "\n")
	bury(b, 2)
	answers := b.drain("orders.dlq?redrive")
	if !strings.HasSuffix("\n"+answers, "\n+2\n") {
		t.Fatalf("answered %q", answers)
	}
	b.mustDrain("orders?format=json", `{"topic":"orders","partition":0,"offset":2,`+fields+`"headers":["a","1","mbus-deliver-at-all","2"],"key":"k","payload":"first"}`+"\n"+
		`{"topic":"orders","partition":0,"offset":3,`+fields+`"key":null,"payload":null}`+"\n")
	b.mustDrain("orders.dlq?redrive", "+0\n") // they are consumed
	b.restart()
	b.mustDrain("orders.dlq", "")
}

func TestRedriveOfNothingSaysSo(t *testing.T) {
	b := start(t, setup{})
	b.mustDrain("none.dlq?redrive", "+0\n")
}

func TestRedriveTakesNoMoreThanAsked(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(5, 0)...)
	bury(b, 5)
	if got := b.drain("orders.dlq?redrive&n=2"); !strings.HasSuffix("\n"+got, "\n+2\n") {
		t.Fatalf("answered %q", got)
	}
	b.mustDrain("orders", join(numbered(2, 0)))
	b.mustDrain("orders.dlq", join(numbered(5, 0)[2:]))
}

func TestRedriveOfManyIsWhole(t *testing.T) {
	b := start(t, setup{partitions: 3})
	const n = 500
	b.publish("orders", numbered(n, 0)...)
	c := b.dial(b.consumers, "orders?follow&ack&attempts=1\n")
	for i := int64(1); i <= n; i++ {
		c.line()
		c.send("-" + itoa(i) + " bad\n")
	}
	await(t, "all are dead", func() bool { return strings.Count(b.drain("orders.dlq?from=beginning"), "\n") == n })
	c.mustConfirm()
	if got := b.drain("orders.dlq?redrive"); !strings.HasSuffix("\n"+got, "\n+500\n") {
		t.Fatalf("answered %q", got)
	}
	await(t, "nothing waits", func() bool {
		return b.position("default", "orders", 0).Committed() > 0
	})
	mustBeOnce(t, numbered(n, 0), b.drain("orders"))
}

func TestRedriveOfWhatIsNoDeadLetterIsRefused(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders.dlq", "not from anywhere")
	b.dial(b.consumers, "orders.dlq?redrive\n").mustRefuse("BADMESSAGE", "mbus-topic")
	b.mustDrain("orders.dlq", "not from anywhere\n") // and it is still there
	b.dial(b.consumers, "orders?redrive\n").mustRefuse("BADREQUEST", ".dlq")
	b.produce("x.dlq?format=json\n" + `{"payload":"p","headers":["mbus-topic","__positions"]}` + "\n")
	if got := b.drain("x.dlq?redrive"); !strings.HasPrefix(got, "-") {
		t.Fatalf("an internal topic is written: %q", got)
	}
}

func TestDeadLetterThatIsDelayedIsDueAtOnceWhenPutBack(t *testing.T) {
	b := start(t, setup{})
	past := itoa(time.Now().Add(-time.Hour).UnixMilli())
	b.produce("orders.dlq?format=json\n" + `{"payload":"p","headers":["mbus-topic","orders","Mbus-Deliver-At","` + past + `"]}` + "\n")
	b.mustDrain("orders.dlq?redrive", "+1\n")
	got := b.drain("orders?format=json")
	if !strings.Contains(got, `"payload":"p"`) || strings.Contains(strings.ToLower(got), "mbus-") {
		t.Fatalf("what was put back is %q", got)
	}
}
