package kafka

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"mbus/internal/broker"
	"mbus/internal/store"
)

// A fetchPartition is one partition of a fetch: the request and the batches for it.
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
	data        []byte // of the chunk, unless it is sent via sendfile
}

// sendfileAt is the size in bytes of the smallest chunk that is sent via sendfile: smaller
// ones are read and written in less time.
const sendfileAt = 64 << 10

// viaSendfile reports whether the chunk goes from the file to the connection.
func (p *fetchPartition) viaSendfile() bool {
	return p.raw && p.chunk.Len() >= sendfileAt && p.chunk.Sendable()
}

// size is the size in bytes of the partition's batches in the response.
func (p *fetchPartition) size() int { return len(p.data) + p.chunk.Len() }

// locate finds batches of at most left bytes, but at least one batch if first says that the
// response has none. It returns their size in bytes.
func (p *fetchPartition) locate(c *call, left int, first bool) int {
	if p.code != 0 {
		return 0
	}
	if p.code = code(p.log.Available()); p.code != 0 {
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
		p.reportLoss(c, err)
		err = p.log.Fetch(gap.Next, n, &p.chunk)
	}
	if err != nil {
		p.fail(c, err)
		return 0
	}
	if p.chunk.Len() > n && !first {
		p.chunk.Release()
	}
	return p.chunk.Len()
}

// load reads the batches, unless they are sent via sendfile. It keeps the bytes only if they
// cannot be sent via sendfile after that, so that slow clients hold no memory.
func (p *fetchPartition) load(c *call) {
	if p.chunk.Len() == 0 || p.viaSendfile() {
		return
	}
	buf := getBuffer(p.chunk.Len())
	data, err := p.chunk.Load(buf)
	if err != nil {
		putBuffer(buf)
		p.fail(c, err)
		return
	}
	if len(data) == p.chunk.Len() && p.viaSendfile() { // now that it has been checked
		putBuffer(data)
		return
	}
	p.data = data
	p.chunk.Release()
}

// errSince is the error for a file that has changed since its batches were verified. The
// connection ends, because the client has a part of the response; its next request gets
// CORRUPT_MESSAGE.
var errSince = errors.New("stored batches have been damaged since they were checked")

// sendTo sends the batches via sendfile, or reads and writes them if that is not possible.
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

// fail makes an error the partition's error code.
func (p *fetchPartition) fail(c *call, err error) {
	p.chunk.Release()
	p.code = code(err)
	if p.code == kerr.CorruptMessage.Code || p.code == kerr.UnknownServerError.Code {
		p.reportLoss(c, err)
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

// reportEvery is the shortest time between two log lines of reportLoss: clients repeat their
// requests.
const reportEvery = time.Second

// reportLoss logs that a client cannot get records: they are damaged, or lost.
func (p *fetchPartition) reportLoss(c *call, err error) {
	s, now := c.server, time.Now().UnixNano()
	last := s.reported.Load()
	if now-last < int64(reportEvery) || !s.reported.CompareAndSwap(last, now) {
		return
	}
	s.log.Error("a Kafka client reads damaged or lost records",
		"topic", p.topic, "partition", p.number, "offset", p.offset, "client", c.client(), "reason", err)
}
