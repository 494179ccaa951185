package line

import (
	"strconv"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
	"mbus/internal/tcpserver"
)

// A sink writes messages to a consumer's connection, in the format of its request. It is
// the delivery.Sink of line's sessions.
type sink struct {
	conn    *conn
	request *request

	out       tcpserver.Output
	whole     []byte             // a batch that is written without a copy; nil for none
	slice     batch.Builder      // batches that are built again
	messages  *delivery.Messages // of the Append that goes on
	partition int                // that was named last in format=batch; -1 for none
}

func newSink(c *conn, r *request) *sink {
	return &sink{conn: c, request: r, partition: -1, out: tcpserver.NewOutput(c.net, c.broker.Limits.WriteTime)}
}

func (s *sink) TakesBatches() bool { return s.request.format == formatBatch }

func (s *sink) Written() int64 { return s.out.Written() }

func (s *sink) Received() (int64, error) { return s.out.Received() }

func (s *sink) Cut() { s.conn.net.CutWrites() }

// Append encodes messages in the format of the request.
func (s *sink) Append(m *delivery.Messages) (next int64, full bool, err error) {
	s.out.Begin(min(m.Loaded, broker.SendBuffer) + broker.FirstBuffer) // at once, because a grown one would be up to twice as large
	if s.request.format == formatBatch {
		return s.appendBatch(m)
	}
	return s.appendRecords(m)
}

// ReleaseBuffers gives the buffer back, and what is in it.
func (s *sink) ReleaseBuffers() {
	s.out.Release()
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
		if len(s.out.Buf) >= broker.SendBuffer {
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
		s.out.Buf = message.AppendJSON(s.out.Buf, from, r)
	case s.request.keyed:
		s.out.Buf = append(append(s.out.Buf, r.Key...), '\t')
		s.out.Buf = append(s.out.Buf, r.Value...)
	default:
		s.out.Buf = append(s.out.Buf, r.Value...)
	}
	s.out.Buf = append(s.out.Buf, '\n')
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
		s.out.Buf = append(strconv.AppendInt(append(s.out.Buf, '@'), int64(m.Partition), 10), '\n')
	}
	isLarge := len(b) > broker.SendBuffer/2
	if len(s.out.Buf) > 0 && (isLarge || len(s.out.Buf)+len(b) > broker.SendBuffer) {
		return m.From, true, nil
	}
	if !m.IsWhole() || m.AnyFailed() {
		return s.appendSlices(m)
	}
	if isLarge {
		s.whole = b
		return m.To, true, nil
	}
	s.out.Buf = append(s.out.Buf, b...)
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
	s.out.Buf = append(s.out.Buf, s.slice.Bytes()...)
	return next, len(s.out.Buf) >= broker.SendBuffer, nil
}

// Confirm appends the lines of option confirm.
func (s *sink) Confirm(count uint64, ranges []delivery.Range) {
	if count > 0 {
		s.out.Buf = append(strconv.AppendUint(append(s.out.Buf, '+'), count, 10), '\n')
	}
	for _, r := range ranges {
		s.out.Buf = append(appendRange(append(s.out.Buf, '='), r), '\n')
	}
}

// Flush writes what was collected, or a whole batch. If the reader stalls, the rest is copied, so
// that a connection that waits holds no more.
func (s *sink) Flush(patience time.Duration, onStall func()) (err error) {
	p := s.out.Buf
	if s.whole != nil {
		p = s.whole
	}
	if len(p) > 0 {
		var rest []byte
		if rest, err = s.out.Write(p, patience); isTimeout(err) {
			err = s.stall(rest, onStall)
		}
	}
	s.whole = nil
	s.out.Reset()
	return err
}

// stall writes the rest to a reader that takes its time, with as little memory as that needs.
func (s *sink) stall(rest []byte, onStall func()) error {
	rest = s.out.Keep(rest, s.whole != nil)
	s.releaseSlice()
	onStall()
	return s.out.WriteRest(rest)
}
