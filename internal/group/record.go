package group

import (
	"cmp"
	"encoding/binary"
	"errors"
)

// The positions log's records have the key and value of Kafka's __consumer_offsets:
// OffsetCommitKey version 1 and OffsetCommitValue version 3, as in Apache
// Kafka's group-coordinator message definitions; a null value says that the
// position was deleted. Behind the value stand the spans acknowledged above the
// offset, as a count and pairs of offsets, the messages that have failed, as a
// count and pairs of an offset and a number of attempts, the topic's id, and a byte that
// is 1 if a member with assigned partitions (Kafka) has written the position last, and 0 if
// a member that leases messages has. Lists that are longer than shortList stand at the end
// instead, as varints: a count and, of each span, its distance from the one before it and its
// length; a count and, of each failure, its distance from the one before it and the attempts.
// Of former versions the first firstAckedAhead spans stand in front, and only the rest there.
const (
	keyVersion      = 1
	valueVersion    = 3
	firstAckedAhead = 1000
	shortList       = 16
)

// errRecord is the error for a record of the positions log that can't be parsed.
var errRecord = errors.New("not a position's record")

// AppendKey appends the key under which the positions log keeps k.
func (k Key) AppendKey(p []byte) []byte {
	p = binary.BigEndian.AppendUint16(p, keyVersion)
	p = appendString(p, k.Group)
	p = appendString(p, k.Topic)
	return binary.BigEndian.AppendUint32(p, uint32(k.Partition))
}

// AppendValue appends what the positions log keeps of s. The time of the commit is s.At or,
// where that is 0, now, in milliseconds since 1970.
func (s State) AppendValue(p []byte, now int64) []byte {
	p = binary.BigEndian.AppendUint16(p, valueVersion)
	p = binary.BigEndian.AppendUint64(p, uint64(s.Offset))
	p = binary.BigEndian.AppendUint32(p, uint32(s.Epoch))
	p = appendString(p, s.Metadata)
	p = binary.BigEndian.AppendUint64(p, uint64(cmp.Or(s.At, now)))
	first, rest := split(s.AckedAhead)
	p = binary.BigEndian.AppendUint32(p, uint32(len(first)))
	for _, b := range first {
		p = binary.BigEndian.AppendUint64(p, uint64(b.From))
		p = binary.BigEndian.AppendUint64(p, uint64(b.To))
	}
	failed, more := split(s.Failed)
	p = binary.BigEndian.AppendUint32(p, uint32(len(failed)))
	for _, f := range failed {
		p = binary.BigEndian.AppendUint64(p, uint64(f.Offset))
		p = binary.BigEndian.AppendUint32(p, uint32(f.Attempts))
	}
	p = append(p, s.TopicID[:]...)
	kind := byte(0)
	if s.Assigned {
		kind = 1
	}
	p = appendSpans(append(p, kind), rest)
	if len(more) > 0 {
		p = appendFailures(p, more)
	}
	return p
}

// split puts a list in front or, if it is not short, at the end.
func split[T any](list []T) (front, end []T) {
	if len(list) <= shortList {
		return list, nil
	}
	return nil, list
}

// appendSpans appends spans as varints.
func appendSpans(p []byte, spans []Span) []byte {
	p = binary.AppendUvarint(p, uint64(len(spans)))
	last := int64(0)
	for _, s := range spans {
		p = binary.AppendUvarint(p, uint64(s.From-last))
		p = binary.AppendUvarint(p, uint64(s.Len()))
		last = s.To
	}
	return p
}

// appendFailures appends failures as varints.
func appendFailures(p []byte, failures []Failure) []byte {
	p = binary.AppendUvarint(p, uint64(len(failures)))
	last := int64(0)
	for _, f := range failures {
		p = binary.AppendUvarint(p, uint64(f.Offset-last))
		p = binary.AppendUvarint(p, uint64(f.Attempts))
		last = f.Offset
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
		s.AckedAhead = r.spans(max(s.Offset, 0))
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
		s.AckedAhead = r.moreSpans(max(s.Offset, 0), s.AckedAhead)
	}
	if !r.bad && len(r.p) > 0 {
		s.Failed = r.moreFailures(max(s.Offset, 0), s.Failed)
	}
	if r.bad || len(r.p) > 0 {
		return State{}, errRecord
	}
	return s, nil
}

// spans reads spans that ascend from offset last on.
func (r *reader) spans(last int64) (all []Span) {
	for range r.count(firstAckedAhead) {
		s := Span{int64(r.uint(8)), int64(r.uint(8))}
		if r.bad || s.From < last || s.To <= s.From {
			r.bad = true
			return nil
		}
		all, last = append(all, s), s.To
	}
	return all
}

// moreSpans reads those that stand at the end, behind all, which are none most often. They
// ascend from offset last on.
func (r *reader) moreSpans(last int64, all []Span) []Span {
	n, base := r.uvarint(), int64(0)
	if n > maxAckedAhead || n > 0 && len(all) != 0 && len(all) != firstAckedAhead {
		r.bad = true
	}
	if len(all) > 0 {
		base = all[len(all)-1].To
		last = base
	}
	for ; n > 0 && !r.bad; n-- {
		from := base + int64(r.uvarint())
		s := Span{from, from + int64(r.uvarint())}
		if r.bad = r.bad || s.From < last || s.To <= s.From; !r.bad {
			all, base, last = append(all, s), s.To, s.To
		}
	}
	return all
}

// moreFailures reads those that stand at the end, from offset next on, if there are none
// in front.
func (r *reader) moreFailures(next int64, front []Failure) (all []Failure) {
	n, base := r.uvarint(), int64(0)
	if r.bad = r.bad || n < 1 || n > maxFailed || len(front) > 0; r.bad {
		return nil
	}
	for ; n > 0; n-- {
		f := Failure{base + int64(r.uvarint()), int(int32(r.uvarint()))}
		if r.bad = r.bad || f.Offset < next || f.Attempts < 1; r.bad {
			return nil
		}
		all, base, next = append(all, f), f.Offset, f.Offset+1
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
