package kafka

import "encoding/binary"

// Wire appends the parts of answers that are made by hand. From some version on,
// another one for each API, lengths are compact and tagged fields follow each
// structure: then it is flexible (KIP-482).
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

// topic appends what a topic is called: its name or, where the version has ids in
// their place, its id.
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
