package producer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"mbus/internal/client"
	"mbus/internal/units"
)

const (
	// maxAnswer is the longest line that a broker may answer, in bytes: far more
	// than any error it has words for.
	maxAnswer = 16 << 10

	// dialTimeout is for a host that does not answer at all.
	dialTimeout = 10 * time.Second
)

// A link is one connection. Its methods are called with the mutex of the Conn held, but for
// write.
type link struct {
	tcp     *net.TCPConn
	timeout time.Duration // that it may be silent while something is expected; 0 for no limit
	last    int64         // number of the latest message that was written, or is about to be
	told    int64         // that the broker has acknowledged
	silent  bool          // the broker has said nothing
	closed  bool          // our side is
	dead    bool          // it has ended
	again   bool          // there was one before, and it is to be said that this one is in use
}

// An answerError is what the broker says before it closes the connection.
type answerError struct{ code, text string }

func (e *answerError) Error() string { return "the broker answered -" + e.code + " " + e.text }

// errSilent says that the broker does not answer.
var errSilent = errors.New("the broker has acknowledged nothing")

// dial connects and sends the request.
func (c *Conn) dial() (*link, error) {
	timeout := dialTimeout
	if c.request.Timeout > 0 {
		timeout = min(timeout, c.request.Timeout)
	}
	conn, err := client.Dial(c.addr, timeout, 0) // a broker may take its time: Timeout bounds that
	if err != nil {
		return nil, fmt.Errorf("can't reach the broker: %w", err)
	}
	c.mu.Lock()
	first := c.acked.Load() + 1
	if len(c.queue) > 0 {
		first = c.queue[0].first
	}
	fresh := !c.doubt && c.Acked() == 0
	c.mu.Unlock()
	if _, err := io.WriteString(conn, c.request.line(c.id, first, fresh)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connection lost: %w", err)
	}
	return &link{tcp: conn, timeout: c.request.Timeout, last: first - 1, told: first - 1, silent: true}, nil
}

// expect says that messages up to last are about to be written.
func (l *link) expect(last int64) {
	if l.last == l.told && l.timeout > 0 {
		l.patient()
	}
	l.last = last
}

// write writes. Where it fails the connection has ended, and the reader learns why.
func (l *link) write(p []byte) { _, _ = l.tcp.Write(p) }

// close ends our side.
func (l *link) close() {
	l.closed = true
	if l.timeout > 0 {
		l.patient()
	}
	_ = l.tcp.CloseWrite()
}

// patient gives the broker its time anew.
func (l *link) patient() { _ = l.tcp.SetReadDeadline(time.Now().Add(l.timeout)) }

// read takes acknowledgements until the broker's side ends, and returns the error, nil for
// an end in good order.
func (c *Conn) read(l *link) error {
	defer l.tcp.Close() // releases a write that waits
	r := bufio.NewReaderSize(l.tcp, maxAnswer)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return c.end(l, line, err)
		}
		if err := c.answer(l, string(line[:len(line)-1])); err != nil {
			return err
		}
	}
}

// answer takes one line: an acknowledgement or an error.
func (c *Conn) answer(l *link, line string) error {
	if text, isError := strings.CutPrefix(line, "-"); isError {
		code, text, _ := strings.Cut(text, " ")
		return &answerError{code, text}
	}
	count, plus := strings.CutPrefix(line, "+")
	n, err := strconv.ParseInt(count, 10, 64)
	c.mu.Lock()
	if !plus || err != nil || n < l.told || n > l.last {
		c.mu.Unlock()
		return c.unexpected(line)
	}
	l.told, l.silent = n, false
	switch {
	case l.timeout == 0:
	case n < l.last || l.closed:
		l.patient()
	default:
		_ = l.tcp.SetReadDeadline(time.Time{})
	}
	c.acknowledge(n)
	c.lost = time.Time{}
	again := l.again
	l.again = false
	c.mu.Unlock()
	if again {
		c.say(fmt.Sprintf("connected again; %d messages are on disk", c.Acked()))
	}
	return nil
}

// acknowledge drops what is on disk. The caller holds mu.
func (c *Conn) acknowledge(n int64) {
	c.acked.Store(max(n, c.acked.Load()))
	done := 0
	for ; done < len(c.queue) && c.queue[done].last <= n; done++ {
		k := c.queue[done]
		c.unacked -= len(k.data) + chunkOverhead
		if k.builder != nil && !k.writing && len(c.free) < maxFree && k.builder.Cap() <= 2*writeSize {
			c.free = append(c.free, k.builder)
		}
	}
	if done > 0 {
		c.queue = append(c.queue[:0], c.queue[done:]...)
		c.next -= min(done, c.next)
		c.changed.Broadcast()
	}
}

// errForeign says that the other side is no broker, or not its port for producers.
var errForeign = errors.New("not mbus's port for producers")

func (c *Conn) unexpected(answer string) error {
	return fmt.Errorf("unexpected answer %q: %s is %w", answer[:min(len(answer), 64)], c.addr, errForeign)
}

// errClosed is the end of a connection that was not to be.
var errClosed = errors.New("connection lost: the broker closed it")

// end is the error for a connection that could be read no further, nil where
// that is as it should be. rest is what came after the last line.
func (c *Conn) end(l *link, rest []byte, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return c.unexpected(string(rest))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("connection lost: %w for %s", errSilent, units.FormatDuration(l.timeout))
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("connection lost: %w", err)
	case len(rest) == 0 && !l.silent && l.closed && l.told == l.last:
		return nil
	}
	return errClosed
}
