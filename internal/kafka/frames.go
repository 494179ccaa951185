package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// Limits of a request's frame, in bytes without its size field.
const (
	// maxFrame is for all requests but those below: a list of 30,000 topics fits.
	maxFrame = 1 << 20

	// maxProduce is at least what a request to produce may have, which may hold
	// batches for many partitions; clients stop at 1 MiB unless told otherwise.
	maxProduce = 16 << 20

	// maxSync is for the assignments of a group, which its leader sends for all
	// members at once.
	maxSync = 16 << 20
)

// Frames reads requests' frames from a connection: a size in four bytes, and as
// many bytes. Its buffer is small at first and grows with what has come, not with
// the size that was claimed; it takes what is large from the broker's budget and
// gives it back when the frame has been used.
type frames struct {
	conn     net.Conn
	budget   *broker.Budget
	limits   *broker.Limits
	stopping func() bool

	buf     []byte
	r, w    int  // buf[r:w] has come and is not used yet
	frame   int  // size of the frame that next gave out, its size field included
	taken   int  // bytes of the budget
	bounded bool // a read has a deadline
}

// errBusy says that the budget is used up.
var errBusy = errors.New("the broker has no memory left for requests in flight")

// sizeField is the size in bytes of what stands before a frame.
const sizeField = 4

// next waits for a whole frame. It is valid until done. At the end of the
// connection it returns io.EOF.
func (f *frames) next() ([]byte, error) {
	if err := f.fill(sizeField + fixedHeader); err != nil {
		return nil, err
	}
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	if err := f.fill(sizeField + size); err != nil {
		return nil, err
	}
	f.frame = sizeField + size
	return f.buf[f.r+sizeField : f.r+f.frame], nil
}

// done says that the frame has been used.
func (f *frames) done() {
	f.r += f.frame
	f.frame = 0
	if f.r == f.w {
		f.r, f.w = 0, 0
	}
}

// size reads and checks the size of the frame that has begun to come.
func (f *frames) size() (int, error) {
	p := f.buf[f.r:]
	size := int64(int32(binary.BigEndian.Uint32(p)))
	key := int16(binary.BigEndian.Uint16(p[sizeField:]))
	limit := int64(maxFrame)
	switch key {
	case int16(kmsg.Produce):
		limit = max(maxProduce, int64(f.limits.MaxBatch())+maxFrame)
	case int16(kmsg.SyncGroup):
		limit = maxSync
	}
	if size < fixedHeader || size > limit {
		return 0, fmt.Errorf("a request of %d bytes for API key %d: it takes %d to %d; is this a Kafka client, without TLS?",
			size, key, fixedHeader, limit)
	}
	return int(size), nil
}

// fill reads until there are n bytes. Between frames the client may take its
// time, within one it has to go on.
func (f *frames) fill(n int) error {
	for f.w-f.r < n {
		if err := f.prepare(n); err != nil {
			return err
		}
		f.setDeadline(f.w > f.r)
		got, err := f.conn.Read(f.buf[f.w:])
		f.w += got
		switch {
		case got > 0:
		case err == io.EOF && f.w > f.r:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return nil
}

// setDeadline bounds a read if a frame has begun. A server that stops has set one
// that must not be undone.
func (f *frames) setDeadline(begun bool) {
	if !begun && !f.bounded {
		return
	}
	var at time.Time
	if begun {
		at = time.Now().Add(f.limits.RequestTime)
	}
	f.bounded = begun
	f.conn.SetReadDeadline(at)
	if f.stopping() {
		f.conn.SetReadDeadline(longAgo)
	}
}

// longAgo as a deadline ends a read at once.
var longAgo = time.Unix(1, 0)

// prepare makes room for more bytes of a frame of n bytes.
func (f *frames) prepare(n int) error {
	rest := f.w - f.r
	if rest == 0 && len(f.buf) > broker.FirstBuffer {
		f.free()
	}
	if f.buf == nil {
		f.buf, f.r, f.w = make([]byte, broker.FirstBuffer), 0, 0
	}
	if len(f.buf)-f.r >= n && f.w < len(f.buf) {
		return nil
	}
	if rest < len(f.buf) { // there is room, not where it is needed
		f.r, f.w = 0, copy(f.buf, f.buf[f.r:f.w])
		return nil
	}
	return f.grow(n)
}

// grow moves to a larger buffer, at most of the size that a frame of n bytes
// needs, and at most 16 times as large as what has come.
func (f *frames) grow(n int) error {
	size := min(n, 16*len(f.buf))
	if !f.budget.Take(size) {
		return errBusy
	}
	p := takeBuffer(size)
	p = p[:cap(p)]
	w := copy(p, f.buf[f.r:f.w])
	f.free()
	f.buf, f.r, f.w, f.taken = p, 0, w, size
	return nil
}

// free gives the buffer back. What it held is lost.
func (f *frames) free() {
	if f.taken > 0 {
		giveBuffer(f.buf)
		f.budget.Give(f.taken)
	}
	f.buf, f.r, f.w, f.taken = nil, 0, 0, 0
}
