package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// A request to produce that is larger than maxWhole is not held in memory: each batch is
// appended as it comes. If the connection ends in the middle, what has come is stored and
// not answered, as if the answer had been lost.

// streamMemory is what the answer to such a request may take, in bytes, partCost what
// each partition takes of it and topicCost each topic.
const (
	streamMemory = 4 << 20
	partCost     = 128
	topicCost    = 256
)

// A stream is a frame that is read and used piece by piece. After an error, which is kept
// in err, the pieces are empty.
type stream struct {
	in       *frames
	left     int // bytes of the frame that are not used yet
	due      int // bytes after which the client has more time again
	flexible bool
	err      error
}

// openStream has the frame that has begun read piece by piece, in a buffer for the largest
// batch and what stands before it. Before it takes that a MiB has to come.
func (f *frames) openStream(size int, flexible bool) *stream {
	buffer := f.limits.MaxBatch() + 64<<10
	all := broker.Hold{Bytes: buffer + streamMemory, Share: broker.Whole}
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

// next waits for n bytes and uses them. They are valid until the next call.
func (s *stream) next(n int) []byte {
	if s.err == nil && (n < 0 || n > s.left || n > len(s.in.buf)) {
		s.err = errLayout
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

// setTime gives the client time for each MiB, of which the next n bytes are a part: one that
// sends a byte now and then would hold its memory as long as the whole request may take.
func (s *stream) setTime(n int) {
	if s.due -= n; s.due < 0 {
		s.due = 1 << 20
		s.in.deadline = time.Now().Add(s.in.limits.RequestTime * time.Duration(2+n>>20))
	}
}

// skip passes over n bytes.
func (s *stream) skip(n int) {
	if s.err == nil && (n < 0 || n > s.left) {
		s.err = errLayout
	}
	for n > 0 && s.err == nil {
		n -= len(s.next(min(n, broker.TargetBatch)))
	}
}

// number reads a number of size bytes with a sign.
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

// tags passes over tagged fields.
func (s *stream) tags() {
	if !s.flexible {
		return
	}
	for n := s.uvarint(); n > 0 && s.err == nil; n-- {
		s.uvarint()
		s.skip(int(s.uvarint()))
	}
}

// produceStream takes a request to produce of which the size has come. The connection's
// other requests are answered meanwhile.
func (c *conn) produceStream(size int) error {
	h, err := parseHeader(c.in.buf[c.in.r+sizeField:][:fixedHeader])
	if err != nil {
		return err
	}
	if a := apis[h.key]; h.version < 3 || h.version > a.max {
		return fmt.Errorf("%s of version %d with %d bytes is not supported, only 3 to %d", kmsg.NameForKey(h.key), h.version, size, a.max)
	}
	h.client, h.flexible = nil, h.version >= firstFlexibleProduce
	s := c.in.openStream(size, h.flexible)
	defer c.in.keepRest()
	c.isClient = true
	call := c.enqueue(h)
	c.afterHandler()
	s.skip(sizeField + fixedHeader)
	s.skip(max(0, s.number(2))) // client id
	s.tags()
	produceFrom(call, s)
	if s.skip(s.left); s.err == nil {
		return nil
	}
	call.noReply()
	if errors.Is(s.err, errLayout) {
		return fmt.Errorf("%s of version %d: %w", kmsg.NameForKey(h.key), h.version, s.err)
	}
	return s.err
}

// produceFrom is produce for a request that comes piece by piece.
func produceFrom(c *call, s *stream) {
	transactional := s.length(2)
	s.skip(max(0, transactional))
	p := newProduceCall(c, c.header.version, int16(s.number(2)), transactional >= 0)
	s.number(4) // time-out
	memory := streamMemory
	for n := s.length(4); n > 0 && s.err == nil; n-- {
		memory -= topicCost
		p.readTopic(s, &memory)
	}
	if s.tags(); s.err == nil {
		p.countDown()
	}
}

// readTopic takes what comes for one topic. memory is what may still be used.
func (p *produceCall) readTopic(s *stream, memory *int) {
	var name string
	var id [16]byte
	if p.response.version >= firstProduceByID {
		copy(id[:], s.next(len(id)))
	} else {
		name = s.text()
	}
	n := max(0, s.length(4))
	if *memory -= n * partCost; n > s.left || *memory < 0 {
		s.err = errors.Join(s.err, errCost)
	}
	if s.err != nil {
		return
	}
	p.response.topics = append(p.response.topics, producedTopic{})
	out := &p.response.topics[len(p.response.topics)-1]
	topic, err := p.addTopic(out, name, id, n)
	for i := 0; i < n && s.err == nil; i++ {
		p.readPartition(s, topic, &out.partitions[i], err)
	}
	s.tags()
}

// readPartition takes one partition's batch.
func (p *produceCall) readPartition(s *stream, t *broker.Topic, out *producedPartition, refused error) {
	in := kmsg.ProduceRequestTopicPartition{Partition: int32(s.number(4))}
	size := max(0, s.length(4))
	if limit := p.call.server.broker.Limits.MaxBatch(); size > limit && refused == nil {
		refused = tooLarge(size, limit)
	}
	if refused != nil {
		s.skip(size)
	} else {
		in.Records = s.next(size)
	}
	if s.err != nil {
		return
	}
	p.append(t, &in, out, false, refused) // the rest may take its time
	s.tags()
}
