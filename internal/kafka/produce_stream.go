package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// A Produce request larger than maxWhole is not held in memory: each batch is appended when it
// has been received. If the connection ends in the middle, the batches before are stored
// without a response, as if the response had been lost.

// responseMemory is the limit for the memory of the response to a Produce request, in bytes;
// partCost and topicCost are the memory of a partition and of a topic.
const (
	responseMemory = 4 << 20
	partCost       = 128
	topicCost      = 256
)

// A stream reads a frame field by field. After an error, which is in err, all fields are empty.
type stream struct {
	in       *frames // nil for a frame that was read whole
	whole    []byte  // the rest of such a frame
	left     int     // bytes of the frame that are not read yet
	due      int     // bytes after which the deadline is set again
	flexible bool
	err      error
}

// openStream reads a frame with a buffer for the largest batch and the fields before it. It
// takes the memory for that when a MiB has been received.
func (f *frames) openStream(size int, flexible bool) *stream {
	buffer := f.limits.MaxBatch() + 64<<10
	all := broker.Hold{Bytes: buffer + responseMemory, Share: broker.Whole}
	s := &stream{in: f, left: sizeField + size, flexible: flexible}
	if s.err = f.budget.Fits(all.Bytes); s.err != nil {
		s.err = errFrame(s.left, s.err)
	}
	if s.err == nil {
		s.err = f.fill(min(s.left, broker.FirstBuffer))
	}
	for s.err == nil && partStep*len(f.buf) <= min(s.left, buffer) {
		if s.err = f.enlargePart(s.left); s.err == nil {
			s.err = f.fill(min(s.left, len(f.buf)))
		}
	}
	if s.err == nil {
		s.err = f.move(buffer, s.left, all)
	}
	return s
}

// next reads n bytes. They are valid until the next call.
func (s *stream) next(n int) []byte {
	if s.err == nil && (n < 0 || n > s.left || s.in != nil && n > len(s.in.buf)) {
		s.err = errLayout
	}
	if s.err == nil && s.in == nil {
		p := s.whole[:n:n]
		s.whole = s.whole[n:]
		s.left -= n
		return p
	}
	if s.err == nil {
		s.setTime(n)
		s.err = s.in.fill(n)
	}
	if s.err != nil {
		return nil
	}
	p := s.in.buf[s.in.r : s.in.r+n]
	s.in.r += n
	s.in.ahead -= n
	s.left -= n
	return p
}

// setTime sets a deadline for each MiB, so that a client that sends a byte now and then does
// not hold its memory for as long as the whole request may take. The next n bytes are a part.
func (s *stream) setTime(n int) {
	if s.due -= n; s.due < 0 {
		s.due = 1 << 20
		s.in.deadline = time.Now().Add(s.in.limits.RequestTime * time.Duration(2+n>>20))
	}
}

// skip skips n bytes.
func (s *stream) skip(n int) {
	if s.err == nil && (n < 0 || n > s.left) {
		s.err = errLayout
	}
	for n > 0 && s.err == nil {
		n -= len(s.next(min(n, broker.TargetBatch)))
	}
}

// number reads a signed number of size bytes.
func (s *stream) number(size int) int {
	p := s.next(size)
	switch len(p) {
	case 2:
		return int(int16(binary.BigEndian.Uint16(p)))
	case 4:
		return int(int32(binary.BigEndian.Uint32(p)))
	}
	return 0
}

func (s *stream) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 7*binary.MaxVarintLen32; shift += 7 {
		one := s.next(1)
		if s.err != nil {
			return 0
		}
		if v |= uint64(one[0]&0x7f) << shift; one[0] < 0x80 {
			return v
		}
	}
	s.err = errLayout
	return 0
}

// length reads a length of size bytes, or a compact one; -1 is null.
func (s *stream) length(size int) int {
	if s.flexible {
		return int(s.uvarint()) - 1
	}
	return s.number(size)
}

func (s *stream) text() string { return string(s.next(max(0, s.length(2)))) }

// tags skips tagged fields.
func (s *stream) tags() {
	if !s.flexible {
		return
	}
	for n := s.uvarint(); n > 0 && s.err == nil; n-- {
		s.uvarint()
		s.skip(int(s.uvarint()))
	}
}

// produceStream reads a Produce request of size bytes from the connection. Responses to earlier
// requests are written meanwhile.
func (c *conn) produceStream(size int) error {
	h, err := parseHeader(c.in.buf[c.in.r+sizeField:][:fixedHeader])
	if err != nil {
		return err
	}
	if a := apis[h.key]; h.version < 3 || h.version > a.max {
		return fmt.Errorf("%s of version %d with %d bytes is not supported, only 3 to %d", kmsg.NameForKey(h.key), h.version, size, a.max)
	}
	h.client, h.flexible = nil, h.version >= apis[h.key].flexible
	s := c.in.openStream(size, h.flexible)
	defer c.in.keepRest()
	c.isClient = true
	call := c.enqueue(h)
	c.afterHandler()
	s.skip(sizeField + fixedHeader)
	s.skip(max(0, s.number(2))) // client id
	s.tags()
	return call.read(apis[h.key], s)
}

// read calls an API's stream function. After an error the call has no response.
func (c *call) read(a *api, s *stream) error {
	a.stream(c, s)
	if s.skip(s.left); s.err == nil {
		return nil
	}
	c.noReply()
	if errors.Is(s.err, errLayout) || errors.Is(s.err, errCost) {
		return fmt.Errorf("%s of version %d: %w", kmsg.NameForKey(c.header.key), c.header.version, s.err)
	}
	return s.err
}

// handleStream handles a request that was read whole with an API's stream function.
func (c *conn) handleStream(a *api, h header, frame []byte) error {
	h.flexible = h.version >= a.flexible
	p, err := body(frame, h.flexible)
	if err == nil {
		_, err = checkCost(a.layout(h.version), h.flexible, p)
	}
	if err != nil {
		return fmt.Errorf("%s of version %d: %w", kmsg.NameForKey(h.key), h.version, err)
	}
	c.isClient = true
	return c.enqueue(h).read(a, &stream{whole: p, left: len(p), flexible: h.flexible})
}
