package kafka

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"mbus/internal/broker"
	"mbus/internal/store"
)

// A fetchPartition is one partition of a fetch: what was asked for and what there is.
type fetchPartition struct {
	topic    string
	number   int32
	log      *broker.Partition // nil if there is none
	offset   int64
	maxBytes int
	raw      bool // the connection takes bytes from files

	code        int16
	high, start int64 // -1 for unknown
	chunk       store.Chunk
	data        []byte // of the chunk, unless it is sent unread
}

// sendfileAt is from how many bytes on a chunk is sent unread: below that it costs
// more than it saves.
const sendfileAt = 64 << 10

// viaSendfile says that the chunk goes from the file to the connection.
func (p *fetchPartition) viaSendfile() bool {
	return p.raw && p.chunk.Len() >= sendfileAt && p.chunk.Sendable()
}

// size is the number of bytes that the answer has of this partition.
func (p *fetchPartition) size() int { return len(p.data) + p.chunk.Len() }

// locate finds batches of left bytes or less, but at least one if none have been
// found for the request. It returns their size.
func (p *fetchPartition) locate(s *Server, left int, first bool) int {
	if p.code != 0 {
		return 0
	}
	p.start, p.high = p.log.Offsets()
	switch {
	case p.offset < p.start || p.offset > p.high:
		p.code = kerr.OffsetOutOfRange.Code
		return 0
	case left <= 0 && !first:
		return 0
	}
	n := min(left, p.maxBytes)
	err := p.log.Fetch(p.offset, n, &p.chunk)
	var gap *broker.GapError
	if errors.As(err, &gap) {
		s.reportLoss(err)
		err = p.log.Fetch(gap.Next, n, &p.chunk)
	}
	if err != nil {
		p.fail(s, err)
		return 0
	}
	if p.chunk.Len() > n && !first {
		p.chunk.Release()
	}
	return p.chunk.Len()
}

// load reads what was found, if it is to be read, and keeps it unless it can be sent
// unread after that: memory does not wait for slow clients.
func (p *fetchPartition) load(s *Server) {
	if p.chunk.Len() == 0 || p.viaSendfile() {
		return
	}
	buf := getBuffer(p.chunk.Len())
	data, err := p.chunk.Load(buf)
	if err != nil {
		putBuffer(buf)
		p.fail(s, err)
		return
	}
	if len(data) == p.chunk.Len() && p.viaSendfile() { // now that it has been checked
		putBuffer(data)
		return
	}
	p.data = data
	p.chunk.Release()
}

// errSince says that the file has changed since what it holds was found sound. The client
// has part of an answer, so that the connection ends; its next request is told of the damage.
var errSince = errors.New("stored batches have been damaged since they were checked")

// sendTo has the system send the batches from the file, or reads and writes them
// where it can't.
func (p *fetchPartition) sendTo(client progressWriter) error {
	err := client.sendfile(&p.chunk)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	buf := getBuffer(p.chunk.Len())
	defer putBuffer(buf)
	data, err := p.chunk.Load(buf)
	if err != nil || len(data) < p.chunk.Len() {
		return errors.Join(errSince, err)
	}
	return client.write(data)
}

// fail makes an error the partition's answer.
func (p *fetchPartition) fail(s *Server, err error) {
	p.chunk.Release()
	p.code = code(err)
	if p.code == kerr.CorruptMessage.Code || p.code == kerr.UnknownServerError.Code {
		s.reportLoss(err)
	}
	if p.code == kerr.UnknownServerError.Code {
		p.code = kerr.KafkaStorageError.Code
	}
}

func (p *fetchPartition) release() {
	p.chunk.Release()
	if p.data != nil {
		putBuffer(p.data)
		p.data = nil
	}
}

// reportEvery is the least time between two log lines about what can't be read:
// clients ask for it again and again.
const reportEvery = time.Second

// reportLoss logs that a client can't be given what it asked for.
func (s *Server) reportLoss(err error) {
	now := time.Now().UnixNano()
	last := s.reported.Load()
	if now-last < int64(reportEvery) || !s.reported.CompareAndSwap(last, now) {
		return
	}
	s.log.Error("a Kafka client asks for what can't be read", "reason", err)
}
