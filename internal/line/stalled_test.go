package line_test

import (
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// Where memory is short, beginnings of messages that do not go on give it up.
func TestPartsOfMessagesDoNotHoldMemoryForEver(t *testing.T) {
	brokertest.Slow(t)
	for request, text := range map[string]string{
		"orders":              strings.Repeat("x", 500_000),
		"orders?format=json":  `{"payload":"` + strings.Repeat("x", 500_000),
		"orders?format=batch": text(newBatch(numbered(1000, 600)...))[:500_000],
	} {
		t.Run(request, func(t *testing.T) {
			b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight, l.WriteTime = 1500<<10, 10*moment }})
			b.dial(b.producers, request+"\n"+text).mustRefuse("TIMEOUT", "of which 5000", "send it again")
			b.publish("orders", strings.Repeat("y", 900_000))
		})
	}
}

// Where there is enough, a message may take as long as it likes, and so may the time until
// the next one.
func TestAMessageMayTakeItsTimeWhereThereIsMemory(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = moment / 2 }})
	c := b.dial(b.producers, "orders\n")
	message := strings.Repeat("x", 500_000)
	for range 2 {
		c.send(message)
		c.mustBeSilent()
	}
	c.send("\n")
	c.mustSay("+1")
	c.mustBeSilent()
	c.send("the next\n")
	c.mustSay("+2")
	c.finish().mustEnd("")
}

// A short one takes no memory that others may need.
func TestAShortPartOfAMessageMayTakeItsTime(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight, l.WriteTime = 1, moment/2 }})
	c := b.dial(b.producers, "orders\nmess")
	c.mustBeSilent()
	c.send("age\n")
	c.mustSay("+1")
}
