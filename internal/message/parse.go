package message

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"mbus/internal/batch"
)

// Parsed is the content of a producer's line of JSON. It may be used for one line after the
// other.
type Parsed struct {
	Key, Value   []byte // nil for null; valid as long as the line, until the next ParseJSON
	Headers      []batch.Header
	Timestamp    int64 // milliseconds since 1970
	HasTimestamp bool  // the line has one

	unescaped []byte // strings of the line that were escaped or encoded
}

// Trim gives up memory for the next line if it is more than so many bytes, about.
func (m *Parsed) Trim(most int) {
	const header = 40 // bytes
	if cap(m.unescaped)+header*cap(m.Headers) > most {
		*m = Parsed{}
	}
}

// ParseJSON fills m from a line (without LF) of the form that AppendJSON
// writes. It reads payload, key, headers and ts, all of which may be missing or null, and
// ignores tstype, topic, partition, offset, broker and attempt. It is an error if the line is
// not one JSON object in valid UTF-8, has an unknown field, a field twice (also as plain text
// and as base64), or a value of the wrong type.
func ParseJSON(line []byte, m *Parsed) error {
	*m = Parsed{Headers: m.Headers[:0], unescaped: m.unescaped[:0]}
	if !json.Valid(line) {
		return invalid(line)
	}
	if !utf8.Valid(line) {
		return errors.New("json: invalid UTF-8; use payload_base64 for other bytes")
	}
	w := walker{p: line, m: m}
	if w.peek() != '{' {
		return fmt.Errorf("json: not an object: %s", oneObject)
	}
	return w.object()
}

// ByteOrderMark is a prefix that some editors write before a text.
const ByteOrderMark = "\xef\xbb\xbf"

// oneObject is the form of a line, with an example.
const oneObject = `each line is one object, such as {"payload":"text"}`

// invalid is the error for a line that is not JSON.
func invalid(line []byte) error {
	switch {
	case bytes.HasPrefix(line, []byte(ByteOrderMark)):
		return errors.New("json: a byte order mark (EF BB BF) is before the object: save the text as UTF-8 without it")
	case len(bytes.TrimSpace(line)) == 0:
		return fmt.Errorf("json: the line is blank: %s", oneObject)
	}
	err := json.Unmarshal(line, new(json.RawMessage)) // for its text
	return fmt.Errorf("json: %w: %s", err, oneObject)
}

// A walker reads values from the front of p, which is valid JSON, and checks only what JSON does
// not prescribe.
type walker struct {
	p    []byte
	m    *Parsed
	seen field
}

// A field is one part of a message, for which an object may have one of two keys.
type field uint

const (
	payload field = 1 << iota
	key
	headers
	timestamp
)

func (w *walker) object() error {
	w.p = w.p[1:]
	for w.peek() != '}' {
		name, err := w.text()
		if err != nil {
			return err
		}
		w.peek()
		w.p = w.p[1:] // the colon
		if err := w.member(name); err != nil {
			return err
		}
		if w.peek() == ',' {
			w.p = w.p[1:]
		}
	}
	return nil
}

func (w *walker) member(name []byte) (err error) {
	m := w.m
	switch string(name) {
	case "tstype", "topic", "partition", "offset", "broker", "attempt":
		w.skip()
	case "payload":
		m.Value, err = w.value(payload, "payload", false)
	case "payload_base64":
		m.Value, err = w.value(payload, "payload_base64", true)
	case "key":
		m.Key, err = w.value(key, "key", false)
	case "key_base64":
		m.Key, err = w.value(key, "key_base64", true)
	case "headers":
		err = w.headers("headers", false)
	case "headers_base64":
		err = w.headers("headers_base64", true)
	case "ts":
		err = w.timestamp("ts")
	default:
		err = fmt.Errorf("json: unknown field %q", name)
	}
	return err
}

func (w *walker) once(f field, name string) error {
	if w.seen&f != 0 {
		return fmt.Errorf("json: field %q gives a second value", name)
	}
	w.seen |= f
	return nil
}

func (w *walker) value(f field, name string, encoded bool) ([]byte, error) {
	if err := w.once(f, name); err != nil {
		return nil, err
	}
	return w.bytes(name, encoded)
}

// bytes reads a string, base64-encoded or not, or null.
func (w *walker) bytes(name string, encoded bool) ([]byte, error) {
	switch w.peek() {
	case 'n':
		w.skip()
		return nil, nil
	case '"':
	default:
		return nil, fmt.Errorf("json: field %q takes strings and null only", name)
	}
	s, err := w.text()
	if err != nil || !encoded {
		return s, err
	}
	n := len(w.m.unescaped)
	w.m.unescaped, err = base64.StdEncoding.Strict().AppendDecode(w.m.unescaped, s)
	if err != nil {
		return nil, fmt.Errorf("json: field %q is not base64", name)
	}
	return w.unescapedFrom(n), nil
}

// maxHeaders bounds the headers of a message as JSON: each takes some 50 bytes in memory, and as few as
// eight in a line.
const maxHeaders = 10_000

func (w *walker) headers(name string, encoded bool) error {
	if err := w.once(headers, name); err != nil {
		return err
	}
	if w.peek() == 'n' {
		w.skip()
		return nil
	}
	if w.peek() != '[' {
		return fmt.Errorf("json: field %q takes a list of keys and values", name)
	}
	w.p = w.p[1:]
	for w.peek() != ']' {
		if len(w.m.Headers) == maxHeaders {
			return fmt.Errorf("json: field %q has more than %d headers", name, maxHeaders)
		}
		if err := w.header(name, encoded); err != nil {
			return err
		}
	}
	w.p = w.p[1:]
	return nil
}

func (w *walker) header(name string, encoded bool) error {
	if w.peek() != '"' {
		return fmt.Errorf("json: field %q has a header key that is not a string", name)
	}
	k, err := w.text()
	if err != nil {
		return err
	}
	if w.peek() != ',' {
		return fmt.Errorf("json: field %q has a header key without a value", name)
	}
	w.p = w.p[1:]
	v, err := w.bytes(name, encoded)
	if err != nil {
		return err
	}
	w.m.Headers = append(w.m.Headers, batch.Header{Key: string(k), Value: v})
	if w.peek() == ',' {
		w.p = w.p[1:]
	}
	return nil
}

func (w *walker) timestamp(name string) error {
	if err := w.once(timestamp, name); err != nil {
		return err
	}
	w.peek()
	start := w.p
	w.skip()
	number := start[:len(start)-len(w.p)]
	if string(number) == "null" {
		return nil
	}
	ts, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil {
		return fmt.Errorf("json: field %q takes a whole number of milliseconds, not %s", name, number)
	}
	w.m.Timestamp, w.m.HasTimestamp = ts, true
	return nil
}
