package group

import (
	"encoding/binary"
	"errors"
)

// The journal's records have the key and value of Kafka's __consumer_offsets:
// OffsetCommitKey version 1 and OffsetCommitValue version 3, as in Apache
// Kafka's group-coordinator message definitions. Behind the value stand the
// spans acknowledged beyond the offset, as a count and pairs of offsets.
const (
	keyVersion   = 1
	valueVersion = 3
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

// AppendValue appends what the journal keeps of s; now is the time of the
// commit, in milliseconds since 1970.
func (s State) AppendValue(p []byte, now int64) []byte {
	p = binary.BigEndian.AppendUint16(p, valueVersion)
	p = binary.BigEndian.AppendUint64(p, uint64(s.Offset))
	p = binary.BigEndian.AppendUint32(p, ^uint32(0)) // no leader epoch
	p = appendString(p, "")                          // no metadata
	p = binary.BigEndian.AppendUint64(p, uint64(now))
	p = binary.BigEndian.AppendUint32(p, uint32(len(s.Beyond)))
	for _, b := range s.Beyond {
		p = binary.BigEndian.AppendUint64(p, uint64(b.From))
		p = binary.BigEndian.AppendUint64(p, uint64(b.To))
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
	if r.bad || k.Partition < 0 {
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
	s := State{Offset: int64(r.uint(8))}
	r.uint(4)
	_ = r.string()
	r.uint(8)
	if r.bad || s.Offset < 0 {
		return State{}, errRecord
	}
	if len(r.p) == 0 {
		return s, nil
	}
	n := r.uint(4)
	if r.bad || n > maxBeyond {
		return State{}, errRecord
	}
	last := s.Offset
	for range n {
		b := Span{int64(r.uint(8)), int64(r.uint(8))}
		if r.bad || b.From < last || b.To <= b.From {
			return State{}, errRecord
		}
		s.Beyond, last = append(s.Beyond, b), b.To
	}
	return s, nil
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

func (r *reader) string() string { return string(r.take(int(r.uint(2)))) }
