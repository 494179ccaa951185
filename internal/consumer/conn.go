// Package consumer is the client side of the broker's port for consumers, with
// format=batch.
//
// The position of the group moves only by Commit. From the first byte to then
// the connection is set to be reset, not closed, when it ends: whatever ends
// the program, kill -9 included, the broker sees a reset, and the messages come
// again.
package consumer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"mbus/internal/batch"
)

// dialTimeout is for a host that does not answer at all.
const dialTimeout = 10 * time.Second

// A Request says what to consume. Names are the caller's to check; see
// record.CheckName.
type Request struct {
	Topic string
	Group string // the group whose position is read and moved
	N     int64  // at most so many messages; 0 for all

	// Idle, if not nil, is called before each wait for the broker: the time to
	// write out what was received. Its error ends the stream.
	Idle func() error
}

func (r *Request) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s?format=batch&group=%s", r.Topic, r.Group)
	if r.N > 0 {
		fmt.Fprintf(&b, "&n=%d", r.N)
	}
	b.WriteByte('\n')
	return b.String()
}

// A Conn is one connection that consumes one topic. It is for one goroutine.
type Conn struct {
	tcp    *net.TCPConn
	stream *stream
}

// Dial connects to the broker at addr, host:port, and sends the request.
func Dial(addr string, r Request) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return nil, fmt.Errorf("can't reach the broker: %w", err)
	}
	tcp := conn.(*net.TCPConn)
	if err := tcp.SetLinger(0); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("the connection can't be set to be reset: %w", err)
	}
	if _, err := io.WriteString(tcp, r.line()); err != nil {
		tcp.Close()
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	idle := r.Idle
	if idle == nil {
		idle = func() error { return nil }
	}
	return &Conn{tcp: tcp, stream: newStream(tcp, idle)}, nil
}

// Next returns the next batch, whole and with the CRC it should have; it is
// valid until the following call. At the end of the topic the error is io.EOF,
// where the broker can't go on an *Error, and where the connection has ended it
// wraps ErrLost.
func (c *Conn) Next() (batch.Batch, error) { return c.stream.next() }

// Partition is the partition of the batch that Next returned.
func (c *Conn) Partition() int { return c.stream.partition }

// Commit ends the connection in good order, by which the group's position moves
// past everything received. The stream must have ended with io.EOF or with an
// *Error that Skips. An error means that the messages may come again.
func (c *Conn) Commit() error {
	if err := c.awaitClose(); err != nil {
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

// Close resets the connection, unless Commit has ended it: nothing received
// counts as consumed.
func (c *Conn) Close() { c.tcp.Close() }
