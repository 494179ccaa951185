package web

import (
	"fmt"
	"net/url"
	"strings"

	"mbus/internal/message"
	"mbus/internal/publish"
)

// eventPrefix is the beginning of a request's headers with attributes of a CloudEvent.
const eventPrefix = "Ce-"

// eventOf makes the message one of a CloudEvent, if the request has one: the body with attributes in
// headers, or as JSON.
func (c *call) eventOf(m *outgoing) error {
	var event message.Parsed
	var err error
	switch {
	case c.mediaType() == typeEvent:
		event, err = message.ParseCloudEvent(m.value)
	case c.isBinaryEvent():
		event, err = c.binaryEvent(m.value)
	default:
		return nil
	}
	if err != nil {
		return badMessage("%w", err)
	}
	m.value = event.Value
	if !m.hasKey && event.Key != nil {
		m.key, m.hasKey = event.Key, true
	}
	m.headers = append(event.Headers, m.headers...)
	return nil
}

func (c *call) isBinaryEvent() bool { return len(c.r.Header[eventPrefix+"Specversion"]) > 0 }

// binaryEvent is the event whose attributes are in headers.
func (c *call) binaryEvent(data []byte) (message.Parsed, error) {
	e := message.CloudEvent{Type: c.r.Header.Get("Content-Type"), Data: data}
	for _, h := range headersOf(c.r.Header, eventPrefix) {
		value, err := unescapeAttribute(string(h.Value))
		if err != nil {
			return message.Parsed{}, fmt.Errorf("attribute %q: %w", h.Key, err)
		}
		e.Attributes = append(e.Attributes, message.Attribute{Name: h.Key, Value: value})
	}
	return e.Record()
}

// unescapeAttribute reads the value of an attribute's header: it may be quoted, and has %XX for other bytes.
func unescapeAttribute(value string) (string, error) {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(value[1 : n-1])
	}
	return url.PathUnescape(value)
}

func badMessage(format string, args ...any) error {
	return &problem{Status: statuses[codeBadMessage], Code: codeBadMessage, Detail: fmt.Errorf(format, args...).Error()}
}

// addEvent makes a message of a line with a CloudEvent.
func addEvent(r *publish.Reader, out *publish.Batch, line []byte, number uint64) error {
	m, err := message.ParseCloudEvent(line)
	if err != nil {
		return badMessage("event %d: %w", number, err)
	}
	return r.Parsed(out, &m, number)
}

// readEvents reads a batch of events, and returns each on a line.
func (c *call) readEvents(b *body) ([]byte, error) {
	p, err := b.readAll()
	if err != nil {
		return nil, err
	}
	lines, err := message.SplitCloudEvents(nil, p)
	if err != nil {
		return nil, badMessage("a batch of cloud events is a list of JSON objects: %w", err)
	}
	return lines, nil
}
