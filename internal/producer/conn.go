// Package producer is the client side of the broker's port for producers, with
// format=batch: it sends messages in record batches and counts the acknowledgements.
// The messages have numbers, so that after a lost connection another one goes on: what is
// not acknowledged is kept and sent again, and the broker stores it once.
package producer

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
	// MaxMessage is the length in bytes that is given up on before anything is
	// sent. How much less the broker takes (-max-message) it says itself; this
	// bounds our memory. No broker expands a batch beyond it.
	MaxMessage = batch.DefaultMaxExpanded

	// batchSize is what a batch grows to, in bytes: enough to make its header
	// and the broker's work for it negligible.
	batchSize = 64 << 10

	// writeSize is what is collected before it is written, in bytes: several
	// batches a system call, and yet little memory. It is more than the lines of a read
	// make, so that these are written at once.
	writeSize = 2 * readSize

	// maxUnacked is how much may be unacknowledged, in bytes, but for one message that is
	// larger: what is kept to be sent again. At first it is firstUnacked, and doubles each
	// time that there has been no room for as long as patience: what the broker takes at
	// once is kept in memory that is used again and again, which is faster than fresh memory.
	maxUnacked   = 32 << 20
	firstUnacked = 1 << 20
	patience     = 10 * time.Millisecond

	// maxFree is how many buffers are kept to be used again.
	maxFree = maxUnacked / readSize

	// chunkOverhead is what a chunk takes beside its batches, in bytes, about.
	chunkOverhead = 256
)

// A Conn publishes to one topic, over one connection after the other. Add, Flush,
// SendLines, SendMessage and Close are for one goroutine; the others may be called from any.
type Conn struct {
	addr    string
	request Request
	id      int64 // of the numbered messages

	open      batch.Builder // added, not yet sent
	opened    int64         // number of the first message in it, from 1
	openLine  int64         // the line that this was
	added     int64         // number of the latest message
	lines     int64         // that were read, or messages that were given
	fromLines bool          // they are lines
	batchSize atomic.Int64  // of what is added from now on; less where the topic takes less

	sent    atomic.Int64 // number of the latest message that has been handed to a connection, or waits for one
	acked   atomic.Int64 // number up to which all are on disk, or left out
	skipped atomic.Int64 // messages that the broker has refused, and that were left out

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // there is less unacknowledged, or the end
	queue   []*chunk   // unacknowledged, in order
	next    int        // how many of them the connection has got
	unacked int        // bytes of them
	limit   int        // of unacked
	free    []*batch.Builder
	link    *link    // the connection, where it has got all of the queue; else nil
	closing bool     // nothing more is added
	doubt   bool     // what was never acknowledged may be stored
	bad     []string // what is to be said of messages that are left out

	lost  time.Time     // since when the broker has acknowledged nothing, after a lost connection; zero for it has
	pause time.Duration // before the next attempt to connect

	done chan struct{} // closed at the end
	err  error         // then says why, nil if everything was acknowledged
}

// A chunk is some batches that are written at once. Their messages are numbered without a
// gap.
type chunk struct {
	data        []byte
	builder     *batch.Builder // whose the data are; nil for nobody's
	first, last int64          // numbers
	line        int64          // the line that the first is
	writing     bool           // Flush writes it: it may not be used for anything else
}

