package client

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/units"
)

const (
	// maxUnacknowledged is the time that the broker's system may leave written bytes
	// unacknowledged. A consumer writes little.
	maxUnacknowledged = time.Minute

	// commitTimeout is the time for a broker to confirm that acknowledgements are
	// durable. It takes a sync.
	commitTimeout = 5 * time.Second

	// maxReason bounds the reason of Fail, in bytes, so that brokers accept the line.
	maxReason = 1000
)

// A Consumer is one connection that consumes one topic, with format=batch. It is for one
// goroutine, except Interrupt and Wake.
//
// Without ConsumeRequest.Ack only Commit moves the position of the group. Until then the
// connection is set to be reset, not closed, when it ends: whatever ends the program,
// kill -9 included, the broker sees a reset, and the messages come again. With
// ConsumeRequest.Ack acknowledged messages are consumed, and the others come again however
// the connection ends.
type Consumer struct {
	conn   *conn
	source *source
	stream *stream
	ack    bool
	acked  int64 // sent to the broker
	unsent error // why the broker did not get every line
}

// DialConsumer connects to the broker and sends the request. The
// error wraps ErrUnreachable or ErrLost.
func DialConsumer(b Broker, r ConsumeRequest) (*Consumer, error) {
	conn, err := b.connect(r.line(), connectOptions{timeout: r.Timeout, unacknowledged: maxUnacknowledged, abort: !r.Ack || r.Risky})
	if err != nil {
		return nil, err
	}
	idle := r.Idle
	if idle == nil {
		idle = func() error { return nil }
	}
	c := &Consumer{conn: conn, source: &source{conn: conn}, ack: r.Ack}
	if !r.Follow { // a follower may wait for ever
		c.source.timeout = r.Timeout
	}
	c.stream = newStream(c.source, func() error {
		if c.source.interrupted.Load() {
			return ErrInterrupted
		}
		return idle()
	})
	return c, nil
}

// Next returns the next batch, whole and with the CRC it should have; it is
// valid until the following call. At the end of the topic the error is io.EOF,
// where the broker can't go on an *Error, and where the connection has ended it
// wraps ErrLost.
func (c *Consumer) Next() (batch.Batch, error) { return c.stream.next() }

// Partition is the partition of the batch that Next returned.
func (c *Consumer) Partition() int { return c.stream.partition }

// Ack says that the first n messages of this connection are done, all but those
// that Fail was called for. Without ConsumeRequest.Ack it does nothing. A failed write is
// reported by Next and Commit.
func (c *Consumer) Ack(n int64) {
	if c.ack && n > c.acked {
		c.write("+" + strconv.FormatInt(n, 10) + "\n")
		c.acked = n
	}
}

// Working says that the messages that were not acknowledged yet are still being worked
// on: the broker's time-out for acknowledgements begins again.
func (c *Consumer) Working() { c.write("+" + strconv.FormatInt(c.acked, 10) + "\n") }

// Fail says that message n of this connection, the first being 1, could not be
// processed: it is delivered again. Fail changes nothing for the messages before it.
func (c *Consumer) Fail(n int64, reason string) {
	reason = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, reason[:min(len(reason), maxReason)])
	c.write("-" + strconv.FormatInt(n, 10) + " " + reason + "\n")
}

func (c *Consumer) write(line string) {
	if _, err := io.WriteString(c.conn, line); err != nil {
		c.unsent = err
	}
}

// Interrupt has Next return ErrInterrupted where it would wait, at once if it
// waits now. Any goroutine may call it.
func (c *Consumer) Interrupt() { c.source.interrupt() }

// Wake has Next call ConsumeRequest.Idle where it would wait, at once if it waits now. Any
// goroutine may call it.
func (c *Consumer) Wake() { c.source.wake() }

// Quiet reports whether nothing has come that Next could look at without
// waiting. It ends the validity of the batch that Next returned.
func (c *Consumer) Quiet() bool { return c.stream.r == c.stream.w && !c.stream.peek(c.conn) }

// Commit ends the connection in good order. Without ConsumeRequest.Ack the group's
// position moves past everything received; the stream must have ended with
// io.EOF or with an *Error that Skips. With it, Commit waits until the broker
// has made durable what was acknowledged, at most 5 seconds. An error means that
// the messages may come again.
func (c *Consumer) Commit() error {
	await := c.awaitClose
	if c.ack {
		await = c.awaitConfirmation
	}
	if err := await(); err != nil {
		return fmt.Errorf("connection lost before the position was moved: %w", err)
	}
	if err := c.conn.resetOnClose(false); err != nil {
		return fmt.Errorf("the connection can't be closed in good order: %w", err)
	}
	return c.conn.Close()
}

// awaitClose waits for the broker to close its side. Closing ours after that tells the
// broker that the stream was read to the end.
func (c *Consumer) awaitClose() error {
	s := c.stream
	if s.r < s.w {
		return notBatches(string(s.buf[s.r:min(s.w, s.r+64)]))
	}
	n, err := c.conn.Read(s.buf)
	switch {
	case n > 0:
		return notBatches(string(s.buf[:min(n, 64)]))
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// awaitConfirmation closes our side, after which no acknowledgement follows, and waits for
// the broker to close its own, which confirms that all of them are durable. Messages that
// have come meanwhile go to other consumers.
func (c *Consumer) awaitConfirmation() error {
	s := c.stream
	if err := c.conn.CloseWrite(); err != nil {
		c.unsent = err // but the broker may have sent the reason
	}
	s.idle = func() error { return nil }
	deadline := time.Now().Add(commitTimeout)
	for s.err == nil || mayGoOn(s.err) && time.Now().Before(deadline) {
		s.err = c.source.finish(deadline) // again, because Interrupt may come late
		_, _ = s.next()
	}
	switch {
	case s.confirmed >= c.acked:
		return nil
	case s.err == errCutShort: // the broker has closed; any other loss has an error with it
		return c.unsent
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
// counts as consumed. With ConsumeRequest.Ack it closes it.
func (c *Consumer) Close() { c.conn.Close() }
