package kafka

import (
	"encoding/binary"

	"mbus/internal/broker"
)

// A fetchResponse is made by hand, so that stored bytes are not copied: it is
// some pieces with the batches between them.
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
	held     int
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

// load reads what was found. It reports false, having let go of everything, if
// there is no memory for that.
func (r *fetchResponse) load(s *Server) bool {
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
		p.load(s)
		r.held += len(p.data)
	}
	r.budget.Give(size - r.held)
	return true
}

// release lets go of what was found and read.
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

// AppendTo appends everything, as kmsg's responses do. All of it has been read,
// which is so of an answer that is smaller than sendfileAt.
func (r *fetchResponse) AppendTo(dst []byte) []byte {
	return r.encode(dst, func(dst []byte, p *fetchPartition) []byte { return append(dst, p.data...) })
}

// A section of an answer is bytes, or batches that are sent unread.
type section struct {
	bytes []byte
	file  *fetchPartition
}

// sections is the whole answer with its header; the batches are not copied.
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

// encode appends everything but the batches, which it leaves to put.
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
