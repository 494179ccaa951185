package client

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/units"
)

const (
	// MaxMessage is the largest message that the producer sends, in bytes. It bounds the
	// producer's memory; the broker's limit (-max-message) is lower, and comes in its
	// response. No broker expands a batch beyond it.
	MaxMessage = batch.DefaultMaxExpanded

	// batchSize is the size in bytes at which a batch is closed: enough to make its header
	// and the broker's work for it negligible.
	batchSize = 64 << 10

	// writeSize is the size in bytes at which closed batches are written: several batches a
	// system call, and yet little memory. It is more than the lines of one read make, so
	// that these are written at once.
	writeSize = 2 * readSize
)

// A Producer publishes to one topic with format=batch, over one connection after the
// other. The messages have numbers, so that a new connection goes on after a lost one:
// unacknowledged messages are kept and sent again, and the broker stores each once.
//
// Add, Flush, SendLines, SendMessage and Close are for one goroutine; the others may be
// called from any.
type Producer struct {
	broker  Broker
	request ProduceRequest
	id      int64 // of the numbered messages
	pending pending

	batchSize atomic.Int64 // of batches from now on; less where the topic takes less
	sent      atomic.Int64 // number of the latest message that was handed to a connection, or waits for one
	acked     atomic.Int64 // number up to which all messages are on disk, or left out
	skipped   atomic.Int64 // messages that the broker has refused, and that were left out

	mu        sync.Mutex // guards what follows
	backlog   backlog
	link      *link // the connection, where it has got the whole backlog; else nil
	outage    outage
	closing   bool     // no message is added any more
	uncertain bool     // messages without an acknowledgement may be stored
	refusals  []string // not reported yet

	done chan struct{} // closed at the end
	err  error         // then the reason; nil if everything was acknowledged
}

// pending is what Add has taken in and Flush has not sent. It belongs to their goroutine.
type pending struct {
	batches   batch.Builder
	first     int64 // number of the first message in it, from 1
	line      int64 // the line that this was
	added     int64 // number of the latest message
	lines     int64 // that were read, or messages that were given
	fromLines bool  // they are lines
}

// An UnacknowledgedError says how many messages the broker had when the producer gave up.
// Messages without an acknowledgement may or may not have been stored.
type UnacknowledgedError struct {
	Sent, Acked int64
	Err         error
}

func (e *UnacknowledgedError) Error() string {
	return fmt.Sprintf("%d of %d sent messages acknowledged: %v", e.Acked, e.Sent, e.Err)
}

func (e *UnacknowledgedError) Unwrap() error { return e.Err }

// A ProduceRequest says where messages go, when, and what happens after failures. The
// caller checks names; see message.CheckName.
type ProduceRequest struct {
	Topic string
	Delay time.Duration // until consumers get the messages; 0 for at once
	At    string        // or the time: RFC 3339, or milliseconds since 1970; "" for at once

	Retry   time.Duration // limit for connecting again after a lost connection; 0 for not at all
	Timeout time.Duration // without an acknowledgement from the broker; 0 for no limit
	SkipBad bool          // messages that the broker refuses are left out, and not the end
	Say     func(string)  // gets messages for the user meanwhile; nil for none
}

// line is the request line of a connection, whose first message has this number; fresh says
// that no message can have been stored before.
func (r *ProduceRequest) line(id, first int64, fresh bool) string {
	line := units.NewRequest(r.Topic)
	line.Option("format", "batch")
	if r.Delay > 0 {
		line.Option("delay", units.FormatDuration(r.Delay))
	}
	if r.At != "" {
		line.Option("at", r.At)
	}
	line.Option("producer", fmt.Sprint(id))
	if fresh {
		line.Word("new")
	}
	if first > 1 || !fresh {
		line.Option("first", fmt.Sprint(first))
	}
	return line.String()
}

// DialProducer connects to the broker and sends the request. It does
// not wait for a broker that is not there. The error wraps ErrUnreachable or ErrLost.
func DialProducer(b Broker, r ProduceRequest) (*Producer, error) {
	c := &Producer{broker: b, request: r, id: 1 + rand.Int64N(1<<62), done: make(chan struct{})}
	c.backlog.init(&c.mu)
	c.batchSize.Store(batchSize)
	l, err := c.connect()
	if err != nil {
		return nil, err
	}
	c.link = l
	go c.serve(l)
	return c, nil
}

