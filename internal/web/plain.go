package web

import (
	"bytes"
	"strings"

	"mbus/internal/broker"
	"mbus/internal/message"
)

// A plain request publishes one message, and has nothing that changes what that means but a key: nearly
// all requests of a busy broker are so. Its slices are of the buffer.
type plain struct {
	topic, host, key, body []byte
	authorization          []byte // nil for none
	hasKey, hasLength      bool
	length                 int // of the body
	size                   int // of the request
}

// A found says what a buffer begins with.
type found int

const (
	foundOther found = iota // a request that is not plain, or none
	foundPart               // of what may be a plain request
	foundPlain
)

const (
	plainBegin = "POST /topics/"
	plainEnd   = " HTTP/1.1"
)

var crlf = []byte("\r\n")

// findPlain reads the request at the beginning of p. It is strict: net/http understands what it takes in
// the same way.
func findPlain(p []byte) (r plain, f found) {
	line, rest, complete := bytes.Cut(p, crlf)
	if n := min(len(line), len(plainBegin)); string(line[:n]) != plainBegin[:n] {
		return r, foundOther
	}
	for isFirst := true; ; isFirst = false {
		switch {
		case !complete && len(p) >= broker.PlainRequest:
			return r, foundOther
		case !complete:
			return r, foundPart
		case isFirst && !r.setTopic(line), !isFirst && len(line) > 0 && !r.setField(line):
			return r, foundOther
		case len(line) == 0:
			return r.withBody(p, rest)
		}
		line, rest, complete = bytes.Cut(rest, crlf)
	}
}

// withBody is the request, if it is one, whose body begins rest.
func (r plain) withBody(p, rest []byte) (plain, found) {
	r.size = len(p) - len(rest) + r.length
	switch {
	case len(r.host) == 0 || !r.hasLength || r.size > broker.PlainRequest:
		return r, foundOther
	case len(rest) < r.length:
		return r, foundPart
	}
	r.body = rest[:r.length:r.length]
	return r, foundPlain
}

// setTopic reads the request line.
func (r *plain) setTopic(line []byte) bool {
	name, isPlain := bytes.CutSuffix(line, []byte(plainEnd))
	if !isPlain || len(name) < len(plainBegin) {
		return false
	}
	r.topic = name[len(plainBegin):]
	return message.IsName(r.topic)
}

// setField reads a line of the header, and reports whether a plain request may have it.
func (r *plain) setField(line []byte) bool {
	for _, c := range line {
		if c < ' ' || c > '~' {
			return false
		}
	}
	colon := bytes.IndexByte(line, ':')
	var name [len("accept-encoding")]byte
	if colon < 0 || colon > len(name) {
		return false
	}
	for i, c := range line[:colon] {
		if name[i] = c; 'A' <= c && c <= 'Z' {
			name[i] += 'a' - 'A'
		}
	}
	value := trimSpaces(line[colon+1:])
	switch string(name[:colon]) {
	case "host":
		isFirst := r.host == nil
		r.host = value
		return isFirst && isPlainHost(value)
	case "content-length":
		return r.setLength(value)
	case "mbus-key":
		isFirst := !r.hasKey
		r.key, r.hasKey = value, true
		return isFirst
	case "content-type":
		return isPlainType(string(value))
	case "connection":
		return strings.EqualFold(string(value), "keep-alive")
	case "authorization":
		isFirst := r.authorization == nil
		r.authorization = value
		return isFirst
	case "user-agent", "accept", "accept-encoding", "accept-language":
		return true // they say nothing about the message
	}
	return false
}

// trimSpaces never makes nil, which a key that is empty is not.
func trimSpaces(p []byte) []byte {
	for len(p) > 0 && p[0] == ' ' {
		p = p[1:]
	}
	for len(p) > 0 && p[len(p)-1] == ' ' {
		p = p[:len(p)-1]
	}
	return p
}

// isPlainHost says whether a host has the bytes of a name or an address, and of its port, only.
func isPlainHost(host []byte) bool {
	for _, c := range host {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == ':' || c == '[' || c == ']') {
			return false
		}
	}
	return true
}

func (r *plain) setLength(value []byte) bool {
	if r.hasLength || len(value) == 0 {
		return false
	}
	for _, c := range value {
		if c < '0' || c > '9' || r.length > broker.PlainRequest {
			return false
		}
		r.length = 10*r.length + int(c-'0')
	}
	r.hasLength = true
	return true
}

// plainTypes are media types that say nothing about how many messages a body holds.
var plainTypes = []string{
	"application/x-www-form-urlencoded", typeJSON, typeAny, "text/plain",
	"text/plain; charset=utf-8", "text/plain;charset=utf-8", "application/json; charset=utf-8", "application/json;charset=utf-8",
}

func isPlainType(value string) bool {
	for _, t := range plainTypes {
		if strings.EqualFold(t, value) {
			return true
		}
	}
	return false
}
