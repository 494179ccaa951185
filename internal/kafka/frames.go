package kafka

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// Limits of a request's frame, in bytes without its size field.
const (
	// maxFrame is for all requests but those below: a list of 30,000 topics fits.
	maxFrame = 1 << 20

	// maxProduce is at least what a request to produce may have, as in Kafka
	// (socket.request.max.bytes): some clients fill one with batches for all partitions.
	maxProduce = 100 << 20

	// maxMember is for what a member says with its join, which may be much (Kafka
	// Streams), and for the assignments of a group, which its leader sends for all members
	// at once. The coordinator bounds what is kept of it.
	maxMember = 16 << 20

	// maxWhole is up to where a frame is read whole. A larger one is used piece by piece.
	maxWhole = 16 << 20
)

// Frames reads requests' frames from a connection: a size in four bytes, and as
// many bytes. Its buffer is small at first and grows with what has come, not with
// the size that was claimed. It takes what is large from the broker's budget, or waits for
// it, and gives it back when the frame has been used.
type frames struct {
	conn       tcpserver.Conn
	budget     *broker.Budget
	limits     *broker.Limits
	quit       <-chan struct{} // closed when nothing is waited for any more
	onShortage func()          // called when there is no memory, before it is waited for

	buf      []byte
	r, w     int // buf[r:w] has come and is not used yet
	frame    int // size of the frame that next gave out, its size field included
	ahead    int // how many bytes from r on are of the frame that a large buffer is for
	hold     broker.Hold
	deadline time.Time // when what a large buffer is for has to be there
	bounded  bool      // a read has a deadline
}

// errGivenUp is as if a read had been ended: nothing is waited for any more.
var errGivenUp = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

// sizeField is the size in bytes of what stands before a frame.
const sizeField = 4

// awaitHeader waits for the beginning of a frame and returns its size. At the end of the
// connection the error is io.EOF.
func (f *frames) awaitHeader() (size int, err error) {
	if err := f.fill(sizeField); err != nil {
		return 0, err
	}
	// A line that came to the wrong port may be shorter than a header, which its client
	// would wait for in vain.
	if size := f.announced(); size < fixedHeader || size > f.maxSize() {
		return 0, errSize(size, fixedHeader, f.maxSize())
	}
	if err := f.fill(sizeField + fixedHeader); err != nil {
		return 0, err
	}
	return f.size()
}

// announced is the size of the frame that has begun, as its client has said it.
func (f *frames) announced() int64 { return int64(int32(binary.BigEndian.Uint32(f.buf[f.r:]))) }

// maxSize is how large a frame can be at most, whatever it asks for.
func (f *frames) maxSize() int64 {
	return max(maxProduce, maxMember, int64(f.limits.MaxBatch())+maxFrame)
}

func errSize(size, least, most int64) error {
	return fmt.Errorf("a request of %d bytes: it takes %d to %d; is this a Kafka client, without TLS?", size, least, most)
}

// received is what has come and was not used.
func (f *frames) received() []byte { return f.buf[f.r:f.w] }

// whole waits for all of a frame that has begun. It is valid until done.
func (f *frames) whole(size int) ([]byte, error) {
	if err := f.fill(sizeField + size); err != nil {
		return nil, err
	}
	f.frame = sizeField + size
	return f.buf[f.r+sizeField : f.r+f.frame], nil
}

// discard says that the frame has been used.
func (f *frames) discard() {
	f.r += f.frame
	f.frame = 0
	if f.hold.Bytes > 0 {
		f.free()
	} else if f.r == f.w {
		f.r, f.w = 0, 0
	}
}

// size reads and checks the size of the frame that has begun to come.
func (f *frames) size() (int, error) {
	size := f.announced()
	key := int16(binary.BigEndian.Uint16(f.buf[f.r+sizeField:]))
	limit := int64(maxFrame)
	switch key {
	case int16(kmsg.Produce):
		limit = max(maxProduce, int64(f.limits.MaxBatch())+maxFrame)
	case int16(kmsg.JoinGroup), int16(kmsg.SyncGroup):
		limit = maxMember
	}
	if size > limit {
		return 0, fmt.Errorf("API key %d: %w", key, errSize(size, fixedHeader, limit))
	}
	return int(size), nil
}

// isKey says whether the frame that has begun is for a request of that key.
func (f *frames) isKey(k kmsg.Key) bool {
	return int16(binary.BigEndian.Uint16(f.buf[f.r+sizeField:])) == int16(k)
}

// fill reads until there are n bytes. Between frames the client may take its
// time, within one it has to go on.
func (f *frames) fill(n int) error {
	for f.w-f.r < n {
		if err := f.prepare(n); err != nil {
			return err
		}
		f.setDeadline(f.w > f.r || f.hold.Bytes > 0)
		got, err := f.conn.Read(f.buf[f.w:f.end(n)])
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

// end is up to where in the buffer a read may go that is for n bytes. A large buffer takes
// nothing of the next frame, so that it can be given back.
func (f *frames) end(n int) int {
	if f.hold.Bytes == 0 {
		return len(f.buf)
	}
	return min(len(f.buf), f.r+min(max(n, broker.FirstBuffer), f.ahead))
}

// setDeadline bounds a read if a frame has begun.
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

// prepare makes room for more bytes of n that belong together.
func (f *frames) prepare(n int) error {
	if f.buf == nil {
		f.buf, f.r, f.w = make([]byte, broker.FirstBuffer), 0, 0
	}
	if len(f.buf)-f.r >= n && f.w < len(f.buf) {
		return nil
	}
	if f.w-f.r < len(f.buf) { // there is room, not where it is needed
		f.r, f.w = 0, copy(f.buf, f.buf[f.r:f.w])
		return nil
	}
	return f.enlarge(n)
}

// A buffer that is full is followed by one of partStep times its size, or of all that is
// needed if that is wholeStep times as large at most.
const (
	partStep  = 16
	wholeStep = 2 * partStep
)

// enlarge moves to a larger buffer for a frame of n bytes, of which as many have come as the
// buffer holds.
func (f *frames) enlarge(n int) error {
	if n <= wholeStep*len(f.buf) {
		return f.move(n, n, broker.Hold{Bytes: n, Share: broker.Whole})
	}
	if err := f.budget.Fits(n); err != nil {
		return errFrame(n, err)
	}
	return f.enlargePart(n)
}

// enlargePart moves to a larger buffer for a part of what is ahead.
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

// move moves to a buffer of size bytes, when the budget has what is to be taken in place of
// what is. The frame has so many bytes ahead, from r on. What the buffer is for has to come
// at a MiB in limits.RequestTime, and two more: others wait for the memory. So a client that
// claims much and sends little does not hold its part as long as it claims.
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
	f.buf, f.r, f.w, f.hold, f.ahead = p, 0, w, take, ahead
	f.deadline = time.Now().Add(f.limits.RequestTime * time.Duration(2+min(size, ahead)>>20))
	return nil
}

// keepRest gives a large buffer back, and keeps what has come of the next frame: it was in the
// first buffer.
func (f *frames) keepRest() {
	rest := f.buf[f.r:f.w]
	if f.hold.Bytes == 0 || len(rest) == 0 {
		f.free()
		return
	}
	small := make([]byte, broker.FirstBuffer)
	w := copy(small, rest)
	f.free()
	f.buf, f.w = small, w
}

// free gives the buffer back. What it held is lost.
func (f *frames) free() {
	if f.hold.Bytes > 0 {
		putBuffer(f.buf)
		f.budget.Return(f.hold)
	}
	f.buf, f.r, f.w, f.hold = nil, 0, 0, broker.Hold{}
}
