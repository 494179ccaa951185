package web

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/group"
	"mbus/internal/message"
	"mbus/internal/tcpserver"
	"mbus/internal/units"
)

// consumeOperations give messages.
func consumeOperations() []operation {
	return []operation{{
		id: "consumeMessages", method: http.MethodGet, path: "/topics/{topic}/messages", tag: "Consume",
		summary: "Messages that a group has not consumed, to the end of the topic or, with follow, for as long as the client stays. " +
			"A client that reads the answer to its end and closes the connection has consumed them.",
		params: []param{
			{name: "group", about: "the group whose position is read and moved; default if not given", example: "billing"},
			{name: "start", about: "beginning or end: where the group begins in a topic in which it has no position yet; beginning if not given", example: "end"},
			{name: "from", about: "a position: messages are read without a group, and nothing is consumed", example: "-10"},
			{name: "n", about: "messages at most, from 1", kind: "integer", example: "1"},
			{name: "follow", about: "new messages are sent until the client leaves", kind: "boolean"},
			{name: "format", about: "lines, json or sse, in place of the header Accept; cloudevents, as a JSON array or, by Accept, as NDJSON or server-sent events, or one with n=1; " +
				"cloudevents-binary, with n=1: attributes are in headers", example: "json"},
			{name: "keyed", about: "with lines: each line is key, TAB, value", kind: "boolean"},
			{name: "id", about: "the topic must be the one with this id"},
			{name: "partition", about: "numbers of partitions with commas between: only these", example: "0,2"},
		},
		headers: []param{
			{name: "Accept", about: "the format: " + strings.Join(typeNames, ", ")},
			{name: lastEventID, about: "the id of the last event that the client has seen: it gets those behind it, a group's too, which may count as consumed"},
		},
		answers: []answer{
			{status: http.StatusOK, types: typeNames, about: "the messages"},
			{status: http.StatusNoContent, about: "no message, where one CloudEvent was asked for"},
		},
		changes: true,
		serve:   consume,
	}}
}

// A format is how messages look in an answer.
type format string

const (
	formatLines format = "lines"
	formatJSON  format = "json"
	formatSSE   format = "sse"
	formatArray format = "cloudevents"        // a JSON array of CloudEvents
	formatEvent format = "cloudevent"         // one CloudEvent as JSON
	formatBody  format = "cloudevents-binary" // one CloudEvent with its attributes in the header
)

const (
	typeLines  = "text/plain"
	typeJSONs  = "application/x-ndjson"
	typeSSE    = "text/event-stream"
	typeEvents = "application/cloudevents-batch+json"
	typeEvent  = message.TypeCloudEvent
)

// typeNames are the media types of answers with messages.
var typeNames = []string{typeLines, typeJSONs, typeSSE, typeEvents, typeEvent}

// contentTypes are the types of answers. The type of formatBody is that of the message.
var contentTypes = map[format]string{
	formatLines: typeLines + "; charset=utf-8", formatJSON: typeJSONs, formatSSE: typeSSE,
	formatArray: typeEvents, formatEvent: typeEvent,
}

// accepted are the formats for what a client accepts.
var accepted = map[string]format{
	"*/*": formatLines, "text/*": formatLines, typeLines: formatLines,
	"application/*": formatJSON, typeJSONs: formatJSON, typeJSON: formatJSON,
	typeSSE: formatSSE, typeEvents: formatArray, typeEvent: formatEvent,
}

