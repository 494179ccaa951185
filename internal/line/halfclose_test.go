package line_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// awaitEnd waits until the broker's FIN has come; nothing needs to be read for that.
func (c *client) awaitEnd() {
	c.t.Helper()
	await(c.t, "the broker closes", func() bool {
		has, err := brokertest.HasEnd(c.TCPConn)
		if err != nil {
			c.t.Fatal(err)
		}
		return has
	})
}

// mustComeAgain waits until nobody holds messages of a group any more, and compares.
func (b *bus) mustComeAgain(topic, want string) {
	b.t.Helper()
	await(b.t, "they come again", func() bool {
		got := b.drain(topic + "?ack") // which consumes nothing, and waits for nobody
		if got != "" && got != want {
			b.t.Fatalf("%s, not %s", brief(got), brief(want))
		}
		return got != ""
	})
}

// nc -N closes its sending side when its input ends, a moment after the request: a short
// answer, and its end, may be on their way by then.
func TestAClientThatHalfClosesSoonHasClosedEarly(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.HalfCloseTime, l.ResetTime, l.CloseTime = never, never, never }})
	b.publish("orders", "first")
	for _, read := range []bool{false, true} {
		c := b.dial(b.consumers, "orders\n")
		c.awaitBytes(len("first\n"))
		c.finish()
		if read {
			c.mustSay("first")
		}
		c.reset()
		b.mustComeAgain("orders", "first\n")
	}
}

func TestAClientThatHalfClosesSoonAndReadsAllConsumes(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.HalfCloseTime, l.ResetTime, l.CloseTime = never, moment, never }})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders\n")
	c.mustSay("first")
	c.finish().mustEnd("")
	b.mustDrain("orders?ack", "")
}

// Only so long a client is waited for that does not close its sending side.
func TestAClientThatDoesNotHalfCloseGetsTheEnd(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.HalfCloseTime = moment }})
	b.publish("orders", "first")
	b.mustDrain("orders", "first\n")
	b.mustHaveConsumed("orders")
}

// Where nothing can count as consumed it need not be found out what the client has read.
func TestTheEndIsNotPutOffWhereNothingIsConsumed(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.HalfCloseTime, l.ResetTime, l.CloseTime = never, never, never }})
	b.publish("orders", "first")
	for request, want := range map[string]string{
		"nosuch": "", "orders?group=late&start=end": "", "orders?from=beginning": "first\n", "orders?from=0&follow&n=1": "first\n",
		"orders?id=01234567-89ab-4cde-8f01-23456789abcd": "-GONE",
	} {
		for _, dial := range []func(string, string) *client{b.dial, b.dialHalfClosed} {
			c := dial(b.consumers, request+"\n")
			if p, err := io.ReadAll(c.r); !strings.HasPrefix(string(p), want) || want == "" && len(p) > 0 || err != nil {
				c.reset() // or the broker goes on to wait
				t.Fatalf("%s: %q, %v", request, p, err)
			}
		}
	}
}

// The FINs of both sides have been exchanged, so no reset tells of what is unread.
func TestHalfClosingAtTheEndWithMuchUnreadConsumesNothing(t *testing.T) {
	messages := numbered(600, 100) // less than a system takes that nobody reads from
	for name, read := range map[string]int{"all of it": 0, "most of it": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = never }})
			b.publish("orders", messages...)
			c := b.dial(b.consumers, "orders\n")
			c.awaitEnd()
			if _, err := io.CopyN(io.Discard, c.TCPConn, int64(read)); err != nil {
				t.Fatal(err)
			}
			c.finish()
			b.mustComeAgain("orders", join(messages))
		})
	}
}

func TestHalfClosingAtTheEndAndAllReadConsumes(t *testing.T) {
	messages := numbered(20_000, 500)
	for _, n := range []int{1, 600, len(messages)} {
		b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = never }})
		b.publish("orders", messages[:n]...)
		c := b.dial(b.consumers, "orders\n")
		if p, err := io.ReadAll(c.r); string(p) != join(messages[:n]) || err != nil {
			t.Fatalf("%s, %v", brief(string(p)), err)
		}
		c.finish()
		b.mustHaveConsumed("orders")
	}
}

// awaitFIN waits until the broker has sent its FIN to a client that has no room for it.
func (c *client) awaitFIN() {
	c.t.Helper()
	const finWait1 = "04" // of include/net/tcp_states.h
	mine, theirs := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	ends := fmt.Sprintf(" 0100007F:%04X 0100007F:%04X %s ", theirs.Port, mine.Port, finWait1)
	await(c.t, "the broker sends its FIN", func() bool {
		list, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			c.t.Fatal(err)
		}
		return strings.Contains(string(list), ends)
	})
}

// The FIN of a client that does not know of the end says nothing about what it has read.
func TestAHalfCloseThatCrossesTheEndConsumesNothing(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.CloseTime = never }})
	fills := strings.Repeat("x", 4095) // and its LF: the end has no room any more
	b.publish("orders", fills)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.awaitFIN()
	c.finish()
	b.mustComeAgain("orders", fills+"\n")
}
