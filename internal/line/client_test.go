package line_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A client is one connection of a test.
type client struct {
	t testing.TB
	*net.TCPConn
	tls *tls.Conn // nil over TCP
	r   *bufio.Reader
}

func (c *client) Read(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Read(p)
	}
	return c.TCPConn.Read(p)
}

func (c *client) Write(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Write(p)
	}
	return c.TCPConn.Write(p)
}

func (c *client) CloseWrite() error {
	if c.tls != nil {
		return c.tls.CloseWrite()
	}
	return c.TCPConn.CloseWrite()
}

func (c *client) Close() error {
	if c.tls != nil {
		return c.tls.Close()
	}
	return c.TCPConn.Close()
}

// dial connects and sends text.
func (b *bus) dial(address, text string) *client {
	b.t.Helper()
	return b.dialWith(net.Dialer{}, address, text)
}

func (b *bus) dialWith(d net.Dialer, address, text string) *client {
	b.t.Helper()
	conn, err := d.Dial("tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	c := &client{t: b.t, TCPConn: conn.(*net.TCPConn)}
	c.r = bufio.NewReader(c)
	c.patient()
	if b.clientTLS != nil {
		c.tls = brokertest.TLSClient(conn, b.clientTLS)
	}
	c.send(b.auth + text)
	return c
}

// small is a dialer whose connections hold no more than a few KiB unread.
var small = net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
	var err error
	e := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	})
	return errors.Join(e, err)
}}

// patient gives everything the client does so long.
func (c *client) patient() { c.SetDeadline(time.Now().Add(patience)) }

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// finish closes the sending side.
func (c *client) finish() *client {
	c.t.Helper()
	if err := c.CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// dialHalfClosed connects, sends text and closes the sending side, all in one
// packet, so that the broker can't be faster.
func (b *bus) dialHalfClosed(address, text string) *client {
	b.t.Helper()
	c := b.dial(address, "")
	raw, err := c.SyscallConn()
	if err != nil {
		b.t.Fatal(err)
	}
	e := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1)
	})
	if err := errors.Join(e, err); err != nil {
		b.t.Fatal(err)
	}
	c.send(text)
	c.finish()
	e = raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 0)
	})
	if err := errors.Join(e, err); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// line reads a line, without its LF.
func (c *client) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a line: %v after %q", err, line)
	}
	return strings.TrimSuffix(line, "\n")
}

// mustSay reads so many lines.
func (c *client) mustSay(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		if got := c.line(); got != want {
			c.t.Fatalf("answered %q, not %q", got, want)
		}
	}
}

// mustEnd reads the rest and compares it.
func (c *client) mustEnd(want string) {
	c.t.Helper()
	if got := c.rest(); got != want {
		c.t.Fatalf("%s, not %s", brief(got), brief(want))
	}
}

// mustRefuse reads the rest, which is to be one line with this code and words.
func (c *client) mustRefuse(code string, words ...string) {
	c.t.Helper()
	got := c.rest()
	ok := strings.HasPrefix(got, "-"+code+" ") && strings.Count(got, "\n") == 1 && strings.HasSuffix(got, "\n")
	for _, w := range words {
		ok = ok && strings.Contains(got, w)
	}
	if !ok {
		c.t.Fatalf("answered %s, not -%s with %q", brief(got), code, words)
	}
}

// rest reads what comes until the broker closes in good order, and closes.
func (c *client) rest() string {
	c.t.Helper()
	text, err := c.tryRest()
	if err != nil {
		c.t.Fatalf("%v after %s", err, brief(text))
	}
	return text
}

// tryRest is rest where the broker has so little patience that this may be too slow
// for it.
func (c *client) tryRest() (string, error) {
	p, err := io.ReadAll(c.r)
	c.Close()
	return string(p), err
}

// reset ends the connection as the system does for a program that has died.
func (c *client) reset() {
	c.SetLinger(0)
	c.TCPConn.Close()
}

// mustBeReset reads until the broker resets the connection.
func (c *client) mustBeReset() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.r); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("the connection ended with %v, not a reset", err)
	}
}

// mustBeSilent fails the test if something comes within a moment.
func (c *client) mustBeSilent() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(moment))
	p, err := c.r.Peek(1)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("got %q, %v where nothing was to come", p, err)
	}
	c.patient()
}

// awaitBytes waits until n bytes or more have come and lie unread.
func (c *client) awaitBytes(n int) {
	c.t.Helper()
	await(c.t, strconv.Itoa(n)+" bytes come", func() bool {
		unread, err := brokertest.Unread(c.TCPConn)
		if err != nil {
			c.t.Fatal(err)
		}
		return unread >= n
	})
}

// brief keeps a failure readable.
func brief(s string) string {
	if len(s) < 200 {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:100]) + "…" + strconv.Quote(s[len(s)-50:]) + " (" + strconv.Itoa(len(s)) + " bytes)"
}

// produce sends all that a producer sends and returns all the answers.
func (b *bus) produce(text string) string {
	b.t.Helper()
	c := b.dial(b.producers, "")
	go func() { // answers may come before all is sent
		io.WriteString(c, text)
		c.CloseWrite()
	}()
	return c.rest()
}

// publish publishes lines and fails the test unless all are acknowledged.
func (b *bus) publish(request string, messages ...string) {
	b.t.Helper()
	answer := b.produce(request + "\n" + join(messages))
	if want := "+" + strconv.Itoa(len(messages)) + "\n"; !strings.HasSuffix("\n"+answer, "\n"+want) {
		b.t.Fatalf("publishing to %s: %q, not %q", request, answer, want)
	}
}

// drain consumes what a request gives.
func (b *bus) drain(request string) string {
	b.t.Helper()
	return b.dial(b.consumers, request+"\n").rest()
}

func (b *bus) mustDrain(request, want string) {
	b.t.Helper()
	if got := b.drain(request); got != want {
		b.t.Fatalf("%s gives %s, not %s", request, brief(got), brief(want))
	}
}

// join makes the text of messages.
func join(messages []string) string {
	if len(messages) == 0 {
		return ""
	}
	return strings.Join(messages, "\n") + "\n"
}

// numbered makes messages of a number and as many bytes as are asked for.
func numbered(n, size int) []string {
	messages := make([]string, n)
	for i := range messages {
		s := "message " + strconv.Itoa(i) + " "
		messages[i] = s + strings.Repeat("x", max(0, size-len(s)))
	}
	return messages
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// baseOf is the offset that a segment is named by.
func baseOf(t testing.TB, name string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".log"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// goneBelow is the error line about messages below an offset of partition 0 that are gone: for
// programs first, then for people.
func goneBelow(first int64) string {
	return "-GAP first=" + itoa(first) + " partition=0: the messages below offset " + itoa(first) + " are gone, removed by retention or lost"
}
