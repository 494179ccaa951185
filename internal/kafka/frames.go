package kafka

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// Limits of a request's frame, in bytes without its size field.
const (
	// maxFrame is for all requests but those below: a list of 30,000 topics fits.
	maxFrame = 1 << 20

	// maxProduce is the limit for Produce, or more with a larger -max-message; Kafka has the same
	// (socket.request.max.bytes): some clients fill one with batches for all partitions.
	maxProduce = 100 << 20

	// maxMember is the limit for JoinGroup and SyncGroup. The metadata of a member may be
	// large (Kafka Streams), and a leader sends the assignments of all members at once.
	// The coordinator limits the memory for both.
	maxMember = 16 << 20

	// maxLogin is the limit for requests that are handled before a client has logged in.
	maxLogin = 64 << 10

	// maxWhole is the size of the largest frame that is read whole before it is used.
	maxWhole = 16 << 20
)

// frames reads requests' frames from a connection: a size in four bytes, and as
// many bytes. The buffer is small at first and grows with the bytes received, not with
// the size that the client announces. A large buffer takes memory from the broker's budget,
// waits for it if necessary, and returns it when the frame has been used.
type frames struct {
	conn       tcpserver.Conn
	budget     *broker.Budget
	limits     *broker.Limits
	quit       <-chan struct{} // closed when no read waits for memory any more
	onShortage func()          // called before a wait for memory

	first    *[broker.FirstBuffer]byte // of the pool; buf, unless that is a large one
	buf      []byte
	r, w     int         // buf[r:w] is received and not used yet
	frame    int         // size in bytes of the frame that whole has returned, with its size field
	ahead    int         // bytes from r on that belong to the frame of a large buffer
	hold     broker.Hold // the memory of a large buffer
	deadline time.Time   // for the bytes that a large buffer has room for
	bounded  bool        // a read has a deadline
}

// errGivenUp ends a wait for memory like a read that was interrupted.
var errGivenUp = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

// sizeField is the size in bytes of the field before a frame.
const sizeField = 4

// awaitHeader waits for the fixed part of a header and returns the frame's size. At the end of the
// connection the error is io.EOF.
func (f *frames) awaitHeader() (size int, err error) {
	if err := f.fill(sizeField); err != nil {
		return 0, err
	}
	// A line that was sent to the wrong port may be shorter than a header: then more bytes
	// would never arrive.
	if size := f.announced(); size < fixedHeader || size > f.maxSize() {
		return 0, errSize(size, fixedHeader, f.maxSize())
	}
	if err := f.fill(sizeField + fixedHeader); err != nil {
		return 0, err
	}
	return f.size()
}

// announced is the size in the frame's size field, not checked.
func (f *frames) announced() int64 { return int64(int32(binary.BigEndian.Uint32(f.buf[f.r:]))) }

// maxSize is the limit for frames of any key, in bytes.
func (f *frames) maxSize() int64 {
	return max(maxProduce, maxMember, int64(f.limits.MaxBatch())+maxFrame)
}

func errSize(size, least, most int64) error {
	return fmt.Errorf("a request of %d bytes: it takes %d to %d; is this a Kafka client, without TLS?", size, least, most)
}

// received is the bytes that were received and not used.
func (f *frames) received() []byte { return f.buf[f.r:f.w] }

// whole waits for the rest of a frame. The frame is valid until discard.
func (f *frames) whole(size int) ([]byte, error) {
	if err := f.fill(sizeField + size); err != nil {
		return nil, err
	}
	f.frame = sizeField + size
	return f.buf[f.r+sizeField : f.r+f.frame], nil
}

// discard drops the frame that whole has returned.
func (f *frames) discard() {
	f.r += f.frame
	f.frame = 0
	if f.hold.Bytes > 0 {
		f.free()
	} else if f.r == f.w {
		f.r, f.w = 0, 0
	}
}

// size checks the frame's size against the limit of its key.
func (f *frames) size() (int, error) {
	size := f.announced()
	key := f.key()
	limit := int64(maxFrame)
	switch key {
	case int16(kmsg.Produce):
		limit = max(maxProduce, int64(f.limits.MaxBatch())+maxFrame)
	case int16(kmsg.JoinGroup), int16(kmsg.SyncGroup):
		limit = maxMember
	case int16(kmsg.ApiVersions), int16(kmsg.SASLHandshake), int16(kmsg.SASLAuthenticate):
		limit = maxLogin
	}
	if size > limit {
		return 0, fmt.Errorf("API key %d: %w", key, errSize(size, fixedHeader, limit))
	}
	return int(size), nil
}

// key is the frame's.
func (f *frames) key() int16 { return int16(binary.BigEndian.Uint16(f.buf[f.r+sizeField:])) }

