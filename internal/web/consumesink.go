package web

import (
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
	"mbus/internal/tcpserver"
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

	out   tcpserver.Output
	chunk int // where a chunk begins in out
}

func (s *sink) TakesBatches() bool { return false }

func (s *sink) Written() int64 { return s.out.Written() }

func (s *sink) Received() (int64, error) { return s.out.Received() }

func (s *sink) Cut() { s.conn.net.CutWrites() }

// Confirm is for clients that acknowledge, of which there is none.
func (s *sink) Confirm(uint64, []delivery.Range) {}

// chunkHead is the length of a chunk's size in hexadecimal, with its line end.
const chunkHead = len("00000000\r\n")

// begin begins the answer if it has not, and a chunk. The buffer suits size bytes.
func (s *sink) begin(size int) {
	if len(s.out.Buf) > 0 {
		return
	}
	s.out.Begin(size)
	if !s.began {
		s.began = true
		s.head()
	}
	if s.chunk = len(s.out.Buf); s.chunked {
		s.out.Buf = append(s.out.Buf, "00000000\r\n"...)
	}
	if s.out.Written() == 0 && s.format == formatSSE {
		s.out.Buf = append(s.out.Buf, "retry: 1000\n\n"...)
	}
}

// head appends the header of the answer.
func (s *sink) head() {
	a := newAnswer(s.header)
	a.out, s.header = s.out.Buf, nil
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
	s.out.Buf = a.out
}

// seal ends the chunk.
func (s *sink) seal() {
	if !s.chunked || len(s.out.Buf) == 0 {
		return
	}
	body := s.out.Buf[s.chunk+chunkHead:]
	if len(body) == 0 { // which would be the end
		s.out.Buf = s.out.Buf[:s.chunk]
		return
	}
	const digits = "0123456789abcdef"
	for i, n := chunkHead-3, len(body); n > 0; i, n = i-1, n>>4 {
		s.out.Buf[s.chunk+i] = digits[n&15]
	}
	s.out.Buf = append(s.out.Buf, "\r\n"...)
}

// end ends the body, of which nothing may have been sent.
func (s *sink) end() {
	s.begin(0)
	if s.format == formatArray && s.messages == 0 {
		s.out.Buf = append(s.out.Buf, '[')
	}
	if s.format == formatArray {
		s.out.Buf = append(s.out.Buf, "]\n"...)
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
	s.appendID()
	s.out.Buf = append(append(append(s.out.Buf, "event: problem\ndata: "...), p.document()...), '\n')
}

// ReleaseBuffers gives the buffer back. It is empty.
func (s *sink) ReleaseBuffers() { s.out.Release() }

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
		if len(s.out.Buf) >= broker.SendBuffer {
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
			s.out.Buf = append(append(s.out.Buf, r.Key...), '\t')
		}
		s.out.Buf = append(s.out.Buf, r.Value...)
	case formatBody:
		s.out.Buf = append(s.out.Buf, r.Value...)
		return
	case formatSSE:
		s.places.set(m.Partition, r.Offset+1)
		if len(s.places) <= fewPlaces || r.Offset+1 >= m.To {
			s.appendID()
		}
		s.out.Buf = append(s.out.Buf, "data: "...)
	case formatArray:
		s.out.Buf = append(s.out.Buf, arraySign(s.messages == 1))
	}
	if s.events {
		s.out.Buf = e.AppendJSON(s.out.Buf)
	} else if s.format != formatLines {
		s.out.Buf = message.AppendJSON(s.out.Buf, from, r)
	}
	s.out.Buf = append(s.out.Buf, '\n')
	if s.format == formatSSE {
		s.out.Buf = append(s.out.Buf, '\n')
	}
}

// fewPlaces is up to how many partitions each event has an id. Of more, whose ids are long, only
// the last of some that are sent together has one.
const fewPlaces = 64

// appendID appends the id of an event: where a client goes on that has seen it.
func (s *sink) appendID() {
	if len(s.places) > 0 {
		s.out.Buf = append(s.places.append(append(s.out.Buf, "id: "...)), '\n')
	}
}

// Flush writes what was encoded. If the reader stalls the rest is copied, so that a connection that
// waits holds no more.
func (s *sink) Flush(patience time.Duration, onStall func()) error {
	if isDue := s.beats.Swap(false); isDue && len(s.out.Buf) == 0 || !s.began && !s.isOne() {
		s.begin(0)
		if isDue {
			s.out.Buf = append(s.out.Buf, ":\n\n"...)
		}
	}
	s.seal()
	rest, err := s.out.Write(s.out.Buf, patience)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		rest = s.out.Keep(rest, false)
		onStall()
		err = s.out.WriteRest(rest)
	}
	s.out.Reset()
	return err
}
