package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
)

// A sink writes messages as the body of an answer. It is the delivery.Sink of web's sessions. The
// answer begins with the first message, or the first flush, so that an error before is one of its
// own.
type sink struct {
	conn    *conn
	format  format
	keyed   bool // lines have keys
	events  bool // messages are CloudEvents
	chunked bool // the body has chunks: HTTP/1.0 has none
	node    int32

	header   http.Header // of the answer
	began    bool        // the answer has begun
	messages int64       // that were encoded
	places   places      // behind them
	beats    atomic.Bool // a sign of life is due

	out     []byte // encoded, and not written yet
	chunk   int    // where a chunk begins in out
	pool    *sync.Pool
	mem     *[]byte // that out began with, from the pool
	written int64   // bytes, in all
}

func (s *sink) TakesBatches() bool { return false }

func (s *sink) Written() int64 { return s.written }

func (s *sink) Received() (int64, error) {
	queued, err := s.conn.net.Unacknowledged()
	return s.written - int64(queued), err
}

func (s *sink) Cut() { s.conn.net.CutWrites() }

// Confirm is for clients that acknowledge, of which there is none.
func (s *sink) Confirm(uint64, []delivery.Range) {}

// Buffers to send from. Small ones are for followers that get a little now and then.
var (
	smallOuts = sync.Pool{New: func() any { return newOut(smallOut) }}
	largeOuts = sync.Pool{New: func() any { return newOut(largeOut) }}
)

const (
	smallOut = 8 << 10
	largeOut = broker.SendBuffer + broker.FirstBuffer
)

func newOut(size int) *[]byte {
	p := make([]byte, 0, size)
	return &p
}

// chunkHead is the length of a chunk's size in hexadecimal, with its line end.
const chunkHead = len("00000000\r\n")

// begin begins the answer if it has not, and a chunk. The buffer suits size bytes.
func (s *sink) begin(size int) {
	if len(s.out) > 0 {
		return
	}
	if s.out == nil {
		if s.pool = &smallOuts; size > smallOut {
			s.pool = &largeOuts
		}
		s.mem = s.pool.Get().(*[]byte)
		s.out = *s.mem
	}
	if !s.began {
		s.began = true
		s.head()
	}
	if s.chunk = len(s.out); s.chunked {
		s.out = append(s.out, "00000000\r\n"...)
	}
	if s.written == 0 && s.format == formatSSE {
		s.out = append(s.out, "retry: 1000\n\n"...)
	}
}

// head appends the header of the answer.
func (s *sink) head() {
	a := newAnswer(s.header)
	a.out, s.header = s.out, nil
	status := http.StatusOK
	if s.isOne() && s.messages == 0 {
		status, s.chunked = http.StatusNoContent, false
	} else if t := contentTypes[s.format]; t != "" {
		a.header.Set("Content-Type", t)
	}
	a.header.Set("X-Accel-Buffering", "no") // has a proxy pass on each message at once
	if s.chunked {
		a.header.Set("Transfer-Encoding", "chunked")
	}
	a.WriteHeader(status)
	s.out = a.out
}

// seal ends the chunk.
func (s *sink) seal() {
	if !s.chunked || len(s.out) == 0 {
		return
	}
	body := s.out[s.chunk+chunkHead:]
	if len(body) == 0 { // which would be the end
		s.out = s.out[:s.chunk]
		return
	}
	const digits = "0123456789abcdef"
	for i, n := chunkHead-3, len(body); n > 0; i, n = i-1, n>>4 {
		s.out[s.chunk+i] = digits[n&15]
	}
	s.out = append(s.out, "\r\n"...)
}

// end ends the body, of which nothing may have been sent.
func (s *sink) end() {
	s.begin(0)
	if s.format == formatArray && s.messages == 0 {
		s.out = append(s.out, '[')
	}
	if s.format == formatArray {
		s.out = append(s.out, "]\n"...)
	}
}

// terminal is the end of a body, if the body itself shows it.
func (s *sink) terminal() []byte {
	if !s.chunked {
		return nil
	}
	return []byte("0\r\n\r\n")
}

