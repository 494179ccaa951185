package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"mbus/internal/units"
)

// A link is one connection. Its methods are called with the mutex of the Producer held, but for
// write.
type link struct {
	conn    *conn
	timeout time.Duration // for an acknowledgement; 0 for no limit
	last    int64         // number of the latest message that was written, or is about to be
	acked   int64         // number of the latest message that the broker has acknowledged
	silent  bool          // no line of the broker has come
	closed  bool          // our side is closed
	dead    bool          // the connection has ended
	again   bool          // there was a connection before, and the user does not know yet that this one is in use
}

// errSilent says that the broker does not answer.
var errSilent = errors.New("the broker has acknowledged nothing")

// connect connects and sends the request.
func (c *Producer) connect() (*link, error) {
	timeout := dialTimeout
	if c.request.Timeout > 0 {
		timeout = min(timeout, c.request.Timeout)
	}
	c.mu.Lock()
	first := c.acked.Load() + 1
	if q := c.backlog.chunks; len(q) > 0 {
		first = q[0].first
	}
	fresh := !c.uncertain && c.Acked() == 0
	c.mu.Unlock()
	conn, err := c.broker.connect(c.request.line(c.id, first, fresh), connectOptions{timeout: timeout}) // Timeout bounds acknowledgements
	if err != nil {
		return nil, err
	}
	return &link{conn: conn, timeout: c.request.Timeout, last: first - 1, acked: first - 1, silent: true}, nil
}

// expect says that messages up to last are about to be written.
func (l *link) expect(last int64) {
	if l.last == l.acked && l.timeout > 0 {
		l.extend()
	}
	l.last = last
}

// write writes. Where it fails the connection has ended, and the reader learns why.
func (l *link) write(p []byte) { _, _ = l.conn.Write(p) }

// close ends our side.
func (l *link) close() {
	l.closed = true
	if l.timeout > 0 {
		l.extend()
	}
	_ = l.conn.CloseWrite()
}

// extend restarts the broker's time.
func (l *link) extend() { _ = l.conn.SetReadDeadline(time.Now().Add(l.timeout)) }

// read reads acknowledgements until the broker's side ends, and returns the error, nil for
// an end in good order.
func (c *Producer) read(l *link) error {
	defer l.conn.Close() // releases a write that waits
	r := bufio.NewReaderSize(l.conn, maxLine)
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

// answer reads one line: an acknowledgement or an error.
func (c *Producer) answer(l *link, line string) error {
	if text, isError := strings.CutPrefix(line, "-"); isError {
		return parseError(text)
	}
	count, plus := strings.CutPrefix(line, "+")
	n, err := strconv.ParseInt(count, 10, 64)
	c.mu.Lock()
	if !plus || err != nil || n < l.acked || n > l.last {
		c.mu.Unlock()
		return c.unexpected(line)
	}
	l.acked, l.silent = n, false
	switch {
	case l.timeout == 0:
	case n < l.last || l.closed:
		l.extend()
	default:
		_ = l.conn.SetReadDeadline(time.Time{})
	}
	c.acknowledge(n)
	c.outage = outage{}
	again := l.again
	l.again = false
	c.mu.Unlock()
	if again {
		c.say(fmt.Sprintf("connected again; %d messages are on disk", c.Acked()))
	}
	return nil
}

// acknowledge drops the messages that are on disk. The caller holds mu.
func (c *Producer) acknowledge(n int64) {
	c.acked.Store(max(n, c.acked.Load()))
	c.backlog.acknowledge(n)
}

// errForeign says that the other side is no broker, or another port of one.
var errForeign = errors.New("not mbus's port for producers")

func (c *Producer) unexpected(answer string) error {
	return fmt.Errorf("unexpected answer %q: %s is %w", answer[:min(len(answer), 64)], c.broker.Addr, errForeign)
}

// errClosed says that the broker closed a connection too early.
var errClosed = fmt.Errorf("%w: the broker closed it", ErrLost)

// end is the error for a connection that could be read no further, nil after
// an orderly end. rest are the bytes after the last line.
func (c *Producer) end(l *link, rest []byte, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return c.unexpected(string(rest))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w for %s", ErrLost, errSilent, units.FormatDuration(l.timeout))
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrLost, err)
	case len(rest) == 0 && !l.silent && l.closed && l.acked == l.last:
		return nil
	}
	return errClosed
}
