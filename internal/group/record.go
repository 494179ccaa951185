package group

import (
	"cmp"
	"encoding/binary"
	"errors"
)

// The journal's records have the key and value of Kafka's __consumer_offsets:
// OffsetCommitKey version 1 and OffsetCommitValue version 3, as in Apache
// Kafka's group-coordinator message definitions; a null value says that the
// position was deleted. Behind the value stand the spans acknowledged beyond the
// offset, as a count and pairs of offsets, the messages that have failed, as a
// count and pairs of an offset and a number of attempts, the topic's id, and a byte that
// is 1 if a member with assigned partitions (Kafka) has written the position last, and 0 if
// a member that leases messages has. At the end stand the spans beyond that the first count,
// of firstBeyond at most, leaves out: a count and, of each, its distance from the one before
// it and its length, as varints.
const (
	keyVersion   = 1
	valueVersion = 3
	firstBeyond  = 1000
)

// errRecord says that a record of the journal can't be understood.
var errRecord = errors.New("not a position's record")

// AppendKey appends the key under which the journal keeps k.
func (k Key) AppendKey(p []byte) []byte {
	p = binary.BigEndian.AppendUint16(p, keyVersion)
	p = appendString(p, k.Group)
	p = appendString(p, k.Topic)
	return binary.BigEndian.AppendUint32(p, uint32(k.Partition))
}

// AppendValue appends what the journal keeps of s. The time of the commit is s.At or,
// where that is 0, now, in milliseconds since 1970.
func (s State) AppendValue(p []byte, now int64) []byte {
	p = binary.BigEndian.AppendUint16(p, valueVersion)
	p = binary.BigEndian.AppendUint64(p, uint64(s.Offset))
	p = binary.BigEndian.AppendUint32(p, uint32(s.Epoch))
	p = appendString(p, s.Metadata)
	p = binary.BigEndian.AppendUint64(p, uint64(cmp.Or(s.At, now)))
	first := s.Beyond[:min(len(s.Beyond), firstBeyond)]
	p = binary.BigEndian.AppendUint32(p, uint32(len(first)))
	for _, b := range first {
		p = binary.BigEndian.AppendUint64(p, uint64(b.From))
		p = binary.BigEndian.AppendUint64(p, uint64(b.To))
	}
	p = binary.BigEndian.AppendUint32(p, uint32(len(s.Failed)))
	for _, f := range s.Failed {
		p = binary.BigEndian.AppendUint64(p, uint64(f.Offset))
		p = binary.BigEndian.AppendUint32(p, uint32(f.Attempts))
	}
	p = append(p, s.TopicID[:]...)
	kind := byte(0)
	if s.Assigned {
		kind = 1
	}
	return appendSpans(append(p, kind), s.Beyond[len(first):], first)
}

// appendSpans appends spans in little room; before are those that they follow.
func appendSpans(p []byte, spans, before []Span) []byte {
	p = binary.AppendUvarint(p, uint64(len(spans)))
	last := int64(0)
	if len(before) > 0 {
		last = before[len(before)-1].To
	}
	for _, s := range spans {
		p = binary.AppendUvarint(p, uint64(s.From-last))
		p = binary.AppendUvarint(p, uint64(s.Len()))
		last = s.To
	}
	return p
}

// ParseKey reads what AppendKey wrote.
func ParseKey(p []byte) (Key, error) {
	r := reader{p: p}
	if r.uint(2) != keyVersion {
		return Key{}, errRecord
	}
	k := Key{Group: r.string(), Topic: r.string(), Partition: int(int32(r.uint(4)))}
	if r.bad || len(r.p) > 0 || k.Partition < 0 {
		return Key{}, errRecord
	}
	return k, nil
}

// ParseValue reads what AppendValue wrote, or Kafka.
func ParseValue(p []byte) (State, error) {
	r := reader{p: p}
	if r.uint(2) != valueVersion {
		return State{}, errRecord
	}
	s := State{Offset: int64(r.uint(8)), Epoch: int32(r.uint(4)), Metadata: r.string(), At: int64(r.uint(8))}
	if !r.bad && len(r.p) > 0 { // ours, not Kafka's
		s.Beyond = r.spans(max(s.Offset, 0))
	}
	if !r.bad && len(r.p) > 0 {
		s.Failed = r.failures(max(s.Offset, 0))
	}
	if !r.bad && len(r.p) > 0 {
		copy(s.TopicID[:], r.take(len(s.TopicID)))
	}
	s.Assigned = s.Metadata != "" || s.Epoch != NoEpoch // of before that was kept, or Kafka's
	if !r.bad && len(r.p) > 0 {
		kind := r.uint(1)
		s.Assigned, r.bad = kind == 1, kind > 1
	}
	if !r.bad && len(r.p) > 0 {
		s.Beyond = r.moreSpans(s.Beyond)
	}
	if r.bad || len(r.p) > 0 {
		return State{}, errRecord
	}
	return s, nil
}

// spans reads spans that ascend from offset last on.
func (r *reader) spans(last int64) (all []Span) {
	for range r.count(firstBeyond) {
		s := Span{int64(r.uint(8)), int64(r.uint(8))}
		if r.bad || s.From < last || s.To <= s.From {
			r.bad = true
			return nil
		}
		all, last = append(all, s), s.To
	}
	return all
}

// moreSpans reads what appendSpans wrote behind the spans of before.
func (r *reader) moreSpans(all []Span) []Span {
	n := r.uvarint()
	if n > maxBeyond || n > 0 && len(all) != firstBeyond {
		r.bad = true
	}
	for ; n > 0 && !r.bad; n-- {
		last := all[len(all)-1].To
		from := last + int64(r.uvarint())
		s := Span{from, from + int64(r.uvarint())}
		if r.bad = r.bad || s.From < last || s.To <= s.From; !r.bad {
			all = append(all, s)
		}
	}
	return all
}

// failures reads failures that ascend from offset next on.
func (r *reader) failures(next int64) (all []Failure) {
	for range r.count(maxFailed) {
		f := Failure{int64(r.uint(8)), int(int32(r.uint(4)))}
		if r.bad || f.Offset < next || f.Attempts < 1 {
			r.bad = true
			return nil
		}
		all, next = append(all, f), f.Offset+1
	}
	return all
}

func appendString(p []byte, s string) []byte {
	p = binary.BigEndian.AppendUint16(p, uint16(len(s)))
	return append(p, s...)
}

// A reader takes fields off the front of p; what does not fit sets bad.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.p) {
		r.bad = true
		r.p = nil
		return nil
	}
	b := r.p[:n]
	r.p = r.p[n:]
	return b
}

func (r *reader) uint(size int) (v uint64) {
	for _, b := range r.take(size) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.p = r.p[n:]
	return v
}

// count reads a number that may not be above most.
func (r *reader) count(most int) int {
	n := int(r.uint(4))
	if n > most {
		r.bad = true
	}
	if r.bad {
		return 0
	}
	return n
}

func (r *reader) string() string { return string(r.take(int(r.uint(2)))) }
