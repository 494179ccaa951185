package line_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"mbus/internal/broker"
)

// Each kind of request is refused when its access is, with -DENIED: so each asks for one.
func TestEachRequestAsksForAccess(t *testing.T) {
	var denied atomic.Bool
	b := start(t, setup{allow: func(broker.Principal, broker.Access, broker.Resource) bool { return !denied.Load() }})
	b.publish("orders", "first")
	b.publish("orders.dlq", "dead")
	follower := b.dial(b.consumers, "orders?follow&ack&group=held\n")
	follower.mustSay("first")
	denied.Store(true)
	for _, request := range []string{"orders\nsecond\n", "new\nfirst\n", "orders?producer=7\nfirst\n", "orders?format=batch\n" + text(newBatch("second"))} {
		b.dial(b.producers, request).mustRefuse("DENIED", "may not write", "topic")
	}
	for request, words := range map[string]string{
		"orders":                                  "topic",
		"orders?follow":                           "group",
		"orders?follow&ack&group=g":               "group",
		"orders?from=0":                           "topic",
		"orders?follow&from=0":                    "topic",
		"new?follow":                              "group",
		"new?follow&ack&start=end&group=g":        "group",
		"orders.dlq?redrive&to=all":               "topic",
		"orders.dlq?redrive":                      "topic",
		"?topics&topic=orders":                    "describe topic",
		"?groups&group=held":                      "describe group",
		"?reset&group=g&topic=orders&to=0":        "topic",
		"?create&topic=new&execute":               "create topic",
		"?grow&topic=orders&partitions=2&execute": "alter topic",
		"?delete&topic=orders&execute":            "delete topic",
		"?delete&group=held&execute":              "group",
	} {
		if got := b.dial(b.consumers, request+"\n").rest(); !strings.HasPrefix(got, "-DENIED ") || !strings.Contains(got, words) {
			t.Errorf("%s: %s, not -DENIED with %q", request, brief(got), words)
		}
	}
	for _, request := range []string{"?topics", "?groups"} { // which list what may be seen
		if got := b.drain(request); strings.Count(got, "\n") != 1 || strings.HasPrefix(got, "-") {
			t.Errorf("%s: %s", request, brief(got))
		}
	}
	denied.Store(false)
	b.mustDrain("orders?group=other", "first\n")
	if got := fmt.Sprint(b.inTopic("new")); got != "map[]" {
		t.Errorf("what was refused was stored: %s", got)
	}
}

// One access is asked for by name.
func TestAccessIsAskedForByTopicAndGroup(t *testing.T) {
	b := start(t, setup{allow: func(_ broker.Principal, a broker.Access, r broker.Resource) bool {
		return !(r.Kind == broker.GroupResource && r.Name == "private" || r.Kind == broker.TopicResource && r.Name == "secret" && a != broker.Write && a != broker.Create)
	}})
	b.publish("orders", "first")
	b.publish("secret", "first")
	b.dial(b.consumers, "secret\n").mustRefuse("DENIED", `"secret"`)
	b.dial(b.consumers, "orders?group=private\n").mustRefuse("DENIED", `"private"`)
	if got := b.drain("?topics"); strings.Contains(got, "secret") || !strings.Contains(got, "orders") {
		t.Errorf("it lists %s", got)
	}
	b.mustDrain("orders?group=public", "first\n")
}