// problem appends an event with a problem document.
func (s *sink) problem(p *problem) {
	s.begin(0)
	doc, err := json.Marshal(p)
	if err != nil { // of what is ours
		panic(err)
	}
	s.appendID()
	s.out = append(append(append(s.out, "event: problem\ndata: "...), doc...), "\n\n"...)
}

// ReleaseBuffers gives the buffer back. It is empty.
func (s *sink) ReleaseBuffers() {
	if s.mem != nil {
		s.pool.Put(s.mem)
	}
	s.out, s.mem, s.pool = nil, nil, nil
}

// Append encodes messages.
func (s *sink) Append(m *delivery.Messages) (next int64, full bool, err error) {
	it, err := m.Records()
	if err != nil {
		return m.From, false, err
	}
	size := min(m.Loaded, broker.SendBuffer) + broker.FirstBuffer
	for it.Next() {
		r := it.Record()
		if r.Offset < m.From {
			continue
		}
		if r.Offset >= m.To {
			return m.To, false, nil
		}
		s.messages++
		s.appendRecord(m, r, size)
		if len(s.out) >= broker.SendBuffer {
			return r.Offset + 1, true, nil
		}
	}
	return m.To, false, it.Err()
}

// appendRecord encodes a message. The buffer, if there is none yet, suits size bytes.
func (s *sink) appendRecord(m *delivery.Messages, r *batch.Record, size int) {
	var e message.CloudEvent
	from := message.Origin{Broker: s.node, Topic: m.Topic, Partition: m.Partition}
	if s.events {
		if e = message.ReadCloudEvent(from, r); s.format == formatBody {
			setEvent(s.header, &e)
		}
	}
	s.begin(size)
	switch s.format {
	case formatLines:
		if s.keyed {
			s.out = append(append(s.out, r.Key...), '\t')
		}
		s.out = append(s.out, r.Value...)
	case formatBody:
		s.out = append(s.out, r.Value...)
		return
	case formatSSE:
		s.places.set(m.Partition, r.Offset+1)
		if len(s.places) <= fewPlaces || r.Offset+1 >= m.To {
			s.appendID()
		}
		s.out = append(s.out, "data: "...)
	case formatArray:
		s.out = append(s.out, arraySign(s.messages == 1))
	}
	if s.events {
		s.out = e.AppendJSON(s.out)
	} else if s.format != formatLines {
		s.out = message.AppendJSON(s.out, from, r)
	}
	s.out = append(s.out, '\n')
	if s.format == formatSSE {
		s.out = append(s.out, '\n')
	}
}

// fewPlaces is up to how many partitions each event has an id. Of more, whose ids are long, only
// the last of some that are sent together has one.
const fewPlaces = 64

// appendID appends the id of an event: where a client goes on that has seen it.
func (s *sink) appendID() {
	if len(s.places) > 0 {
		s.out = append(s.places.append(append(s.out, "id: "...)), '\n')
	}
}

// Flush writes what was encoded. If the reader stalls the rest is copied, so that a connection that
// waits holds no more.
func (s *sink) Flush(patience time.Duration, onStall func()) error {
	if isDue := s.beats.Swap(false); isDue && len(s.out) == 0 || !s.began && !s.isOne() {
		s.begin(0)
		if isDue {
			s.out = append(s.out, ":\n\n"...)
		}
	}
	s.seal()
	n, err := s.conn.net.Write(s.out, min(patience, s.conn.writeTime))
	s.written += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.stall(s.out[n:], onStall)
	}
	if s.out = s.out[:0]; cap(s.out) > 2*broker.SendBuffer {
		s.ReleaseBuffers() // grown for a large message
	}
	return err
}

// stall writes the rest to a reader that takes its time, with as little memory as that needs.
func (s *sink) stall(rest []byte, onStall func()) error {
	if len(rest) <= cap(s.out)*7/8 {
		rest = bytes.Clone(rest)
		s.ReleaseBuffers()
	}
	onStall()
	n, err := s.conn.net.WriteAll(s.conn.writeTime, rest)
	s.written += n
	return err
}
