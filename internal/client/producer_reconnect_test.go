package client

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A diary takes what a producer says.
type diary chan string

func newDiary() diary { return make(chan string, 1000) }

func (d diary) say(text string) { d <- text }

// mustSay waits for what is said next.
func (d diary) mustSay(t *testing.T, prefix string) {
	t.Helper()
	select {
	case got := <-d:
		if !strings.HasPrefix(got, prefix) {
			t.Errorf("said %q, not %q", got, prefix)
		}
	case <-time.After(time.Minute):
		t.Errorf("nothing is said where %q was to come", prefix)
	}
}

// end closes a producer, whose broker acknowledges n and closes.
func (b *producerPort) end(c *Producer, last string) {
	b.t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	for {
		if _, err := b.read(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			b.t.Fatal(err)
		}
	}
	b.answer(last)
	b.conn.Close()
	if err := <-closed; err != nil {
		b.t.Error(err)
	}
}

func TestWhatIsNotAcknowledgedIsSentAgain(t *testing.T) {
	for name, lose := range map[string]func(*producerPort){
		"a close":  func(b *producerPort) { b.conn.Close() },
		"a reset":  func(b *producerPort) { _ = b.conn.SetLinger(0); b.conn.Close() },
		"shutdown": func(b *producerPort) { b.answer("-SHUTDOWN the broker is stopping\n"); b.conn.Close() },
		"busy":     func(b *producerPort) { b.answer("-BUSY too many connections\n"); b.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDiary()
			c, b := dialWith(t, ProduceRequest{Retry: time.Minute, Say: d.say})
			add(t, c, "a")
			add(t, c, "b")
			add(t, c, "c", "d")
			b.readN(4)
			b.answer("+1\n")
			lose(b)
			b.mustGoOn(c, "first=2")
			if got := b.readN(3); !slices.Equal(got, []string{"b", "c", "d"}) {
				t.Errorf("got %q", got)
			}
			b.answer("+3\n") // in the middle of what was sent at once
			lose(b)
			b.mustGoOn(c, "first=3")
			if got := b.readN(2); !slices.Equal(got, []string{"c", "d"}) {
				t.Errorf("got %q", got)
			}
			add(t, c, "e")
			b.readN(1)
			b.end(c, "+5\n")
			if c.Acked() != 5 || c.Sent() != 5 {
				t.Errorf("%d of %d are acknowledged", c.Acked(), c.Sent())
			}
			for range 2 {
				want := "connection lost: "
				if name == "shutdown" || name == "busy" {
					want = "the broker answered -"
				}
				if name == "a reset" || name == "a close" { // a write may have met it first
					want = "connection lost"
				}
				d.mustSay(t, want)
				d.mustSay(t, "connected again; ")
			}
		})
	}
}

// Without an acknowledgement it is not known whether the first message is stored.
func TestALostFirstConnectionIsNotForgotten(t *testing.T) {
	c, b := dialWith(t, ProduceRequest{Retry: time.Minute})
	add(t, c, "a")
	b.readN(1)
	b.conn.Close()
	b.mustGoOn(c, "first=1")
	b.readN(1)
	b.end(c, "+1\n")
}

func TestAnIdleConnectionIsMadeAgainBeforeThereIsSomethingToSend(t *testing.T) {
	d := newDiary()
	c, b := dialWith(t, ProduceRequest{Retry: time.Minute, Say: d.say})
	add(t, c, "a")
	b.readN(1)
	b.answer("+1\n")
	b.conn.Close()
	b.mustGoOn(c, "first=2")
	d.mustSay(t, "connection lost: ")
	d.mustSay(t, "connected again")
	add(t, c, "b")
	b.readN(1)
	b.end(c, "+2\n")
}

func TestItEndsWhenTheBrokerStaysAway(t *testing.T) {
	c, b := dialWith(t, ProduceRequest{Retry: 50 * time.Millisecond})
	add(t, c, "a", "b")
	b.readN(2)
	b.answer("+1\n")
	b.l.Close()
	b.conn.Close()
	if err := c.Close(); err == nil || err.Error() != "1 of 2 sent messages acknowledged: connection lost: the broker closed it; tried again for 50ms" {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsFinalIsNotTriedAgain(t *testing.T) {
	for _, answer := range []string{"-FULL no space\n", "-GONE the topic was deleted\n", "-REPLACED another one\n", "HTTP/1.1 400 Bad ProduceRequest\n"} {
		c, b := dialWith(t, ProduceRequest{Retry: time.Minute})
		add(t, c, "a")
		b.readN(1)
		b.answer(answer)
		b.conn.Close()
		if err := c.Wait(); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(answer)) {
			t.Errorf("after %q: %v", answer, err)
		}
	}
}

// A limit of the system's for what is unacknowledged would end a connection to a broker
// that reads nothing for a while, for which Timeout is.
func TestTheSystemGivesUpNoBrokerThatReadsNothing(t *testing.T) {
	c, _ := dialWith(t, ProduceRequest{})
	raw, err := c.link.conn.tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if limit, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); limit != 0 || err != nil {
			t.Errorf("it does after %d ms, %v", limit, err)
		}
	}); err != nil {
		t.Error(err)
	}
}

// hurry gives the connection, and none after it, little time for acknowledgements.
func (c *Producer) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.timeout = 50 * time.Millisecond
}

