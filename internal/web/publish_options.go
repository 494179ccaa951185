package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/units"
)

// The options of a message are parameters of the query, or headers of the request.
var (
	publishParams = []param{
		{name: "key", about: "the message's key, which chooses its partition", example: "customer-17"},
		{name: "partition", about: "the number of the partition, in place of the one that the key chooses", kind: "integer", example: "0"},
		{name: "time", about: "the message's time, RFC 3339 or milliseconds since 1970; now if not given", example: "2026-11-22T10:00:00Z"},
		{name: "delay", about: "the message is delivered this much later", example: "30s"},
		{name: "at", about: "the message is delivered at this time, RFC 3339 or milliseconds since 1970", example: "2026-11-22T10:00:00Z"},
		{name: "keyed", about: "with lines: each is key, TAB, value", kind: "boolean"},
		{name: "header", about: "a header of the message, NAME:VALUE", example: "unit:C", many: true},
	}
	publishHeaders = []param{
		{name: "Mbus-Key", about: "as the parameter key"},
		{name: "Mbus-Partition", about: "as the parameter partition", kind: "integer"},
		{name: "Mbus-Time", about: "as the parameter time"},
		{name: "Mbus-Delay", about: "as the parameter delay"},
		{name: "Mbus-At", about: "as the parameter at"},
		{name: headerOnce, about: "a request with the same key is stored once, and answered as the first one"},
		{name: "Mbus-Header-NAME", about: "a header of the message, whose name is NAME in lower case", many: true},
	}
)

// headerOnce names a publish, so that one that comes again is stored once.
const headerOnce = "Idempotency-Key"

// maxOnce bounds an idempotency key, in bytes: a UUID, or a hash, fits several times.
const maxOnce = 255

const headerPrefix = "Mbus-Header-"

// publishOptions reads the options of a message.
func (c *call) publishOptions() (*outgoing, error) {
	m := &outgoing{partition: -1}
	for name := range c.r.Header {
		if strings.HasPrefix(name, "Mbus-") && !isPublishHeader(name) {
			return nil, badRequest("unknown header %q", name)
		}
	}
	for name, set := range map[string]func(value string, now time.Time) error{
		"key": m.setKey, "partition": m.setPartition, "time": m.setTime, "delay": m.setDelay, "at": m.setAt,
	} {
		value, found, err := c.option(name)
		if err == nil && found {
			if err = set(value, c.server.broker.Now()); err != nil {
				err = badRequest("%q: %w", name, err)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if values, found := c.r.Header[headerOnce]; found {
		if m.once = values[0]; len(values) > 1 || m.once == "" || len(m.once) > maxOnce {
			return nil, badRequest("%q: it takes one key of 1 to %d bytes", headerOnce, maxOnce)
		}
	}
	for _, h := range c.query["header"] {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" {
			return nil, badRequest("parameter %q: it takes NAME:VALUE, not %q", "header", h)
		}
		m.headers = append(m.headers, batch.Header{Key: name, Value: []byte(value)})
	}
	m.headers = append(m.headers, headersOf(c.r.Header, headerPrefix)...)
	if err := broker.CheckDeliverAt(m.headers); err != nil {
		return nil, err
	}
	return m, nil
}

// isPublishHeader says whether a request's header is an option, or one of the message.
func isPublishHeader(name string) bool {
	return slices.ContainsFunc(publishHeaders, func(p param) bool { return p.name == name && !p.many }) ||
		strings.HasPrefix(name, headerPrefix) && name != headerPrefix
}

// option is a parameter, or the header that stands for it.
func (c *call) option(name string) (value string, found bool, err error) {
	values := slices.Concat(c.query[name], c.r.Header.Values("Mbus-"+name))
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", false, badRequest("%q is given %d times, as a parameter or as header %q", name, len(values), http.CanonicalHeaderKey("Mbus-"+name))
}

// headersOf are the headers of a message among those of a request: those with a prefix, which
// their names in the message do not have, in the order of their names.
func headersOf(all http.Header, prefix string) (found []batch.Header) {
	for name, values := range all {
		name, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		for _, v := range values {
			found = append(found, batch.Header{Key: strings.ToLower(name), Value: []byte(v)})
		}
	}
	slices.SortStableFunc(found, func(x, y batch.Header) int { return cmp.Compare(x.Key, y.Key) })
	return found
}

func (m *outgoing) setKey(value string, _ time.Time) error {
	m.key, m.hasKey = []byte(value), true
	return nil
}

func (m *outgoing) setPartition(value string, _ time.Time) error {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return fmt.Errorf("it takes the number of a partition, from 0, not %q", value)
	}
	m.partition = int(n)
	return nil
}

func (m *outgoing) setTime(value string, _ time.Time) error {
	t, err := units.ParseTime(value, time.UTC)
	if err != nil {
		return fmt.Errorf("%w, not %q", err, value)
	}
	m.time, m.hasTime = t.UnixMilli(), true
	return nil
}

func (m *outgoing) setDelay(value string, now time.Time) error {
	d, err := units.ParseDuration(value)
	if err == nil && d == 0 {
		err = errors.New("it takes a duration above 0")
	}
	if err != nil {
		return fmt.Errorf("%w, not %q", err, value)
	}
	return m.wait(now.Add(d).UnixMilli())
}

func (m *outgoing) setAt(value string, _ time.Time) error {
	t, err := units.ParseTime(value, time.UTC)
	if err != nil {
		return fmt.Errorf("%w, not %q", err, value)
	}
	if _, err := strconv.ParseInt(value, 10, 64); err == nil {
		if _, err := broker.ParseDeliverAt(value); err != nil { // which knows seconds from milliseconds
			return err
		}
	}
	return m.wait(t.UnixMilli())
}

// wait sets the delivery time, once.
func (m *outgoing) wait(ms int64) error {
	if len(m.headers) > 0 {
		return errors.New("delay and at exclude each other")
	}
	m.headers = append(m.headers, deliverAtHeader(ms))
	return nil
}
