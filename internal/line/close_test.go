package line_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/test/brokertest"
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
	awaitMembers(b, "default", 0) // or else what it holds comes last, or not yet
	b.mustDrain("orders", "first\nsecond\n")
}

func TestResetInTheMiddleConsumesNothing(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(20_000, 500)
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.mustSay(messages[0], messages[1])
	c.reset()
	awaitMembers(b, "default", 0) // or else what it holds comes last
	b.mustDrain("orders", join(messages))
}

// The client has seen enough, or has crashed: the system resets.
func TestClosingWithBytesUnreadConsumesNothing(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders\n")
	c.awaitBytes(len("first\nsecond\n"))
	c.Close()
	awaitMembers(b, "default", 0) // or else what it holds comes last, or not yet
	b.mustDrain("orders", "first\nsecond\n")

	messages := numbered(20_000, 500)
	b.publish("orders", messages...)
	c = b.dialWith(small, b.consumers, "orders\n")
	c.mustSay(messages[0])
	c.awaitBytes(1)
	c.Close()
	awaitMembers(b, "default", 0) // or else what it holds comes last
	b.mustDrain("orders", join(messages))
}

func TestHalfClosingEarlyAndReadingAllConsumes(t *testing.T) {
	brokertest.Slow(t)
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
	awaitMembers(b, "default", 0) // or else what it holds comes last, or not yet
	b.mustDrain("orders?n=20000", join(messages))

	b.publish("orders", "first", "second")
	c = b.dialHalfClosed(b.consumers, "orders\n")
	c.mustSay("first", "second")
	c.reset()
	awaitMembers(b, "default", 0) // or else what it holds comes last, or not yet
	b.mustDrain("orders", "first\nsecond\n")

	b.publish("orders", "third")
	c = b.dialHalfClosed(b.consumers, "orders\n")
	c.awaitBytes(len("third\n"))
	c.Close()
	awaitMembers(b, "default", 0) // or else what it holds comes last, or not yet
	b.mustDrain("orders", "third\n")
}

func TestClientThatNeverClosesHasConsumedNothing(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = 2 * moment }})
	b.publish("orders", "first", "second")
	b.inTime(func(request string) bool {
		c := b.dial(b.consumers, request+"\n")
		if p, err := io.ReadAll(c.r); string(p) != "first\nsecond\n" || err != nil {
			t.Fatalf("%q, %v", p, err)
		}
		b.mustDrain(request, "first\nsecond\n") // once its time is up
		c.Close()                               // comes too late
		return b.drain(request) == ""
	})
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

// inTime tries with one group after the other, until a client that must not be
// slower than the broker's patience has not been, which is chance.
func (b *bus) inTime(try func(request string) bool) {
	b.t.Helper()
	for attempt := range int64(50) {
		if try("orders?group=g" + itoa(attempt)) {
			return
		}
	}
	b.t.Fatal("the broker never has the patience")
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
	brokertest.Slow(t)
	for _, format := range []string{"lines", "json", "batch"} {
		t.Run(format, func(t *testing.T) {
			b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime, l.SettleTime = 4*moment, moment }})
			messages := numbered(20_000, 500)
			b.publish("orders", messages...)
			c := b.dialWith(small, b.consumers, "orders?format="+format+"\n")
			c.line()
			got := 0
			await(t, "others get every message", func() bool {
				if text, err := b.dial(b.consumers, "orders\n").tryRest(); err == nil { // or it has stalled, too
					got += strings.Count(text, "\n")
				}
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
	brokertest.Slow(t)
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = 4 * moment }})
	messages := numbered(200, 500) // more than the client takes, less than the broker's system
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.awaitBytes(1)
	await(t, "another gets all", func() bool {
		text, err := b.dial(b.consumers, "orders\n").tryRest()
		if err == nil && text != join(messages) {
			t.Fatalf("%s, not %s", brief(text), brief(join(messages)))
		}
		return err == nil // or it has stalled, too
	})
	c.mustBeReset()
}

// As long as it takes something now and then it goes on.
func TestReaderThatIsSlowGetsEverything(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	const patience = 20 * moment
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = patience }})
	messages := numbered(15_000, 500)
	b.publish("orders", messages...)
	b.inTime(func(request string) bool {
		r := &slowReader{r: b.dialWith(small, b.consumers, request+"\n"), until: time.Now().Add(35 * moment)}
		got, err := io.ReadAll(r)
		if err != nil && r.pause > patience/2 {
			t.Logf("it has not taken anything for %v", r.pause)
			return false
		}
		if string(got) != join(messages) || err != nil {
			t.Fatalf("%s, %v, not %s", brief(string(got)), err, brief(join(messages)))
		}
		r.r.Close()
		b.mustHaveConsumed(request)
		return true
	})
}

// A slowReader reads a little now and then, for a while.
type slowReader struct {
	r     *client
	until time.Time
	last  time.Time     // when it took something
	pause time.Duration // the longest between two times
}

func (s *slowReader) Read(p []byte) (int, error) {
	if time.Now().Before(s.until) {
		time.Sleep(moment / 10) // this is what the reader is slow with
		p = p[:min(len(p), 8<<10)]
	}
	n, err := s.r.r.Read(p)
	now := time.Now()
	if !s.last.IsZero() {
		s.pause = max(s.pause, now.Sub(s.last))
	}
	s.last = now
	return n, err
}
