package line

import (
	"bytes"
	"strconv"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
)

// A sink writes messages to a consumer's connection, in the format of its request. It is
// the delivery.Sink of line's sessions.
type sink struct {
	conn    *conn
	request *request

	out       []byte             // encoded, and not written yet
	small     *[smallOut]byte    // that out began with, if it is from the pool
	large     *[largeOut]byte    // or this
	whole     []byte             // a batch that is written without a copy; nil for none
	slice     batch.Builder      // batches that are built again
	messages  *delivery.Messages // of the Append that goes on
	partition int                // that was named last in format=batch; -1 for none
	written   int64              // bytes, in all
}

func newSink(c *conn, r *request) *sink { return &sink{conn: c, request: r, partition: -1} }

func (s *sink) TakesBatches() bool { return s.request.format == formatBatch }

func (s *sink) Written() int64 { return s.written }

func (s *sink) Received() (int64, error) {
	queued, err := s.conn.net.Unacknowledged()
	return s.written - int64(queued), err
}

func (s *sink) Cut() { s.conn.net.CutWrites() }

// Append encodes messages in the format of the request.
func (s *sink) Append(m *delivery.Messages) (next int64, full bool, err error) {
	if s.out == nil { // at once, because a grown one would be up to twice as large
		s.takeOut(min(m.Loaded, broker.SendBuffer) + broker.FirstBuffer)
	}
	if s.request.format == formatBatch {
		return s.appendBatch(m)
	}
	return s.appendRecords(m)
}

// Buffers to send from. Small ones are for followers that get a little now and then.
var (
	outs      = sync.Pool{New: func() any { return new([smallOut]byte) }}
	largeOuts = sync.Pool{New: func() any { return new([largeOut]byte) }}
)

const (
	smallOut = 8 << 10
	largeOut = broker.SendBuffer + broker.FirstBuffer
)

// takeOut gets a buffer to send from.
func (s *sink) takeOut(size int) {
	if size > smallOut {
		s.large = largeOuts.Get().(*[largeOut]byte)
		s.out = s.large[:0]
		return
	}
	s.small = outs.Get().(*[smallOut]byte)
	s.out = s.small[:0]
}

// ReleaseBuffers gives the buffer back, and what is in it.
func (s *sink) ReleaseBuffers() {
	if s.small != nil {
		outs.Put(s.small)
	}
	if s.large != nil {
		largeOuts.Put(s.large)
	}
	s.out, s.small, s.large = nil, nil, nil
	s.releaseSlice()
}

func (s *sink) releaseSlice() {
	if s.slice.Cap() > 0 {
		s.slice = batch.Builder{}
	}
}

// appendRecords is Append for lines and JSON.
func (s *sink) appendRecords(m *delivery.Messages) (next int64, full bool, err error) {
	it, err := m.Records()
	if err != nil {
		return m.From, false, err
	}
	for it.Next() {
		r := it.Record()
		if r.Offset < m.From {
			continue
		}
		if r.Offset >= m.To {
			return m.To, false, nil
		}
		s.appendRecord(m, r)
		if len(s.out) >= broker.SendBuffer {
			return r.Offset + 1, true, nil
		}
	}
	return m.To, false, it.Err()
}

func (s *sink) appendRecord(m *delivery.Messages, r *batch.Record) {
	switch {
	case s.request.format == formatJSON:
		from := message.Origin{Broker: s.conn.server.Node, Topic: m.Topic, Partition: m.Partition}
		if s.request.deliver.Ack {
			from.Attempt = m.Attempt(r.Offset)
		}
		s.out = message.AppendJSON(s.out, from, r)
	case s.request.keyed:
		s.out = append(append(s.out, r.Key...), '\t')
		s.out = append(s.out, r.Value...)
	default:
		s.out = append(s.out, r.Value...)
	}
	s.out = append(s.out, '\n')
}

// attemptHeader names the attempt of a message that has failed before.
func (s *sink) attemptHeader(offset int64) []batch.Header {
	n := s.messages.Attempt(offset)
	if n == 1 {
		return nil
	}
	return []batch.Header{{Key: broker.HeaderAttempt, Value: strconv.AppendInt(nil, int64(n), 10)}}
}

// appendBatch is Append for format=batch. A batch is sent as it is stored if all of its messages
// are, and none of them has failed before.
func (s *sink) appendBatch(m *delivery.Messages) (next int64, full bool, err error) {
	b := m.Batch
	if s.partition != m.Partition {
		s.partition = m.Partition
		s.out = append(strconv.AppendInt(append(s.out, '@'), int64(m.Partition), 10), '\n')
	}
	isLarge := len(b) > broker.SendBuffer/2
	if len(s.out) > 0 && (isLarge || len(s.out)+len(b) > broker.SendBuffer) {
		return m.From, true, nil
	}
	if !m.IsWhole() || m.AnyFailed() {
		return s.appendSlices(m)
	}
	if isLarge {
		s.whole = b
		return m.To, true, nil
	}
	s.out = append(s.out, b...)
	return m.To, false, nil
}

// sliceSize is the size in bytes at which a slice of a batch is sent.
const sliceSize = broker.SendBuffer

// appendSlices is appendBatch for messages that need new batches, which are not compressed.
func (s *sink) appendSlices(m *delivery.Messages) (next int64, full bool, err error) {
	it, err := m.Records()
	if err != nil {
		return m.From, false, err
	}
	var headers func(int64) []batch.Header
	if m.AnyFailed() {
		s.messages, headers = m, s.attemptHeader
	}
	s.slice.Reset()
	next, err = batch.SliceSome(&s.slice, it, m.Batch, m.From, m.To, sliceSize, headers)
	if err != nil {
		return m.From, false, err
	}
	s.out = append(s.out, s.slice.Bytes()...)
	return next, len(s.out) >= broker.SendBuffer, nil
}

// Confirm appends the lines of option confirm.
func (s *sink) Confirm(count uint64, ranges []delivery.Range) {
	if count > 0 {
		s.out = append(strconv.AppendUint(append(s.out, '+'), count, 10), '\n')
	}
	for _, r := range ranges {
		s.out = append(appendRange(append(s.out, '='), r), '\n')
	}
}

// Flush writes out, or a whole batch: out is empty then. If the reader stalls, the rest is
// copied, so that a connection that waits holds no more.
func (s *sink) Flush(patience time.Duration, onStall func()) (err error) {
	p := s.out
	if s.whole != nil {
		p = s.whole
	}
	if len(p) > 0 {
		var n int
		n, err = s.conn.net.Write(p, min(patience, s.conn.broker.Limits.WriteTime))
		s.written += int64(n)
		if isTimeout(err) {
			err = s.stall(p[n:], onStall)
		}
	}
	s.whole = nil
	if s.out = s.out[:0]; cap(s.out) > 2*broker.SendBuffer {
		s.ReleaseBuffers() // grown for a large message
	}
	return err
}

// stall writes the rest to a reader that takes its time, with as little memory as that needs.
func (s *sink) stall(rest []byte, onStall func()) error {
	rest = s.keepRest(rest)
	s.releaseSlice()
	onStall()
	n, err := s.conn.writeSlowly(rest)
	s.written += int64(n)
	return err
}

// keepRest copies the rest into a buffer of its own, unless that saves little.
func (s *sink) keepRest(rest []byte) []byte {
	if s.whole != nil || len(rest) <= cap(s.out)*7/8 {
		rest = bytes.Clone(rest)
		s.ReleaseBuffers()
	}
	return rest
}
