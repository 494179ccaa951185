package web

import (
	"fmt"
	"strings"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/units"
)

// postPublish publishes the message of a form.
func postPublish(c *call) error {
	if err := c.form(); err != nil {
		return err
	}
	name, err := c.name("topic")
	if err != nil {
		return err
	}
	if broker.Internal(name) {
		return broker.ErrInternalTopic
	}
	key, headers, err := formMessage(c)
	if err != nil {
		return err
	}
	t, err := c.view.MakeTopic(name, "client", c.r.RemoteAddr)
	if err != nil {
		return err
	}
	var b batch.Builder
	value := []byte(strings.ReplaceAll(c.r.PostForm.Get("value"), "\r\n", "\n")) // a browser sends CR LF for each line end
	b.Add(c.server.broker.Now().UnixMilli(), key, value, headers...)
	b.Close(0)
	if n := len(b.Bytes()); n > t.MaxBatch() {
		return &problem{Status: 413, Code: "TOOLARGE", Detail: fmt.Sprintf("the message is larger than the topic takes: %d bytes as a batch, the limit is %d", n, t.MaxBatch())}
	}
	p := t.For(key)
	offset, err := appendAndWait(p, b.Bytes())
	if err != nil {
		return err
	}
	done := fmt.Sprintf("Published: partition %d, offset %d.", p.Number(), offset)
	if broker.Waits(headers) {
		done = "Published: it is delivered when it is due."
	}
	return c.redirect(topicPath(name), done)
}

// formMessage reads the fields of a message beside its value.
func formMessage(c *call) (key []byte, headers []batch.Header, err error) {
	if text := c.r.PostForm.Get("key"); text != "" {
		key = []byte(text)
	}
	for line := range strings.Lines(c.r.PostForm.Get("headers")) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found || strings.TrimSpace(name) == "" {
			return nil, nil, badRequest("field %q: each line is NAME: VALUE, not %q", "headers", line)
		}
		headers = append(headers, batch.Header{Key: strings.TrimSpace(name), Value: []byte(strings.TrimSpace(value))})
	}
	if text := c.field("delay"); text != "" {
		d, err := units.ParseDuration(text)
		if err != nil {
			return nil, nil, badRequest("field %q: %w, not %q", "delay", err, text)
		}
		at := c.server.broker.Now().Add(d).UnixMilli()
		headers = append(headers, batch.Header{Key: broker.HeaderDeliverAt, Value: fmt.Append(nil, at)})
	}
	return key, headers, nil
}
