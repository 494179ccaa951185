package web

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"mbus/internal/message"
)

// isOne says whether the answer is one message, without a frame.
func (s *sink) isOne() bool { return s.format == formatEvent || s.format == formatBody }

// arraySign is what is before an element of an array.
func arraySign(isFirst bool) byte {
	if isFirst {
		return '['
	}
	return ','
}

// setEvent sets the header of a CloudEvent in binary mode. No browser shows it as a document with
// scripts.
func setEvent(h http.Header, e *message.CloudEvent) {
	for _, a := range e.Attributes {
		h.Set("ce-"+a.Name, escapeHeader(a.Value))
	}
	if _, _, err := mime.ParseMediaType(e.Type); err == nil {
		h.Set("Content-Type", e.Type)
	} else {
		h.Set("Content-Type", "application/octet-stream")
	}
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	h.Set("Content-Disposition", "attachment")
}

// escapeHeader writes a value as the HTTP binding of CloudEvents has it: bytes that are not printable
// ASCII, blanks, quotes and percent signs as %XX.
func escapeHeader(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c == '"' || c == '%' || c > '~' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