// Add takes in a message, which it copies; nil is the null message. timestamp is in
// milliseconds since 1970. Messages are sent when there are enough of them, or by Flush. A
// message longer than MaxMessage is refused, which leaves the connection as it was; any
// other error is an *UnacknowledgedError and final.
func (c *Producer) Add(timestamp int64, value []byte) error {
	in := &c.pending
	in.lines++
	if len(value) > MaxMessage {
		return c.tooLong()
	}
	if size := in.batches.OpenSize(); size > 0 && int64(size+len(value)) > c.batchSize.Load() {
		c.closeBatch()
	}
	in.added++
	if in.batches.OpenSize() == 0 && len(in.batches.Bytes()) == 0 {
		in.first, in.line = in.added, in.lines
	}
	in.batches.Add(timestamp, nil, value)
	if len(in.batches.Bytes()) >= writeSize {
		return c.Flush()
	}
	return nil
}

// tooLong reports that the latest line is not sent. With SkipBad it is no error. Messages
// before it are sent, so that the lines of a chunk follow each other.
func (c *Producer) tooLong() error {
	err := fmt.Errorf("%s %d is longer than %d bytes", c.unit(), c.pending.lines, MaxMessage)
	if !c.request.SkipBad {
		return err
	}
	c.say(fmt.Sprintf("%v, and is left out", err))
	return c.Flush()
}

// closeBatch ends the open batch, if there is one, and gives it its numbers.
func (c *Producer) closeBatch() {
	b := &c.pending.batches
	b.CloseFor(0, numbered(c.id, c.pending.added, b.Count()))
}

// numbered is the producer in the header of a batch whose last record has the number last.
func numbered(id, last int64, records int) batch.Producer {
	return batch.Producer{ID: id, Sequence: int32((last - int64(records)) & 0x7fffffff)}
}

// Flush sends the messages that Add has taken in, when there is a connection; it waits
// while too many bytes are unacknowledged. An error is an *UnacknowledgedError and final.
func (c *Producer) Flush() error {
	c.closeBatch()
	in := &c.pending
	size := len(in.batches.Bytes()) + chunkOverhead
	if size == chunkOverhead {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.backlog.await(size, c.ended); c.ended() {
		return c.err
	}
	k := &chunk{builder: c.backlog.newBuilder(size), first: in.first, last: in.added, line: in.line, writing: true}
	*k.builder, in.batches = in.batches, *k.builder
	k.data = k.builder.Bytes()
	c.sent.Store(in.added) // before the broker can acknowledge them
	c.backlog.add(k)
	if l := c.link; l != nil {
		c.backlog.next++
		l.expect(k.last)
		c.mu.Unlock()
		l.write(k.data)
		c.mu.Lock()
	}
	k.writing = false
	return nil
}

// ended reports whether the producer has ended. The caller holds mu.
func (c *Producer) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// finish ends the producer, with an error or nil. The caller holds mu, and calls it once.
func (c *Producer) finish(err error) {
	if err != nil {
		c.err = &UnacknowledgedError{Sent: c.Sent(), Acked: c.Acked(), Err: err}
	}
	close(c.done)
	c.backlog.changed.Broadcast()
}

// Close sends the rest and waits until the broker has acknowledged every message. If it has
// not, the error is an *UnacknowledgedError.
func (c *Producer) Close() error {
	if err := c.Flush(); err != nil {
		return err
	}
	c.mu.Lock()
	c.closing = true
	if c.link != nil {
		c.link.close()
	}
	c.mu.Unlock()
	return c.Wait()
}

// Wait waits for the end, and returns nil if that was after Close and with every message
// acknowledged.
func (c *Producer) Wait() error {
	<-c.done
	return c.err
}

// Done is closed at the end, when no acknowledgement follows.
func (c *Producer) Done() <-chan struct{} { return c.done }

// Sent is the number of messages sent so far, without those that were left out.
func (c *Producer) Sent() int64 { return c.sent.Load() - c.skipped.Load() }

// Acked is the number of messages that the broker has acknowledged so far.
func (c *Producer) Acked() int64 { return c.acked.Load() - c.skipped.Load() }

// Skipped is the number of messages that the broker has refused and that were left out.
func (c *Producer) Skipped() int64 { return c.skipped.Load() }

func (c *Producer) say(text string) {
	if c.request.Say != nil {
		c.request.Say(text)
	}
}
