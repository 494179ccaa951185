package kafka

import (
	"encoding/binary"

	"mbus/internal/broker"
)

// A fetchResponse is not made by kmsg, so that stored bytes are not copied: it is sections
// of fields with batches between them.
//
//	throttle time · v7+: error code, session id · topics: name, v13+: id · partitions:
//	  number · error code · high watermark · last stable offset · v5+: log
//	  start offset · aborted transactions (none) · v11+: preferred read replica
//	  (-1) · size of the batches · the batches
//
// From version 12 lengths are compact, and tagged fields (none) follow each
// partition, each topic and the whole.
type fetchResponse struct {
	version    int16
	code       int16
	topics     []fetchTopic
	partitions []*fetchPartition // of all topics

	budget   *broker.Budget
	held     int  // bytes taken from budget
	noMemory bool // load has failed
}

type fetchTopic struct {
	name       string
	id         [16]byte
	partitions []*fetchPartition
}

// Versions from which lengths are compact, and topics are named by their ids.
const (
	firstFlexibleFetch = 12
	firstFetchByID     = 13
)

// load reads the batches that were located. If there is no memory for them it releases
// everything and reports false.
func (r *fetchResponse) load(c *call) bool {
	size := 0
	for _, p := range r.partitions {
		if !p.viaSendfile() {
			size += p.chunk.Len()
		}
	}
	if r.noMemory = !r.budget.Take(size); r.noMemory {
		r.release()
		return false
	}
	r.held = 0
	for _, p := range r.partitions {
		p.load(c)
		r.held += len(p.data)
	}
	r.budget.Give(size - r.held)
	return true
}

// release releases the batches that were located and read.
func (r *fetchResponse) release() {
	for _, p := range r.partitions {
		p.release()
	}
	if r.held > 0 {
		r.budget.Give(r.held)
		r.held = 0
	}
}

// size is the number of bytes of all batches.
func (r *fetchResponse) size() int {
	n := 0
	for _, p := range r.partitions {
		n += p.size()
	}
	return n
}

// AppendTo implements encoder. All batches have been read, because the response is smaller
// than sendfileAt.
func (r *fetchResponse) AppendTo(dst []byte) []byte {
	return r.encode(dst, func(dst []byte, p *fetchPartition) []byte { return append(dst, p.data...) })
}

// A section of a response is bytes, or batches that are sent via sendfile.
type section struct {
	bytes []byte
	file  *fetchPartition // nil for bytes
}

// sections is the whole response with its header; the batches are not copied.
func (r *fetchResponse) sections(h header) (out []section) {
	head := binary.BigEndian.AppendUint32(make([]byte, 4, 128), uint32(h.correlation))
	if h.flexible {
		head = append(head, 0)
	}
	size := 0
	last := r.encode(head, func(dst []byte, p *fetchPartition) []byte {
		if p.size() == 0 {
			return dst
		}
		size += len(dst) + p.size()
		batches := section{bytes: p.data}
		if p.data == nil {
			batches.file = p
		}
		out = append(out, section{bytes: dst}, batches)
		return nil
	})
	out = append(out, section{bytes: last})
	binary.BigEndian.PutUint32(out[0].bytes, uint32(size+len(last)-sizeField))
	return out
}

// encode appends all fields and calls put for the batches.
func (r *fetchResponse) encode(dst []byte, put func(dst []byte, p *fetchPartition) []byte) []byte {
	w := wire{flexible: r.version >= firstFlexibleFetch}
	dst = binary.BigEndian.AppendUint32(dst, 0) // throttle time
	if r.version >= 7 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(r.code))
		dst = binary.BigEndian.AppendUint32(dst, 0) // no session
	}
	dst = w.count(dst, len(r.topics))
	for i := range r.topics {
		t := &r.topics[i]
		dst = w.count(w.topic(dst, t.name, t.id, r.version >= firstFetchByID), len(t.partitions))
		for _, p := range t.partitions {
			dst = r.appendPartition(dst, w, p)
			dst = w.tags(put(dst, p))
		}
		dst = w.tags(dst)
	}
	return w.tags(dst)
}

func (r *fetchResponse) appendPartition(dst []byte, w wire, p *fetchPartition) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.number))
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.code))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.high))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.high)) // last stable offset
	if r.version >= 5 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.start))
	}
	dst = w.count(dst, 0) // aborted transactions
	if r.version >= 11 {
		dst = binary.BigEndian.AppendUint32(dst, 0xffffffff) // any replica will do
	}
	return w.count(dst, p.size())
}
