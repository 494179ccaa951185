package broker_test

import (
	"testing"
	"time"
)

var now = time.UnixMilli(1718017201000)

func TestWhoAwaitsATopicIsCalledOnceWhenItIsMade(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	calls := make(map[string]int)
	for _, name := range []string{"orders", "orders", "stock"} {
		defer b.Await(name, func() { calls[name]++ })()
	}
	cancel := b.Await("orders", func() { t.Error("called after it was taken back") })
	cancel()
	mustMake(t, b, "other")
	if len(calls) != 0 {
		t.Errorf("for another topic: %v", calls)
	}
	mustMake(t, b, "orders")
	if calls["orders"] != 2 || len(calls) != 1 {
		t.Errorf("%v", calls)
	}
	mustMake(t, b, "orders")
	if calls["orders"] != 2 {
		t.Errorf("called again: %v", calls)
	}
	b.Await("orders", func() { calls["orders"]++ })()
	if calls["orders"] != 3 {
		t.Errorf("for a topic that exists: %v", calls)
	}
}
