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
	version int16
	code    int16
	topics  []fetchTopic
	parts   []*fetchPart // of all topics

	budget   *broker.Budget
	taken    int
	noMemory bool // load has failed
}

type fetchTopic struct {
	name  string
	id    [16]byte
	parts []*fetchPart
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
	for _, p := range r.parts {
		if !p.unread() {
			size += p.chunk.Len()
		}
	}
	if r.noMemory = !r.budget.Take(size); r.noMemory {
		r.release()
		return false
	}
	r.taken = 0
	for _, p := range r.parts {
		p.load(s)
		r.taken += len(p.data)
	}
	r.budget.Give(size - r.taken)
	return true
}

// release lets go of what was found and read.
func (r *fetchResponse) release() {
	for _, p := range r.parts {
		p.release()
	}
	if r.taken > 0 {
		r.budget.Give(r.taken)
		r.taken = 0
	}
}

// size is the number of bytes of all batches.
func (r *fetchResponse) size() int {
	n := 0
	for _, p := range r.parts {
		n += p.size()
	}
	return n
}

// AppendTo appends everything, as kmsg's responses do. All of it has been read,
// which is so of an answer that is smaller than sendfileAt.
func (r *fetchResponse) AppendTo(dst []byte) []byte {
	return r.encode(dst, func(dst []byte, p *fetchPart) []byte { return append(dst, p.data...) })
}

// A piece of an answer is bytes, or batches that are sent unread.
type piece struct {
	bytes  []byte
	unread *fetchPart
}

// pieces is the whole answer with its header; the batches are not copied.
func (r *fetchResponse) pieces(h header) (out []piece) {
	head := binary.BigEndian.AppendUint32(make([]byte, 4, 128), uint32(h.correlation))
	if h.flexible {
		head = append(head, 0)
	}
	size := 0
	last := r.encode(head, func(dst []byte, p *fetchPart) []byte {
		if p.size() == 0 {
			return dst
		}
		size += len(dst) + p.size()
		batches := piece{bytes: p.data}
		if p.data == nil {
			batches.unread = p
		}
		out = append(out, piece{bytes: dst}, batches)
		return nil
	})
	out = append(out, piece{bytes: last})
	binary.BigEndian.PutUint32(out[0].bytes, uint32(size+len(last)-sizeField))
	return out
}

// encode appends everything but the batches, which it leaves to put.
func (r *fetchResponse) encode(dst []byte, put func(dst []byte, p *fetchPart) []byte) []byte {
	w := wire{flexible: r.version >= firstFlexibleFetch}
	dst = binary.BigEndian.AppendUint32(dst, 0) // throttle time
	if r.version >= 7 {
		dst = binary.BigEndian.AppendUint16(dst, uint16(r.code))
		dst = binary.BigEndian.AppendUint32(dst, 0) // no session
	}
	dst = w.count(dst, len(r.topics))
	for i := range r.topics {
		t := &r.topics[i]
		dst = w.count(w.topic(dst, t.name, t.id, r.version >= firstFetchByID), len(t.parts))
		for _, p := range t.parts {
			dst = r.appendPart(dst, w, p)
			dst = w.tags(put(dst, p))
		}
		dst = w.tags(dst)
	}
	return w.tags(dst)
}

func (r *fetchResponse) appendPart(dst []byte, w wire, p *fetchPart) []byte {
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