// accept is the format that a client wants most by the header Accept. Of equal ones the type that
// is named exactly counts, and then the first.
func accept(header []string) (format, error) {
	var best format
	most, exact := 0.0, -1
	for r := range strings.SplitSeq(strings.Join(header, ","), ",") {
		name, params, err := mime.ParseMediaType(r)
		f, known := accepted[name]
		if err != nil || !known {
			continue
		}
		q := 1.0
		if text, found := params["q"]; found {
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		e := 2 - strings.Count(name, "*")
		if q > most || q == most && q > 0 && e > exact {
			best, most, exact = f, q, e
		}
	}
	switch {
	case best != "":
		return best, nil
	case strings.TrimSpace(strings.Join(header, "")) == "":
		return formatLines, nil
	}
	return "", &problem{
		Status: http.StatusNotAcceptable, Code: codeBadRequest,
		Detail: fmt.Sprintf("header Accept: messages come as %s, not as %q", strings.Join(typeNames, ", "), strings.Join(header, ", ")),
	}
}

// consume sends messages.
func consume(c *call) error {
	k, err := newConsumer(c)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		if t := contentTypes[k.sink.format]; t != "" {
			c.w.Header().Set("Content-Type", t)
		}
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	if !k.options.Follow && !c.server.finish(c.conn) {
		return errStopping
	}
	if _, _, err := http.NewResponseController(c.w).Hijack(); err != nil {
		return err
	}
	c.conn.handOver(k.run)
	return nil
}

// A consumeRequest reads what a request for messages asks for.
type consumeRequest struct {
	*call
	options *delivery.Options
	sink    *sink
}

// newConsumer is a consumer as the request asks for it. Nothing of it refers to the request, which
// is gone when messages are sent.
func newConsumer(c *call) (*consumer, error) {
	topic, err := c.name("topic")
	if err != nil {
		return nil, err
	}
	o := &delivery.Options{View: c.view, Port: broker.HTTP, Topic: topic, Client: c.r.RemoteAddr, OnEnd: c.conn.net.Interrupt}
	s := &sink{conn: c.conn, out: tcpserver.NewOutput(c.conn.net, c.conn.writeTime), node: c.server.opts.NodeID, chunked: c.r.ProtoAtLeast(1, 1), header: c.w.Header().Clone()}
	k := &consumer{server: c.server, conn: c.conn, asked: time.Now(), options: o, sink: s}
	q := consumeRequest{c, o, s}
	for _, read := range []func() error{q.readTopic, q.readAmount, q.readFormat, q.readGroup, q.readPartitions} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	if s.format == formatSSE {
		return k, q.resume(k)
	}
	return k, nil
}

// readTopic reads which incarnation of the topic it is.
func (c consumeRequest) readTopic() error {
	id, err := topicID(c.call)
	if err != nil {
		return err
	}
	view, topic := c.view, c.options.Topic
	c.options.Find = func() (*broker.Topic, error) { return view.Incarnation(topic, id, broker.Read) }
	return nil
}

// readFormat reads how messages look.
func (c consumeRequest) readFormat() (err error) {
	o, s := c.options, c.sink
	byHeader, err := accept(c.r.Header.Values("Accept"))
	switch f := format(c.query.Get("format")); {
	case !c.query.Has("format"):
		if s.format = byHeader; err != nil {
			return err
		}
	case f == formatArray && (byHeader == formatJSON || byHeader == formatSSE || byHeader == formatEvent):
		s.format = byHeader
	case f == formatLines || f == formatJSON || f == formatSSE || f == formatArray || f == formatBody:
		s.format = f
	default:
		return badRequest("parameter %q: it takes lines, json, sse, cloudevents or cloudevents-binary, not %q", "format", f)
	}
	s.events = s.isOne() || s.format == formatArray || format(c.query.Get("format")) == formatArray
	if s.isOne() && o.N != 1 {
		return badRequest("one CloudEvent goes with n=1: several come as %s", typeEvents)
	}
	if s.keyed, err = c.has("keyed"); err != nil {
		return err
	}
	if s.keyed && s.format != formatLines {
		return badRequest("keyed goes with format=lines: the other formats have keys of their own")
	}
	return c.checkUse()
}

// checkUse refuses a message with a type of its own to everything in a browser but a program of
// the broker's own pages: it would be shown as markup, or run.
func (c consumeRequest) checkUse() error {
	if use := c.r.Header.Get("Sec-Fetch-Dest"); c.sink.format == formatBody && use != "" && use != "empty" {
		return &problem{Status: http.StatusForbidden, Code: codeDenied, Detail: fmt.Sprintf("format=%s is not for browsers to show: %q", formatBody, use)}
	}
	return nil
}

// readGroup reads whose messages they are, and from where on.
func (c consumeRequest) readGroup() (err error) {
	o := c.options
	for _, name := range []string{"group", "start"} {
		if c.query.Has("from") && c.query.Has(name) {
			return badRequest("parameters %q and %q exclude each other", "from", name)
		}
	}
	if c.query.Has("from") {
		o.From, err = positionParam(c.call, "from")
		return err
	}
	if err := checkNavigation(c.r); err != nil {
		return err
	}
	if o.Group = group.Default; c.query.Has("group") {
		o.Group = c.query.Get("group")
	}
	if err := message.CheckName("group", o.Group); err != nil {
		return badRequest("%w", err)
	}
	o.StartEnd, err = startsAtEnd(c.call)
	return err
}

// startsAtEnd reads where a group begins.
func startsAtEnd(c *call) (bool, error) {
	start := c.query.Get("start")
	if c.query.Has("start") && start != "beginning" && start != "end" {
		return false, badRequest("parameter %q: it takes beginning or end, not %q", "start", start)
	}
	return start == "end", nil
}

// positionParam is a parameter that is a position. A plus sign of a time zone is a blank in a query.
func positionParam(c *call, name string) (*units.Position, error) {
	value := c.query.Get(name)
	now := c.server.broker.Now()
	p, err := units.ParsePosition(value, now, time.UTC)
	if i := strings.LastIndexByte(value, ' '); err != nil && i >= 0 {
		p, err = units.ParsePosition(value[:i]+"+"+value[i+1:], now, time.UTC)
	}
	if err != nil {
		return nil, badRequest("parameter %q: %w, not %q", name, err, value)
	}
	return p, nil
}

// readAmount reads how many messages are sent.
func (c consumeRequest) readAmount() (err error) {
	o := c.options
	if o.Follow, err = c.has("follow"); err != nil {
		return err
	}
	o.N, err = c.number("n", 1, units.End, 0)
	return err
}

// readPartitions reads the numbers of partitions.
func (c consumeRequest) readPartitions() error {
	o := c.options
	if !c.query.Has("partition") {
		return nil
	}
	for text := range strings.SplitSeq(c.query.Get("partition"), ",") {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return badRequest("parameter %q: it takes numbers from 0 with commas between, not %q", "partition", c.query.Get("partition"))
		}
		o.Partitions = append(o.Partitions, int(n))
	}
	slices.Sort(o.Partitions)
	o.Partitions = slices.Compact(o.Partitions)
	return nil
}