func TestABrokerThatHangsIsGivenUp(t *testing.T) {
	c, b := dialWith(t, ProduceRequest{Retry: time.Minute})
	c.hurry()
	add(t, c, "a")
	b.readN(1)
	if err := c.Wait(); err == nil || !strings.HasSuffix(err.Error(), "connection lost: the broker has acknowledged nothing for 50ms") {
		t.Errorf("got %v", err)
	}
}

func TestABrokerThatHangsAfterAWhileIsTriedAgain(t *testing.T) {
	c, b := dialWith(t, ProduceRequest{Retry: time.Minute})
	add(t, c, "a")
	b.readN(1)
	b.answer("+1\n")
	for c.Acked() < 1 {
		time.Sleep(time.Millisecond) // nothing tells when the answer has been read
	}
	c.hurry()
	add(t, c, "b")
	b.readN(1)
	b.mustGoOn(c, "first=2")
	b.readN(1)
	b.end(c, "+2\n")
}

func TestOnlySoMuchIsKept(t *testing.T) {
	c, b := dialWith(t, ProduceRequest{Retry: time.Minute})
	const size = 1 << 20
	const most = maxBacklog / (size + chunkOverhead)
	const n = most + 10
	added := make(chan error, 1)
	go func() {
		for range n {
			if err := c.Add(1, make([]byte, size)); err != nil {
				added <- err
				return
			}
		}
		added <- c.Flush()
	}()
	b.readN(most)
	select {
	case err := <-added:
		t.Fatalf("all is taken, %v", err)
	default:
	}
	if got := c.Sent(); got > int64(most) {
		t.Errorf("%d messages are kept", got)
	}
	b.answer(fmt.Sprintf("+%d\n", most-1))
	b.readN(n - most)
	if err := <-added; err != nil {
		t.Error(err)
	}
	b.end(c, fmt.Sprintf("+%d\n", n))
}

// The broker refuses a batch; the producer finds the message.
func TestAMessageThatIsRefusedIsFound(t *testing.T) {
	c, b := dialWith(t, ProduceRequest{})
	go func() { _ = c.SendLines(strings.NewReader("a\nbad\nc\n")) }()
	b.readN(3)
	b.answer("-TOOLARGE the batch that begins with message 1 has 200 bytes\n")
	b.conn.Close()
	b.mustGoOn(c, "new")
	if got, err := b.read(); err != nil || !slices.Equal(got, []string{"a"}) {
		t.Fatalf("got %q, %v", got, err)
	}
	b.readN(2)
	b.answer("+1\n-TOOLARGE message 2 is larger than 2 bytes\n")
	b.conn.Close()
	want := "1 of 3 sent messages acknowledged: line 2 is refused: the broker answered -TOOLARGE message 2 is larger than 2 bytes"
	if err := c.Wait(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestAMessageThatIsRefusedIsLeftOut(t *testing.T) {
	d := newDiary()
	c, b := dialWith(t, ProduceRequest{SkipBad: true, Say: d.say})
	go func() { _ = c.SendLines(strings.NewReader("bad\nb\nworse\nd\n")) }()
	b.readN(4)
	b.answer("-TOOLARGE the batch that begins with message 1 has 200 bytes\n")
	b.conn.Close()
	b.mustGoOn(c, "new")
	b.readN(4)
	b.answer("-TOOLARGE message 1\n")
	b.conn.Close()
	b.mustGoOn(c, "new&first=2")
	if got := b.readN(3); !slices.Equal(got, []string{"b", "worse", "d"}) {
		t.Errorf("got %q", got)
	}
	b.answer("+2\n-BADMESSAGE message 3\n")
	b.conn.Close()
	b.mustGoOn(c, "first=4")
	if got := b.readN(1); !slices.Equal(got, []string{"d"}) {
		t.Errorf("got %q", got)
	}
	b.end(c, "+4\n")
	d.mustSay(t, "line 1 is left out: the broker answered -TOOLARGE message 1")
	d.mustSay(t, "line 3 is left out: the broker answered -BADMESSAGE message 3")
	if c.Acked() != 2 || c.Sent() != 2 || c.Skipped() != 2 {
		t.Errorf("%d of %d acknowledged, %d left out", c.Acked(), c.Sent(), c.Skipped())
	}
}

func TestALineThatIsTooLongForAnyBrokerIsLeftOut(t *testing.T) {
	d := newDiary()
	c, b := dialWith(t, ProduceRequest{SkipBad: true, Say: d.say})
	result := b.serve()
	x := inputFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = 'x'
		}
		return len(p), nil
	})
	long := io.LimitReader(x, 3*MaxMessage)
	if err := errors.Join(c.SendLines(io.MultiReader(strings.NewReader("a\n"), long, strings.NewReader("x\nc\n"))), c.Close()); err != nil {
		t.Error(err)
	}
	if got := <-result; !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("got %.20q", got)
	}
	d.mustSay(t, "line 2 is longer than")
}

// The broker knows nothing of messages that were left out: that it was never told of any is
// no loss.
func TestNothingIsLostWhereAllWasLeftOut(t *testing.T) {
	c, b := dialWith(t, ProduceRequest{SkipBad: true, Retry: time.Minute})
	add(t, c, "bad")
	b.readN(1)
	b.answer("-TOOLARGE message 1\n")
	b.conn.Close()
	b.mustGoOn(c, "new&first=2")
	add(t, c, "b")
	b.readN(1)
	b.conn.Close()
	b.mustGoOn(c, "first=2")
	b.answer("-GONE topic \"orders\" has no message of the producer\n")
	b.conn.Close()
	b.mustGoOn(c, "new&first=2")
	if got := b.readN(1); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %q", got)
	}
	b.end(c, "+2\n")
}
