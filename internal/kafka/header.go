package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A header precedes each request's body: key, version, correlation id, client id and, where
// the request's version is "flexible" (KIP-482), tagged fields.
type header struct {
	key         int16
	version     int16
	correlation int32
	client      []byte // id; part of the frame, valid while the handler runs
	flexible    bool   // the response's header has tagged fields, too
}

// fixedHeader is the size in bytes of a header up to and without the client id.
const fixedHeader = 8

var errShort = errors.New("the request ends in its header")

// parseHeader reads the part of fixed size. flexible is not known yet.
func parseHeader(frame []byte) (header, error) {
	if len(frame) < fixedHeader {
		return header{}, errShort
	}
	return header{
		key:         int16(binary.BigEndian.Uint16(frame)),
		version:     int16(binary.BigEndian.Uint16(frame[2:])),
		correlation: int32(binary.BigEndian.Uint32(frame[4:])),
		client:      clientID(frame[fixedHeader:]),
	}, nil
}

// clientID is the client id at the beginning of p; nil if there is none, or if it is cut
// off, which body reports.
func clientID(p []byte) []byte {
	if len(p) < 2 {
		return nil
	}
	n := int(int16(binary.BigEndian.Uint16(p)))
	if n < 0 || n > len(p)-2 {
		return nil
	}
	return p[2 : 2+n]
}

// body skips the rest of the header: the client id, which is never compact, and
// the tagged fields.
func body(frame []byte, flexible bool) ([]byte, error) {
	p := frame[fixedHeader:]
	if len(p) < 2 {
		return nil, errShort
	}
	n := int(int16(binary.BigEndian.Uint16(p)))
	p = p[2:]
	if n > len(p) || n < -1 {
		return nil, fmt.Errorf("client id of %d bytes: %w", n, errShort)
	}
	p = p[max(n, 0):]
	if !flexible {
		return p, nil
	}
	return skipTags(p)
}

// skipTags skips tagged fields: a count, then each tag, size and bytes.
func skipTags(p []byte) ([]byte, error) {
	count, n := binary.Uvarint(p)
	if n <= 0 || count > uint64(len(p)) {
		return nil, errShort
	}
	p = p[n:]
	for range count {
		_, n := binary.Uvarint(p)
		if n <= 0 {
			return nil, errShort
		}
		p = p[n:]
		size, n := binary.Uvarint(p)
		if n <= 0 || size > uint64(len(p)-n) {
			return nil, errShort
		}
		p = p[n+int(size):]
	}
	return p, nil
}

// appendResponse appends a whole response to dst: size, correlation id, tagged fields
// where the request was flexible, and the body.
func appendResponse(dst []byte, h header, m encoder) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.correlation))
	if h.flexible && h.key != int16(kmsg.ApiVersions) { // KIP-511: clients read it before they know the versions
		dst = append(dst, 0)
	}
	dst = m.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}
