package message

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"mbus/internal/batch"
)

// An Origin is the source of a message.
type Origin struct {
	Broker    int32 // its number, as -node-id says
	Topic     string
	Partition int
	Attempt   int // number of the delivery, from 1; 0 to leave it out
}

// AppendJSON appends r as one JSON object, without LF, with the keys that
// kcat -J prints, and attempt. A key or payload that is not UTF-8 is written base64-encoded
// as key_base64 or payload_base64; one such header value makes the list
// headers_base64. In the key of a header, which Kafka defines as text, bytes
// that are not UTF-8 become U+FFFD. It allocates only to make dst larger.
func AppendJSON(dst []byte, from Origin, r *batch.Record) []byte {
	dst = append(dst, `{"topic":`...)
	dst = appendString(dst, from.Topic)
	dst = append(dst, `,"partition":`...)
	dst = strconv.AppendInt(dst, int64(from.Partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	if r.AppendTime {
		dst = append(dst, `,"tstype":"logappend","ts":`...)
	} else {
		dst = append(dst, `,"tstype":"create","ts":`...)
	}
	dst = strconv.AppendInt(dst, r.Timestamp, 10)
	dst = append(dst, `,"broker":`...)
	dst = strconv.AppendInt(dst, int64(from.Broker), 10)
	if from.Attempt > 0 {
		dst = append(dst, `,"attempt":`...)
		dst = strconv.AppendInt(dst, int64(from.Attempt), 10)
	}
	if r.HeaderCount() > 0 {
		dst = appendHeaders(dst, r)
	}
	dst = appendField(dst, `,"key`, r.Key)
	dst = appendField(dst, `,"payload`, r.Value)
	return append(dst, '}')
}

// appendField appends a value with its name, which lacks the closing quote.
func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	if utf8.Valid(value) {
		return appendValue(append(dst, `":`...), value, false)
	}
	return appendValue(append(dst, `_base64":`...), value, true)
}

func appendHeaders(dst []byte, r *batch.Record) []byte {
	if encodeHeaders(r) {
		dst = append(dst, `,"headers_base64":`...)
	} else {
		dst = append(dst, `,"headers":`...)
	}
	dst, _ = AppendHeaders(dst, r)
	return dst
}

// AppendHeaders appends the headers of r, of which there is at least one, as the list that
// AppendJSON writes, and reports whether their values are base64-encoded.
func AppendHeaders(dst []byte, r *batch.Record) (_ []byte, encoded bool) {
	encoded = encodeHeaders(r)
	sep := byte('[')
	for k, v := range r.Headers() {
		if !utf8.Valid(k) {
			k = bytes.ToValidUTF8(k, []byte("\uFFFD"))
		}
		dst = appendString(append(dst, sep), k)
		dst = appendValue(append(dst, ','), v, encoded)
		sep = ','
	}
	return append(dst, ']'), encoded
}

// encodeHeaders reports whether a value is not UTF-8.
func encodeHeaders(r *batch.Record) bool {
	for _, v := range r.Headers() {
		if !utf8.Valid(v) {
			return true
		}
	}
	return false
}

func appendValue(dst, value []byte, encode bool) []byte {
	switch {
	case value == nil:
		return append(dst, "null"...)
	case encode:
		dst = base64.StdEncoding.AppendEncode(append(dst, '"'), value)
		return append(dst, '"')
	}
	return appendString(dst, value)
}

// appendString appends s, which is valid UTF-8, as a JSON string.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, c)
			start = i + 1
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
