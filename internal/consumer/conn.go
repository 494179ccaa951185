// Package consumer is the client side of the broker's port for consumers, with
// format=batch.
//
// Without Request.Ack the position of the group moves only by Commit. From the
// first byte to then the connection is set to be reset, not closed, when it
// ends: whatever ends the program, kill -9 included, the broker sees a reset,
// and the messages come again. With Request.Ack what was acknowledged is
// consumed, and the rest comes again however the connection ends.
package consumer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/client"
	"mbus/internal/units"
)

const (
	// dialTimeout is for a host that does not answer at all.
	dialTimeout = 10 * time.Second

	// unacked is how long the broker's system may leave unacknowledged what was written,
	// which is little.
	unacked = time.Minute

	// commitTimeout is how long a broker may take to say that acknowledgements
	// are durable. It takes a sync.
	commitTimeout = 5 * time.Second

	// maxReason bounds what Fail says, in bytes, so that the line stays one that
	// brokers take.
	maxReason = 1000
)

// A Conn is one connection that consumes one topic. It is for one goroutine, but
// for Interrupt.
type Conn struct {
	tcp    *net.TCPConn
	source *source
	stream *stream
	ack    bool
	acked  int64 // said to the broker
	unsaid error // why the broker did not get all that was said
}

// ErrUnreachable says that there is no connection.
var ErrUnreachable = errors.New("can't reach the broker")

// Dial connects to the broker at addr, host:port, and sends the request. The
// error wraps ErrUnreachable or ErrLost.
func Dial(addr string, r Request) (*Conn, error) {
	conn, err := dial(addr, !r.Ack || r.Risky, r.line(), r.Timeout)
	if err != nil {
		return nil, err
	}
	idle := r.Idle
	if idle == nil {
		idle = func() error { return nil }
	}
	c := &Conn{tcp: conn, source: &source{tcp: conn}, ack: r.Ack}
	if !r.Follow { // one that follows may have nothing to say
		c.source.patience = r.Timeout
	}
	c.stream = newStream(c.source, func() error {
		if c.source.interrupted.Load() {
			return ErrInterrupted
		}
		return idle()
	})
	return c, nil
}

// dial connects and sends the request line. With reset the connection is reset
// when it ends, until something else is said.
func dial(addr string, reset bool, line string, timeout time.Duration) (*net.TCPConn, error) {
	if timeout == 0 {
		timeout = dialTimeout
	}
	conn, err := client.Dial(addr, timeout, unacked)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if reset {
		if err := conn.SetLinger(0); err != nil {
			conn.Close()
			return nil, fmt.Errorf("the connection can't be set to be reset: %w", err)
		}
	}
	if _, err := io.WriteString(conn, line); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return conn, nil
}

// Next returns the next batch, whole and with the CRC it should have; it is
// valid until the following call. At the end of the topic the error is io.EOF,
// where the broker can't go on an *Error, and where the connection has ended it
// wraps ErrLost.
func (c *Conn) Next() (batch.Batch, error) { return c.stream.next() }

// Partition is the partition of the batch that Next returned.
func (c *Conn) Partition() int { return c.stream.partition }

// Ack says that the first n messages of this connection are done, all but those
// that Fail was called for. Without Request.Ack it does nothing. A connection that
// can't be written to has ended, which Next and Commit say.
func (c *Conn) Ack(n int64) {
	if c.ack && n > c.acked {
		c.write("+" + strconv.FormatInt(n, 10) + "\n")
		c.acked = n
	}
}

// Working says that the messages that were not acknowledged yet are still being worked
// on: the broker's time-out for acknowledgements begins anew.
func (c *Conn) Working() { c.write("+" + strconv.FormatInt(c.acked, 10) + "\n") }

// Fail says that message n of this connection, the first being 1, could not be
// dealt with: it is delivered again. The messages before it are as Ack says.
func (c *Conn) Fail(n int64, reason string) {
	reason = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, reason[:min(len(reason), maxReason)])
	c.write("-" + strconv.FormatInt(n, 10) + " " + reason + "\n")
}

func (c *Conn) write(line string) {
	if _, err := io.WriteString(c.tcp, line); err != nil {
		c.unsaid = err
	}
}

// Interrupt has Next return ErrInterrupted where it would wait, at once if it
// waits now. Any goroutine may call it.
func (c *Conn) Interrupt() { c.source.interrupt() }

// Wake has Next call Request.Idle where it would wait, at once if it waits now. Any
// goroutine may call it.
func (c *Conn) Wake() { c.source.wake() }

// Quiet reports whether nothing has come that Next could look at without
// waiting.
func (c *Conn) Quiet() bool { return c.stream.r == c.stream.w && !readable(c.tcp) }

// Commit ends the connection in good order. Without Request.Ack the group's
// position moves past everything received; the stream must have ended with
// io.EOF or with an *Error that Skips. With it, Commit waits until the broker
// has made durable what was acknowledged, at most 5 seconds. An error means that
// the messages may come again.
func (c *Conn) Commit() error {
	await := c.awaitClose
	if c.ack {
		await = c.awaitConfirmation
	}
	if err := await(); err != nil {
		return fmt.Errorf("connection lost before the position was moved: %w", err)
	}
	if err := c.tcp.SetLinger(-1); err != nil {
		return fmt.Errorf("the connection can't be closed in good order: %w", err)
	}
	return c.tcp.Close()
}

// awaitClose waits for the broker to close its side, which is the order that
// tells it that we have read to the end.
func (c *Conn) awaitClose() error {
	s := c.stream
	if s.r < s.w {
		return notBatches(string(s.buf[s.r:min(s.w, s.r+64)]))
	}
	n, err := c.tcp.Read(s.buf)
	switch {
	case n > 0:
		return notBatches(string(s.buf[:min(n, 64)]))
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// awaitConfirmation closes our side, which says that there is no more to
// acknowledge, and waits for the broker to close its own, which says that all
// is durable. What it has sent meanwhile is not ours any more.
func (c *Conn) awaitConfirmation() error {
	s := c.stream
	if err := c.tcp.CloseWrite(); err != nil {
		c.unsaid = err // but the broker may have said why
	}
	s.idle = func() error { return nil }
	deadline := time.Now().Add(commitTimeout)
	for s.err == nil || mayGoOn(s.err) && time.Now().Before(deadline) {
		s.err = c.source.finish(deadline) // anew, for Interrupt may come late
		_, _ = s.next()
	}
	switch {
	case s.confirmed >= c.acked:
		return nil
	case s.err == ErrLost: // the broker has closed; any other loss has an error with it
		return c.unsaid
	case mayGoOn(s.err):
		return fmt.Errorf("the broker has not confirmed it within %s", units.FormatDuration(commitTimeout))
	}
	return s.err
}

// mayGoOn reports whether the broker has not closed yet after the error.
func mayGoOn(err error) bool {
	var broker *Error
	return errors.Is(err, io.EOF) || errors.Is(err, ErrInterrupted) || errors.As(err, &broker) && broker.Skips()
}

// Close resets the connection, unless Commit has ended it: nothing received
// counts as consumed. With Request.Ack it closes it.
func (c *Conn) Close() { c.tcp.Close() }
