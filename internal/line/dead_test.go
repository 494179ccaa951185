package line_test

import (
	"strings"
	"syscall"
	"testing"

	"mbus/internal/message"
	"mbus/internal/vfs/crashfs"
)

func TestAMessageOfATopicWithALongNameBecomesADeadLetter(t *testing.T) {
	b := start(t, setup{})
	for n := message.MaxName - len(message.DeadLetters); n <= message.MaxName; n++ {
		topic := strings.Repeat("t", n)
		b.publish(topic, "poison")
		kill(b, topic, "g", 1)
		dead := message.DeadLettersOf(topic)
		b.mustDrain(dead, "poison\n")
		b.mustDrain(topic+"?group=g", "")
		b.mustDrain(dead+"?redrive", "+1\n")
		b.mustDrain(topic+"?group=g", "poison\n")
	}
	if n := len(b.book.Lines("level=ERROR")); n > 0 {
		t.Errorf("%d errors", n)
	}
}

// A topic of dead letters has none of its own, nor have the broker's own topics: what fails
// there comes again.
func TestWhatHasNoDeadLettersComesAgain(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "m")
	b.drain("orders?group=other")
	b.publish("orders.dlq", "m")
	for _, topic := range []string{"orders.dlq", "__consumer_offsets"} {
		c := b.dial(b.consumers, topic+"?group=g&follow&ack&window=1&attempts=1&retry=1ms&format=json\n")
		first := offsetIn(c.line())
		c.send("-1 bad\n")
		for n := int64(2); ; n++ { // the broker writes positions meanwhile
			if offsetIn(c.line()) == first {
				break
			}
			c.send("+" + itoa(n) + "\n")
		}
	}
	if topics := b.drain("?topics"); strings.Contains(topics, "offsets.dlq") || strings.Contains(topics, ".dlq.dlq") {
		t.Errorf("there are\n%s", topics)
	}
	if n := len(b.book.Lines("could not be kept")); n > 0 {
		t.Errorf("%d errors", n)
	}
}

// While dead messages of a topic can't be kept that is said once, and once when they are
// again.
func TestDeadMessagesThatCannotBeKeptAreSaidOnce(t *testing.T) {
	b := start(t, setup{disk: crashfs.New()})
	const n = 20
	b.publish("orders", numbered(n, 0)...)
	b.publish("orders.dlq", "there")
	onSegments(b.setup.disk, "orders.dlq", crashfs.WriteAt, syscall.EIO)
	kill(b, "orders", "g", n)
	if got := len(b.book.Lines("level=ERROR", "a dead message could not be kept")); got != 1 {
		t.Errorf("it is said %d times of %d messages", got, n)
	}
	onSegments(b.setup.disk, "orders.dlq", crashfs.WriteAt, nil)
}

func offsetIn(line string) string {
	_, rest, _ := strings.Cut(line, `"offset":`)
	offset, _, _ := strings.Cut(rest, ",")
	return offset
}

// It is reported like other trimmed messages, once: to the consumer that killed it, if that is still
// there when the message is found to be gone, or else to the next one.
func TestADeadMessageThatWasTrimmedIsToldToBeGone(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?ack&window=1\n")
	c.mustSay("first")
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Partitions()[0].Trim(1); err != nil {
		t.Fatal(err)
	}
	c.send("-1 dead\n")
	c.finish()
	gone := goneBelow(1) + "\n"
	told := c.rest()
	if told != gone { // it may have had the second message, which it has not acknowledged
		told = b.drain("orders")
	}
	if told != gone {
		t.Errorf("the first consumer that could be told of the gap got %q", told)
	}
	b.mustDrain("orders?ack", "second\n")
	if lines := b.book.Lines("ERROR"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}
