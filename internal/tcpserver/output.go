package tcpserver

import (
	"bytes"
	"sync"
	"time"
)

// An Output collects bytes for a peer and writes them. Its buffer comes from a pool, a small one for
// a peer that gets a little now and then.
type Output struct {
	Buf []byte // collected, and not written yet

	conn    Conn
	limit   time.Duration // in which the peer must take something
	pool    *sync.Pool
	mem     *[]byte // that Buf began with, from the pool
	written int64
}

// NewOutput is one for a connection whose peer must take something within limit, again and again.
func NewOutput(c Conn, limit time.Duration) Output { return Output{conn: c, limit: limit} }

// Sizes of buffers, in bytes. A buffer that has grown for something large is not kept.
const (
	smallOutput = 8 << 10
	largeOutput = 68 << 10
	maxOutput   = 2 * largeOutput
)

var (
	smallOutputs = sync.Pool{New: func() any { return newBuffer(smallOutput) }}
	largeOutputs = sync.Pool{New: func() any { return newBuffer(largeOutput) }}
)

func newBuffer(size int) *[]byte {
	p := make([]byte, 0, size)
	return &p
}

// Begin gets a buffer that suits size bytes, if there is none.
func (o *Output) Begin(size int) {
	if o.Buf != nil {
		return
	}
	if o.pool = &smallOutputs; size > smallOutput {
		o.pool = &largeOutputs
	}
	o.mem = o.pool.Get().(*[]byte)
	o.Buf = *o.mem
}

// Release gives the buffer back, and what is in it.
func (o *Output) Release() {
	if o.mem != nil {
		o.pool.Put(o.mem)
	}
	o.Buf, o.mem, o.pool = nil, nil, nil
}

// Written is the number of bytes written, in all.
func (o *Output) Written() int64 { return o.written }

// Received is how many of them the peer's system has.
func (o *Output) Received() (int64, error) {
	queued, err := o.conn.Unacknowledged()
	return o.written - int64(queued), err
}

// Write writes p, which may be Buf. After os.ErrDeadlineExceeded the rest is given, which Keep and
// WriteRest take.
func (o *Output) Write(p []byte, patience time.Duration) (rest []byte, err error) {
	n, err := o.conn.Write(p, min(patience, o.limit))
	o.written += int64(n)
	return p[n:], err
}

// Keep copies the rest for a peer that takes its time, if it is not of Buf, or if that makes it
// smaller. Then Buf is given back.
func (o *Output) Keep(rest []byte, isOther bool) []byte {
	if isOther || len(rest) <= cap(o.Buf)*7/8 {
		rest = bytes.Clone(rest)
		o.Release()
	}
	return rest
}

// WriteRest writes what Write has left.
func (o *Output) WriteRest(rest []byte) error {
	n, err := o.conn.WriteAll(o.limit, rest)
	o.written += n
	return err
}

// Reset empties Buf.
func (o *Output) Reset() {
	if o.Buf = o.Buf[:0]; cap(o.Buf) > maxOutput {
		o.Release()
	}
}