// fill reads until n bytes are received. The client may pause between frames for as long
// as it likes; within a frame there is a deadline.
func (f *frames) fill(n int) error {
	for f.w-f.r < n {
		if err := f.prepare(n); err != nil {
			return err
		}
		f.setDeadline(f.w > f.r || f.hold.Bytes > 0)
		got, err := f.read(n)
		f.w += got
		switch {
		case got > 0:
		case err == io.EOF && (f.w > f.r || f.hold.Bytes > 0):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// read reads once, for n bytes. Between frames the connection waits without a buffer.
func (f *frames) read(n int) (int, error) {
	if f.w == f.r && f.hold.Bytes == 0 {
		return f.conn.ReadInto(f)
	}
	return f.conn.Read(f.buf[f.w:f.end(n)])
}

// Space implements tcpserver.Buffer.
func (f *frames) Space() []byte {
	if f.buf == nil {
		f.takeFirst()
	}
	return f.buf[f.w:]
}

// Idle implements tcpserver.Buffer.
func (f *frames) Idle() { f.free() }

// firstBuffers are buffers of the first size, of connections that wait for nothing.
var firstBuffers = sync.Pool{New: func() any { return new([broker.FirstBuffer]byte) }}

func (f *frames) takeFirst() {
	f.first = firstBuffers.Get().(*[broker.FirstBuffer]byte)
	f.buf, f.r, f.w = f.first[:], 0, 0
}

func (f *frames) giveFirst() {
	if f.first != nil {
		firstBuffers.Put(f.first)
		f.first = nil
	}
}

// end is where a read for n bytes has to end in the buffer. A large buffer takes no bytes
// of the next frame, so that it can be returned.
func (f *frames) end(n int) int {
	if f.hold.Bytes == 0 {
		return len(f.buf)
	}
	return min(len(f.buf), f.r+min(max(n, broker.FirstBuffer), f.ahead))
}

// setDeadline sets a read deadline within a frame.
func (f *frames) setDeadline(begun bool) {
	if !begun && !f.bounded {
		return
	}
	var at time.Time
	if begun {
		at = time.Now().Add(f.limits.RequestTime)
		if f.hold.Bytes > 0 && at.After(f.deadline) {
			at = f.deadline
		}
	}
	f.bounded = begun
	f.conn.SetReadDeadline(at)
}

// prepare makes room in the buffer for n bytes in a row.
func (f *frames) prepare(n int) error {
	if f.buf == nil {
		f.takeFirst()
	}
	if len(f.buf)-f.r >= n && f.w < len(f.buf) {
		return nil
	}
	if f.w-f.r < len(f.buf) { // there is room in front of the bytes
		f.r, f.w = 0, copy(f.buf, f.buf[f.r:f.w])
		return nil
	}
	return f.enlarge(n)
}

// A full buffer is replaced by one of partStep times its size, or by one for the whole frame
// if that is at most wholeStep times as large.
const (
	partStep  = 16
	wholeStep = 2 * partStep
)

// enlarge replaces a full buffer by a larger one for a frame of n bytes.
func (f *frames) enlarge(n int) error {
	if n <= wholeStep*len(f.buf) {
		return f.move(n, n, broker.Hold{Bytes: n, Share: broker.Whole})
	}
	if err := f.budget.Fits(n); err != nil {
		return errFrame(n, err)
	}
	return f.enlargePart(n)
}

// enlargePart replaces a full buffer by a larger one for a part of the bytes ahead.
func (f *frames) enlargePart(ahead int) error {
	part := broker.Hold{Bytes: partStep * len(f.buf), Share: broker.LargePart}
	if f.hold.Bytes == 0 {
		part.Share = broker.SmallPart
	}
	return f.move(part.Bytes, ahead, part)
}

func errFrame(n int, err error) error {
	return fmt.Errorf("a request of %d bytes: %w", n-sizeField, err)
}

// move replaces the buffer by one of size bytes as soon as the budget has the memory for it,
// in place of the memory held. ahead is the number of bytes of the frame from r on. The client
// has limits.RequestTime for each MiB that the buffer has room for, and twice that time more,
// because others wait for the memory. So the time depends on the memory that is held, not on
// the size that was announced.
func (f *frames) move(size, ahead int, take broker.Hold) error {
	if err := f.budget.Fits(take.Bytes); err != nil {
		return errFrame(ahead, err)
	}
	if f.budget.Wait(f.hold, take, f.quit, f.onShortage) != nil {
		return errGivenUp
	}
	p := getBuffer(size)
	p = p[:cap(p)]
	w := copy(p, f.buf[f.r:f.w])
	if f.hold.Bytes > 0 {
		putBuffer(f.buf)
	}
	f.giveFirst()
	f.buf, f.r, f.w, f.hold, f.ahead = p, 0, w, take, ahead
	f.deadline = time.Now().Add(f.limits.RequestTime * time.Duration(2+min(size, ahead)>>20))
	return nil
}

// keepRest returns a large buffer and keeps the bytes of the next frame, which were received
// with the first buffer.
func (f *frames) keepRest() {
	rest := f.buf[f.r:f.w]
	if f.hold.Bytes == 0 || len(rest) == 0 {
		f.free()
		return
	}
	first := firstBuffers.Get().(*[broker.FirstBuffer]byte)
	w := copy(first[:], rest)
	f.free()
	f.first, f.buf, f.w = first, first[:], w
}

// free returns the buffer. The bytes in it are lost.
func (f *frames) free() {
	if f.hold.Bytes > 0 {
		putBuffer(f.buf)
		f.budget.Return(f.hold)
	}
	f.giveFirst()
	f.buf, f.r, f.w, f.hold = nil, 0, 0, broker.Hold{}
}
