package web

import (
	"fmt"
	"strings"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// postPublish publishes the message of a form.
func postPublish(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	name, err := c.name("topic")
	if err != nil {
		return err
	}
	m, err := newFormMessage(c)
	if err != nil {
		return err
	}
	_, p, err := m.prepare(c.view, c.server.broker, name)
	if err != nil {
		return err
	}
	offset, err := m.append(p, noProducer)
	if err != nil {
		return err
	}
	done := fmt.Sprintf("Published: partition %d, offset %d.", p.Number(), offset)
	if broker.Waits(m.headers) {
		done = "Published: it is delivered at " + timeText(m.due().UnixMilli()) + " UTC."
	}
	return redirect(c, topicPath(name), done)
}

// newFormMessage reads a message. An empty key is none. A browser sends CR LF for each line end of a
// text, and the message has LF.
func newFormMessage(c *call) (*outgoing, error) {
	m := &outgoing{partition: -1, value: []byte(strings.ReplaceAll(c.r.PostForm.Get("value"), "\r\n", "\n"))}
	if key := c.r.PostForm.Get("key"); key != "" {
		m.key, m.hasKey = []byte(key), true
	}
	if delay := field(c, "delay"); delay != "" {
		if err := m.setDelay(delay, c.server.broker.Now()); err != nil {
			return nil, badRequest("field %q: %w", "delay", err)
		}
	}
	for line := range strings.Lines(c.r.PostForm.Get("headers")) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !found || name == "" {
			return nil, badRequest("field %q: each line is NAME: VALUE, not %q", "headers", line)
		}
		m.headers = append(m.headers, batch.Header{Key: name, Value: []byte(strings.TrimSpace(value))})
	}
	return m, nil
}
