package kafka

import "encoding/binary"

// wire encodes the responses that are not made by kmsg. From some version on, which differs
// by API, lengths are compact and tagged fields follow each struct: the version is flexible
// (KIP-482).
type wire struct{ flexible bool }

// count appends the length of an array or of bytes, which are not null.
func (w wire) count(dst []byte, n int) []byte {
	if w.flexible {
		return binary.AppendUvarint(dst, uint64(n)+1)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

func (w wire) text(dst []byte, s string) []byte {
	if w.flexible {
		dst = binary.AppendUvarint(dst, uint64(len(s))+1)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	}
	return append(dst, s...)
}

// topic appends a topic's name or, in versions that have ids in its place, its id.
func (w wire) topic(dst []byte, name string, id [16]byte, byID bool) []byte {
	if byID {
		return append(dst, id[:]...)
	}
	return w.text(dst, name)
}

// nullableText appends a string, or null for nil.
func (w wire) nullableText(dst []byte, s *string) []byte {
	switch {
	case s != nil:
		return w.text(dst, *s)
	case w.flexible:
		return append(dst, 0)
	}
	return append(dst, 0xff, 0xff)
}

// tags appends that there are no tagged fields.
func (w wire) tags(dst []byte) []byte {
	if w.flexible {
		return append(dst, 0)
	}
	return dst
}
