package publish

import (
	"bytes"
	"fmt"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/message"
)

// An Error is about one message. Its code is that of the line protocol.
type Error struct {
	Code string
	err  error
}

func (e *Error) Error() string { return e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

func errorf(code, format string, args ...any) error { return &Error{code, fmt.Errorf(format, args...)} }

// A Reader makes messages of lines.
type Reader struct {
	Broker  *broker.Broker
	Topic   *broker.Topic
	Now     int64          // the time of messages without one of their own, in milliseconds since 1970
	Headers []batch.Header // of all messages beside their own, such as the one that delays them
	Key     []byte         // of lines that have none; nil for none

	parsed message.Parsed
}

// TooLarge is the error for a message that is too large, by its number from 1.
func TooLarge(b *broker.Broker, t *broker.Topic, number uint64) error {
	limit, whose := Limit(b, t)
	return errorf("TOOLARGE", "message %d is larger than %d bytes (%s)", number, limit, whose)
}

// Limit is the size of the largest message in bytes, and the setting that says so. t is nil for a topic
// that does not exist yet.
func Limit(b *broker.Broker, t *broker.Topic) (limit int, whose string) {
	if t != nil && t.MaxMessage() < b.Limits.MaxMessage {
		return t.MaxMessage(), "max.message.bytes of the topic"
	}
	return b.Limits.MaxMessage, "-max-message of the broker"
}

// Line adds a line as a message.
func (r *Reader) Line(out *Batch, line []byte, number uint64) error {
	return r.put(out, number, r.Now, r.Key, line, r.Headers, len(line))
}

// Keyed adds a line of key, TAB and value.
func (r *Reader) Keyed(out *Batch, line []byte, number uint64) error {
	key, value, ok := bytes.Cut(line, []byte("\t"))
	if !ok {
		return errorf("BADMESSAGE", "message %d has no TAB between key and value", number)
	}
	return r.put(out, number, r.Now, key, value, r.Headers, len(line))
}

// JSON adds a line of JSON, as message.ParseJSON takes it.
func (r *Reader) JSON(out *Batch, line []byte, number uint64) error {
	m := &r.parsed
	defer m.Trim(broker.ReadBuffer) // for a client that waits
	if err := message.ParseJSON(line, m); err != nil {
		return errorf("BADMESSAGE", "message %d is not what format=json takes: %w", number, err)
	}
	return r.Parsed(out, m, number)
}

// Parsed adds a message that may have headers and a time of its own.
func (r *Reader) Parsed(out *Batch, m *message.Parsed, number uint64) error {
	if m.Key == nil {
		m.Key = r.Key
	}
	size := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		size += len(h.Key) + len(h.Value)
	}
	m.Headers = append(m.Headers, r.Headers...)
	if err := broker.CheckDeliverAt(m.Headers); err != nil {
		return errorf("BADMESSAGE", "message %d: %w", number, err)
	}
	if size > r.Broker.Limits.MaxMessage || !out.Fits(m.Key, m.Value, m.Headers) {
		return TooLarge(r.Broker, r.Topic, number)
	}
	if !m.HasTimestamp {
		m.Timestamp = r.Now
	} else if err := r.Broker.CheckTimes(r.Topic, m.Timestamp, m.Timestamp); err != nil {
		return errorf("BADMESSAGE", "message %d: %w", number, err)
	}
	out.Put(number, m.Timestamp, m.Key, m.Value, m.Headers)
	return nil
}

// put adds a message of so many bytes.
func (r *Reader) put(out *Batch, number uint64, time int64, key, value []byte, headers []batch.Header, size int) error {
	if size > r.Broker.Limits.MaxMessage || !out.Fits(key, value, headers) {
		return TooLarge(r.Broker, r.Topic, number)
	}
	out.Put(number, time, key, value, headers)
	return nil
}
