package kafka

import "encoding/binary"

// A produceResponse is not made by kmsg, because there is one for each batch, and a client
// that sends one message at a time waits for it.
//
//	topics: name, v13+: id · partitions: number · error code · base offset · v2+: log
//	  append time · v5+: log start offset · v8+: records with errors (none),
//	  error message
//	v1+: throttle time
type produceResponse struct {
	version int16
	topics  []producedTopic
}

type producedTopic struct {
	name       string
	id         [16]byte
	partitions []producedPartition
}

// A producedPartition is one partition's outcome.
type producedPartition struct {
	number int32
	code   int16
	base   int64   // -1 after an error
	start  int64   // -1 after an error
	time   int64   // LogAppendTime of the batch; -1 for none; unused after an error
	reason *string // nil without an error
}

// Versions from which lengths are compact, and topics are named by their ids.
const (
	firstFlexibleProduce = 9
	firstProduceByID     = 13
)

// AppendTo implements encoder.
func (r *produceResponse) AppendTo(dst []byte) []byte {
	w := wire{flexible: r.version >= firstFlexibleProduce}
	dst = w.count(dst, len(r.topics))
	for i := range r.topics {
		t := &r.topics[i]
		dst = w.count(w.topic(dst, t.name, t.id, r.version >= firstProduceByID), len(t.partitions))
		for j := range t.partitions {
			dst = w.tags(r.appendPartition(dst, w, &t.partitions[j]))
		}
		dst = w.tags(dst)
	}
	if r.version >= 1 {
		dst = binary.BigEndian.AppendUint32(dst, 0) // throttle time
	}
	return w.tags(dst)
}

func (r *produceResponse) appendPartition(dst []byte, w wire, p *producedPartition) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.number))
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.code))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.base))
	if r.version >= 2 {
		at := p.time
		if p.code != 0 {
			at = -1
		}
		dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	}
	if r.version >= 5 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.start))
	}
	if r.version >= 8 {
		dst = w.nullableText(w.count(dst, 0), p.reason)
	}
	return dst
}
