package line_test

import (
	"strings"
	"testing"

	"mbus/internal/group"
)

// Whichever way consumers of lines meet a position beyond the end of the log, they get what
// is published next.
func TestAPositionBeyondTheEndSkipsNothingWhicheverWayItIsRead(t *testing.T) {
	for _, options := range []string{"follow", "follow&ack", "follow&ack&ordered", "follow&ack&window=1", "follow&format=json"} {
		t.Run(options, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", numbered(5, 0)...)
			beyond(b, "orders", "billing", 100)
			c := b.dial(b.consumers, "orders?group=billing&"+options+"\n")
			await(t, "the position is set to the end", func() bool {
				return len(b.book.Lines("level=WARN", "beyond the end", "group=billing", "topic=orders", "partition=0", "position=100", "end=5")) == 1
			})
			b.publish("orders", "new")
			if got := c.line(); !strings.Contains(got, "new") {
				t.Errorf("it gets %q", got)
			}
		})
	}
	for request, want := range map[string]string{"orders?group=billing": "new\n", "orders?group=billing&ack": "new\n", "orders.dlq?redrive&group=billing": "+1\n"} {
		t.Run(request, func(t *testing.T) {
			b := start(t, setup{})
			topic, _, _ := strings.Cut(request, "?")
			if topic == "orders" {
				b.publish(topic, numbered(5, 0)...)
			} else {
				b.publish("orders", "new")
				bury(b, 1)
			}
			beyond(b, topic, "billing", 100)
			b.restart()
			if topic == "orders" {
				b.publish(topic, "new")
			} else {
				c := b.dial(b.consumers, "orders?group=other&follow&ack&attempts=1\n")
				c.mustSay("new")
				c.send("-1 bad\n")
				c.finish().rest() // then the message is settled
				await(t, "there is another dead letter", func() bool { return strings.Count(b.drain("orders.dlq?from=beginning"), "\n") == 2 })
			}
			b.mustDrain(request, want)
		})
	}
}

// beyond has a Kafka client commit an offset that there is not yet.
func beyond(b *bus, topic, name string, offset int64) {
	b.t.Helper()
	done := make(chan []error, 1)
	b.broker.CommitOffsets(name, []group.Commit{{Topic: topic, Offset: offset}}, func(errs []error) { done <- errs })
	if errs := <-done; errs[0] != nil {
		b.t.Fatal(errs)
	}
}
