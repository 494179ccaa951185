// Package producer is the client side of the broker's port for producers, with
// format=batch: it sends messages in record batches and counts the
// acknowledgements. It never connects a second time: which messages the broker
// has, only the user can decide upon.
package producer

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/units"
)

const (
	// MaxMessage is the length in bytes that is given up on before anything is
	// sent. How much less the broker takes (-max-message) it says itself; this
	// bounds our memory. No broker expands a batch beyond it.
	MaxMessage = batch.DefaultMaxExpanded

	// batchSize is what a batch grows to, in bytes: enough to make its header
	// and the broker's work for it negligible.
	batchSize = 64 << 10

	// writeSize is what is collected before it is written, in bytes: several
	// batches a system call, and yet little memory.
	writeSize = 256 << 10

	// dialTimeout is for a host that does not answer at all.
	dialTimeout = 10 * time.Second
)

// A Conn is one connection that publishes to one topic. Add, Flush, SendLines
// and Close are for one goroutine; the others may be called from any.
type Conn struct {
	tcp     *net.TCPConn
	open    batch.Builder // added, not yet sent
	added   int64
	sent    atomic.Int64
	acked   atomic.Int64
	closing atomic.Bool // our side is closed, or about to be

	done chan struct{} // closed when the broker's side has ended, one way or the other
	err  error         // then says why, nil if everything was acknowledged
}

// An Error says how many messages the broker had when the connection ended
// before its time. Those not acknowledged may or may not have been stored.
type Error struct {
	Sent, Acked int64
	Err         error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%d of %d sent messages acknowledged: %v", e.Acked, e.Sent, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// A Request says where messages go, and when. Names are the caller's to check; see
// record.CheckName.
type Request struct {
	Topic string
	Delay time.Duration // consumers get the messages so much later; 0 for at once
	At    string        // or then: RFC 3339, or milliseconds since 1970; "" for at once
}

func (r *Request) line() string {
	line := units.NewRequest(r.Topic)
	line.Option("format", "batch")
	if r.Delay > 0 {
		line.Option("delay", units.FormatDuration(r.Delay))
	}
	if r.At != "" {
		line.Option("at", r.At)
	}
	return line.String()
}

// Dial connects to the broker at addr, host:port, and sends the request.
func Dial(addr string, r Request) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return nil, fmt.Errorf("can't reach the broker: %w", err)
	}
	if _, err := io.WriteString(conn, r.line()); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connection lost: %w", err)
	}
	c := &Conn{tcp: conn.(*net.TCPConn), done: make(chan struct{})}
	go c.readAnswers()
	return c, nil
}

// Add takes in a message, which it copies; nil is the null message. timestamp is
// in milliseconds since 1970. Messages are sent when enough have come together,
// or by Flush. A message longer than MaxMessage is refused, which leaves the
// connection as it was; any other error is an *Error and final.
func (c *Conn) Add(timestamp int64, value []byte) error {
	if len(value) > MaxMessage {
		return tooLong(c.added + 1)
	}
	if c.open.OpenSize()+len(value) > batchSize {
		c.open.Close(0)
	}
	c.open.Add(timestamp, nil, value)
	c.added++
	if len(c.open.Bytes()) >= writeSize {
		return c.Flush()
	}
	return nil
}

func tooLong(number int64) error {
	return fmt.Errorf("message %d is longer than %d bytes", number, MaxMessage)
}

// Flush sends what Add has taken in. An error is an *Error and final.
func (c *Conn) Flush() error {
	c.open.Close(0)
	if len(c.open.Bytes()) == 0 {
		return nil
	}
	c.sent.Store(c.added) // before the broker can acknowledge them
	_, err := c.tcp.Write(c.open.Bytes())
	c.open.Reset()
	if err != nil {
		return c.Wait() // what can't be written to is soon read to its end, and may hold an answer
	}
	return nil
}

// Close sends what is left, closes our side and waits until the broker has
// acknowledged every message. If it has not, the error is an *Error.
func (c *Conn) Close() error {
	if err := c.Flush(); err != nil {
		return err
	}
	c.closing.Store(true)
	_ = c.tcp.CloseWrite() // where it fails the connection has ended, and Wait says how
	return c.Wait()
}

// Wait waits until the broker's side of the connection has ended, and returns
// nil if that was after Close and with every message acknowledged.
func (c *Conn) Wait() error {
	<-c.done
	return c.err
}

// Done is closed when the broker's side of the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Sent is the number of messages sent so far.
func (c *Conn) Sent() int64 { return c.sent.Load() }

// Acked is the number of messages that the broker has acknowledged so far.
func (c *Conn) Acked() int64 { return c.acked.Load() }

func (c *Conn) ended(err error) error {
	return &Error{Sent: c.Sent(), Acked: c.Acked(), Err: err}
}
