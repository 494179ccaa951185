package line_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
)

// A never is longer than any test waits.
const never = time.Hour

// mustHaveConsumed fails the test unless the group has no more to get.
func (b *bus) mustHaveConsumed(request string) {
	b.t.Helper()
	b.mustDrain(request, "")
}

func TestClosingAfterReadingAllConsumes(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.ResetTime, l.CloseTime = never, never }})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders\n")
	if p, err := io.ReadAll(c.r); string(p) != "first\nsecond\n" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	c.Close()
	b.mustHaveConsumed("orders")
}

// Closing the sending side is enough, once the broker has closed its own.
func TestHalfClosingAtTheEndConsumes(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.ResetTime, l.CloseTime = never, never }})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders\n")
	if p, err := io.ReadAll(c.r); string(p) != "first\nsecond\n" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	c.finish()
	b.mustHaveConsumed("orders")
}

func TestNothingIsConsumedUntilTheClientHasClosed(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.ResetTime, l.CloseTime, l.SettleTime = never, never, moment }})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders\n")
	if p, err := io.ReadAll(c.r); string(p) != "first\nsecond\n" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	b.mustDrain("orders", "") // they are on their way
	if n := b.position("default", "orders", 0).Committed(); n != 0 {
		t.Errorf("%d are consumed", n)
	}
	c.reset()
	await(t, "they come again", func() bool { return b.drain("orders") == "first\nsecond\n" })
}

func TestResetAfterReadingAllConsumesNothing(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders\n")
	if p, err := io.ReadAll(c.r); string(p) != "first\nsecond\n" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	c.reset()
	b.mustDrain("orders", "first\nsecond\n")
}

func TestResetInTheMiddleConsumesNothing(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(20_000, 500)
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.mustSay(messages[0], messages[1])
	c.reset()
	b.mustDrain("orders", join(messages))
}

// The client has seen enough, or has crashed: the system resets.
func TestClosingWithBytesUnreadConsumesNothing(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders\n")
	c.awaitBytes(len("first\nsecond\n"))
	c.Close()
	b.mustDrain("orders", "first\nsecond\n")

	messages := numbered(20_000, 500)
	b.publish("orders", messages...)
	c = b.dialWith(small, b.consumers, "orders\n")
	c.mustSay(messages[0])
	c.awaitBytes(1)
	c.Close()
	b.mustDrain("orders", join(messages))
}

func TestHalfClosingEarlyAndReadingAllConsumes(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = never }})
	messages := numbered(20_000, 500)
	for _, m := range [][]string{{"first", "second"}, messages} {
		b.publish("orders", m...)
		b.dialHalfClosed(b.consumers, "orders\n").mustEnd(join(m))
		b.mustHaveConsumed("orders")
	}
}

// The system of the client has the bytes, the client has not read them, and
// dies.
func TestHalfClosingEarlyAndThenAResetConsumesNothing(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.ResetTime = patience }})
	messages := numbered(20_000, 500)
	b.publish("orders", messages...)
	c := b.dialHalfClosed(b.consumers, "orders\n")
	c.mustSay(messages[0])
	c.reset()
	b.mustDrain("orders?n=20000", join(messages))

	b.publish("orders", "first", "second")
	c = b.dialHalfClosed(b.consumers, "orders\n")
	c.mustSay("first", "second")
	c.reset()
	b.mustDrain("orders", "first\nsecond\n")

	b.publish("orders", "third")
	c = b.dialHalfClosed(b.consumers, "orders\n")
	c.awaitBytes(len("third\n"))
	c.Close()
	b.mustDrain("orders", "third\n")
}

func TestClientThatNeverClosesHasConsumedNothing(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = 2 * moment }})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders\n")
	if p, err := io.ReadAll(c.r); string(p) != "first\nsecond\n" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	b.mustDrain("orders", "first\nsecond\n") // once its time is up
	c.Close()                                // comes too late
	b.mustHaveConsumed("orders")
}

// A client that goes on sending does not win time.
func TestClientThatChattersInsteadOfClosingHasConsumedNothing(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = 2 * moment }})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders\n")
	c.mustSay("first")
	go func() {
		for {
			if _, err := c.Write([]byte(strings.Repeat("and another thing\n", 100))); err != nil {
				return
			}
		}
	}()
	b.mustDrain("orders", "first\n")
}

func TestClientThatFloodsBehindItsRequestGetsItsMessages(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = never }})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders\n")
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	if p, err := io.ReadAll(c.r); string(p) != "first\n" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	c.Close()
	<-flooding
	b.mustDrain("orders?group=b", "first\n")
}

func TestReaderThatStallsIsCutOffAndHasConsumedNothing(t *testing.T) {
	for _, format := range []string{"lines", "json", "batch"} {
		t.Run(format, func(t *testing.T) {
			b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime, l.SettleTime = 4*moment, moment }})
			messages := numbered(20_000, 500)
			b.publish("orders", messages...)
			c := b.dialWith(small, b.consumers, "orders?format="+format+"\n")
			c.line()
			got := 0
			await(t, "others get every message", func() bool {
				got += strings.Count(b.drain("orders"), "\n")
				return got >= len(messages)
			})
			c.mustBeReset()
			b.mustHaveConsumed("orders")
			if got != len(messages) {
				t.Errorf("%d messages came, of %d", got, len(messages))
			}
		})
	}
}

// A reader may stall shortly before the end, when all is in the system's hands.
func TestReaderThatStallsAtTheEndIsCutOff(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = 4 * moment }})
	messages := numbered(200, 500) // more than the client takes, less than the broker's system
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.awaitBytes(1)
	b.mustDrain("orders", join(messages))
	c.mustBeReset()
}

// As long as it takes something now and then it goes on.
func TestReaderThatIsSlowGetsEverything(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = 20 * moment }})
	messages := numbered(15_000, 500)
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	begun := time.Now()
	var got strings.Builder
	for piece := int64(8 << 10); time.Since(begun) < 35*moment; {
		if _, err := io.CopyN(&got, c.r, piece); err != nil {
			t.Fatal(err)
		}
		time.Sleep(moment / 10) // this is what the reader is slow with
	}
	got.WriteString(c.rest())
	if got.String() != join(messages) {
		t.Errorf("%s, not %s", brief(got.String()), brief(join(messages)))
	}
	b.mustHaveConsumed("orders")
}