// An Error says how many messages the broker had when it was given up. Those not
// acknowledged may or may not have been stored.
type Error struct {
	Sent, Acked int64
	Err         error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%d of %d sent messages acknowledged: %v", e.Acked, e.Sent, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// A Request says where messages go, and when, and what is done about failures. Names are
// the caller's to check; see message.CheckName.
type Request struct {
	Topic string
	Delay time.Duration // consumers get the messages so much later; 0 for at once
	At    string        // or then: RFC 3339, or milliseconds since 1970; "" for at once

	Retry   time.Duration // how long it is tried to go on after a lost connection; 0 for not
	Timeout time.Duration // that the broker may acknowledge nothing; 0 for no limit
	SkipBad bool          // messages that the broker refuses are left out, and not the end
	Say     func(string)  // takes what a user may want to know meanwhile; nil for nobody
}

// line is the request of a connection, whose first message has this number; fresh says
// that nothing can have been stored before.
func (r *Request) line(id, first int64, fresh bool) string {
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

// Dial connects to the broker at addr, host:port, and sends the request. There must be a
// broker: it is not waited for.
func Dial(addr string, r Request) (*Conn, error) {
	c := &Conn{addr: addr, request: r, id: 1 + rand.Int64N(1<<62), limit: firstUnacked, done: make(chan struct{})}
	c.changed.L = &c.mu
	c.batchSize.Store(batchSize)
	l, err := c.dial()
	if err != nil {
		return nil, err
	}
	c.link = l
	go c.serve(l)
	return c, nil
}

// Add takes in a message, which it copies; nil is the null message. timestamp is
// in milliseconds since 1970. Messages are sent when enough have come together,
// or by Flush. A message longer than MaxMessage is refused, which leaves the
// connection as it was; any other error is an *Error and final.
func (c *Conn) Add(timestamp int64, value []byte) error {
	c.lines++
	if len(value) > MaxMessage {
		return c.tooLong()
	}
	if size := c.open.OpenSize(); size > 0 && int64(size+len(value)) > c.batchSize.Load() {
		c.closeBatch()
	}
	c.added++
	if c.open.OpenSize() == 0 && len(c.open.Bytes()) == 0 {
		c.opened, c.openLine = c.added, c.lines
	}
	c.open.Add(timestamp, nil, value)
	if len(c.open.Bytes()) >= writeSize {
		return c.Flush()
	}
	return nil
}

// tooLong says that the latest line is not sent. With SkipBad it is said, and not an error.
// What was before it is sent, so that lines of a chunk follow on each other.
func (c *Conn) tooLong() error {
	err := fmt.Errorf("%s %d is longer than %d bytes", c.unit(), c.lines, MaxMessage)
	if !c.request.SkipBad {
		return err
	}
	c.say(fmt.Sprintf("%v, and is left out", err))
	return c.Flush()
}

// closeBatch ends the open batch, if there is one, and gives it its numbers.
func (c *Conn) closeBatch() {
	c.open.CloseFor(0, producerOf(c.id, c.added, c.open.Count()))
}

// producerOf is what the header of a batch says whose last record has the number last.
func producerOf(id, last int64, records int) batch.Producer {
	return batch.Producer{ID: id, Sequence: int32((last - int64(records)) & 0x7fffffff)}
}

// Flush sends what Add has taken in, when there is a connection; it waits while too much is
// unacknowledged. An error is an *Error and final.
func (c *Conn) Flush() error {
	c.closeBatch()
	size := len(c.open.Bytes()) + chunkOverhead
	if size == chunkOverhead {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaitRoom(size); c.ended() {
		return c.err
	}
	k := &chunk{builder: c.newBuilder(size), first: c.opened, last: c.added, line: c.openLine, writing: true}
	*k.builder, c.open = c.open, *k.builder
	k.data = k.builder.Bytes()
	c.sent.Store(c.added) // before the broker can acknowledge them
	c.queue = append(c.queue, k)
	c.unacked += size
	if l := c.link; l != nil {
		c.next++
		l.expect(k.last)
		c.mu.Unlock()
		l.write(k.data)
		c.mu.Lock()
	}
	k.writing = false
	return nil
}

// awaitRoom waits until so many bytes more may be unacknowledged, or for the end. The caller
// holds mu.
func (c *Conn) awaitRoom(size int) {
	full := func() bool { return c.unacked > 0 && c.unacked+size > c.limit && !c.ended() }
	if !full() {
		return
	}
	more := time.AfterFunc(patience, c.allowMore)
	defer more.Stop()
	for full() {
		c.changed.Wait()
		more.Reset(patience)
	}
}

// allowMore has more be unacknowledged, because the broker takes its time.
func (c *Conn) allowMore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = min(2*c.limit, maxUnacked)
	c.changed.Broadcast()
}

// newBuilder is an empty one, with room for what follows on so many bytes. The caller
// holds mu.
func (c *Conn) newBuilder(size int) *batch.Builder {
	n := len(c.free)
	if n == 0 {
		b := new(batch.Builder)
		if size >= batchSize {
			b.Grow(size + size/8)
		}
		return b
	}
	b := c.free[n-1]
	c.free = c.free[:n-1]
	b.Reset()
	return b
}

// ended says whether all is over. The caller holds mu.
func (c *Conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// finish is the end, with an error or nil. The caller holds mu, and calls it once.
func (c *Conn) finish(err error) {
	if err != nil {
		c.err = &Error{Sent: c.Sent(), Acked: c.Acked(), Err: err}
	}
	close(c.done)
	c.changed.Broadcast()
}

// Close sends what is left and waits until the broker has acknowledged every message. If
// it has not, the error is an *Error.
func (c *Conn) Close() error {
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
func (c *Conn) Wait() error {
	<-c.done
	return c.err
}

// Done is closed at the end, when nothing more will be acknowledged.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Sent is the number of messages sent so far, without those that were left out.
func (c *Conn) Sent() int64 { return c.sent.Load() - c.skipped.Load() }

// Acked is the number of messages that the broker has acknowledged so far.
func (c *Conn) Acked() int64 { return c.acked.Load() - c.skipped.Load() }

// Skipped is the number of messages that the broker has refused and that were left out.
func (c *Conn) Skipped() int64 { return c.skipped.Load() }

func (c *Conn) say(text string) {
	if c.request.Say != nil {
		c.request.Say(text)
	}
}
