package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/group"
	"mbus/internal/message"
	"mbus/internal/units"
)

// leaseOperations have workers lease messages, and settle them.
func leaseOperations() []operation {
	const at = "/topics/{topic}/groups/{group}/"
	settle := func(id, path, summary string, body any, serve func(*call) error) operation {
		return operation{
			id: id, method: http.MethodPost, path: at + path, tag: "Work", summary: summary,
			bodies: []string{typeJSON}, body: body, changes: true, serve: serve,
			answers: []answer{
				{status: http.StatusOK, types: []string{typeJSON}, about: "how many were applied, which is durable", body: settledTokens{}},
				{status: http.StatusConflict, types: []string{"application/problem+json"}, about: "tokens whose leases have expired, as expired; the others were applied"},
			},
		}
	}
	return []operation{
		{
			id: "lease", method: http.MethodPost, path: at + "lease", tag: "Work",
			summary: "Lease messages of a group, each with a token. A message whose lease expires has failed, and comes again.",
			params: []param{
				{name: "max", about: "messages at most, 1 to 1000; 1 if not given", kind: "integer", example: "10"},
				{name: "wait", about: "for how long the request waits for a message, up to 5m; not at all if not given", example: "20s"},
				{name: "for", about: "for how long the messages are leased, up to 12h; 30s if not given", example: "30s"},
				{name: "ordered", about: "messages with the same key are leased one at a time", kind: "boolean"},
				{name: "retry", about: "until a message that has failed comes again; doubles each time up to 5m; 1s if not given", example: "1s"},
				{name: "attempts", about: "with so many a message goes to the dead letters; 0 for never; 5 if not given", kind: "integer", example: "5"},
				{name: "start", about: "beginning or end: where the group begins in a topic in which it has no position yet; beginning if not given"},
			},
			headers: []param{{name: "Accept", about: typeJSONs + " for one message in a line, in place of an object with the list"}},
			answers: []answer{
				{status: http.StatusOK, types: []string{typeJSON}, about: "the messages, none if none came", body: leasedMessages{}},
				{status: http.StatusOK, types: []string{typeJSONs}, about: "the messages", body: leasedMessage{}},
			},
			changes: true, serve: (*call).lease,
		},
		settle("ackTokens", "ack", "Acknowledge leased messages: they never come again.", tokensBody{}, (*call).ack),
		settle("failTokens", "fail", "Say that leased messages have failed: each comes again, or goes to the dead letters.", failBody{}, (*call).failMessages),
		settle("extendTokens", "extend", "Have leases last that long from now on.", extendBody{}, (*call).extend),
	}
}

// leasedMessages is the answer of lease; the messages have the fields of NDJSON, too.
type leasedMessages struct {
	Messages []leasedMessage `json:"messages"`
}

type leasedMessage struct {
	Token   string `json:"token"`
	Expires int64  `json:"expires"` // milliseconds since 1970
	Attempt int    `json:"attempt"`
	messageDocument
}

type settledTokens struct {
	Applied int   `json:"applied"`
	Expires int64 `json:"expires,omitempty"` // of extend: milliseconds since 1970
}

type tokensBody struct {
	Tokens []string `json:"tokens"`
}

type failBody struct {
	Tokens []string `json:"tokens"`
	Retry  string   `json:"retry,omitempty"` // a duration until the messages come again
	Dead   bool     `json:"dead,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

type extendBody struct {
	Tokens []string `json:"tokens"`
	For    string   `json:"for,omitempty"` // a duration
}

// lease answers with messages.
func (c *call) lease() error {
	o, err := c.leaseOptions()
	if err != nil {
		return err
	}
	want := delivery.Leasing{Gone: c.r.Context().Done()}
	if want.Max, err = c.number("max", 1, broker.LeaseMessages, 1); err != nil {
		return err
	}
	if want.For, err = c.duration("for", broker.DefaultLease, broker.MaxLease); err != nil {
		return err
	}
	if want.Wait, err = c.duration("wait", 0, broker.MaxLeaseWait); err != nil {
		return err
	}
	if c.r.Body != http.NoBody {
		return badRequest("the request takes no body: its parameters are in the query")
	}
	asLines := c.wantsLines()
	want.Append = c.appendLeased(asLines)
	l, err := c.server.hub.Lease(o, want)
	if err != nil {
		return err
	}
	defer l.Delivered()
	if err := c.writeLease(l, asLines); err != nil {
		l.Lost()
		return err
	}
	return nil
}

// wantsLines says whether messages are sent as NDJSON.
func (c *call) wantsLines() bool {
	return strings.Contains(strings.Join(c.r.Header.Values("Accept"), ","), typeJSONs)
}

// appendLeased encodes messages as JSON, in lines or with commas between.
func (c *call) appendLeased(asLines bool) func([]byte, *delivery.Delivery, *batch.Record) []byte {
	node := c.server.opts.NodeID
	return func(dst []byte, d *delivery.Delivery, r *batch.Record) []byte {
		from := message.Origin{Broker: node, Topic: d.Topic, Partition: d.Partition, Attempt: d.Attempt}
		dst = append(append(dst, `{"token":"`...), d.Token...)
		dst = strconv.AppendInt(append(dst, `","expires":`...), d.Expires.UnixMilli(), 10)
		begin := len(dst)
		dst = message.AppendJSON(dst, from, r)
		dst[begin] = ',' // which was the brace
		if asLines {
			return append(dst, '\n')
		}
		return append(dst, ',', '\n')
	}
}

// writeLease writes the answer. The error is that of a client that is gone.
func (c *call) writeLease(l *delivery.Lease, asLines bool) error {
	begin, body, end := "", l.Body, ""
	c.w.Header().Set("Content-Type", typeJSONs)
	if !asLines {
		begin, body, end = `{"messages":[`, bytes.TrimSuffix(body, []byte(",\n")), "]}\n"
		c.w.Header().Set("Content-Type", typeJSON)
	}
	c.w.Header().Set("Content-Length", strconv.Itoa(len(begin)+len(body)+len(end)))
	for _, p := range [][]byte{[]byte(begin), body, []byte(end)} {
		if _, err := c.w.Write(p); err != nil {
			return err
		}
	}
	return http.NewResponseController(c.w).Flush()
}

// leaseScope says which messages a request is about.
func (c *call) leaseScope() (o delivery.Options, err error) {
	o.View, o.Port, o.Client = c.view, broker.HTTP, c.r.RemoteAddr
	if o.Topic, err = c.name("topic"); err != nil {
		return o, err
	}
	if o.Group, err = c.name("group"); err != nil {
		return o, err
	}
	o.Find = func() (*broker.Topic, error) { return o.View.Topic(o.Topic, broker.Read) }
	return o, nil
}

// leaseOptions says how messages are leased.
func (c *call) leaseOptions() (o delivery.Options, err error) {
	if o, err = c.leaseScope(); err != nil {
		return o, err
	}
	if o.Ordered, err = c.has("ordered"); err != nil {
		return o, err
	}
	if o.StartEnd, err = startsAtEnd(c); err != nil {
		return o, err
	}
	attempts, err := c.number("attempts", 0, 1<<31-1, broker.RetryAttempts)
	if err != nil {
		return o, err
	}
	o.Retry = group.Retry{Bound: broker.RetryBound, Attempts: int(attempts)}
	if o.Retry.Backoff, err = c.duration("retry", broker.RetryBackoff, broker.MaxRetry); err != nil {
		return o, err
	}
	o.Retry.Bound = max(o.Retry.Bound, o.Retry.Backoff)
	return o, nil
}

// duration is a parameter that is a duration, up to most; fallback if it is not there. Where that is
// above 0, the parameter is.
func (c *call) duration(name string, fallback, most time.Duration) (time.Duration, error) {
	values, found := c.query[name]
	if !found {
		return fallback, nil
	}
	d, err := parseDuration(values[0], fallback > 0, most)
	if err != nil {
		return 0, badRequest("parameter %q: %w", name, err)
	}
	return d, nil
}

func parseDuration(value string, above0 bool, most time.Duration) (time.Duration, error) {
	d, err := units.ParseDuration(value)
	switch {
	case err == nil && d > most:
		err = fmt.Errorf("it takes a duration up to %s", units.FormatDuration(most))
	case err == nil && d == 0 && above0:
		err = errors.New("it takes a duration above 0")
	}
	if err != nil {
		return 0, fmt.Errorf("%w, not %q", err, value)
	}
	return d, nil
}

// readTokens reads the body, which names leases, and returns the scope.
func (c *call) readTokens(into any, tokens *[]string) (o delivery.Options, err error) {
	if o, err = c.leaseScope(); err != nil {
		return o, err
	}
	b := c.newBody(broker.LeaseBody)
	defer b.free()
	p, err := b.readAll()
	if isTooLarge(err) {
		err = &problem{Status: http.StatusRequestEntityTooLarge, Code: "TOOLARGE", Detail: fmt.Sprintf("the body is larger than %d bytes: settle fewer tokens at once", broker.LeaseBody)}
	}
	if err != nil {
		return o, err
	}
	if err := parseJSON(p, into); err != nil {
		return o, err
	}
	if *tokens == nil {
		return o, badRequest(`the body has no tokens: it takes {"tokens":["..."]}`)
	}
	slices.Sort(*tokens)
	*tokens = slices.Compact(*tokens)
	return o, nil
}

func isTooLarge(err error) bool {
	var p *problem
	return errors.As(err, &p) && p.Status == http.StatusRequestEntityTooLarge
}

// ack acknowledges messages.
func (c *call) ack() error {
	var b tokensBody
	o, err := c.readTokens(&b, &b.Tokens)
	if err != nil {
		return err
	}
	ended, err := c.server.hub.AckTokens(o, b.Tokens)
	return c.settled(b.Tokens, ended, time.Time{}, err)
}

// failMessages says that messages have failed.
func (c *call) failMessages() error {
	var b failBody
	o, err := c.readTokens(&b, &b.Tokens)
	if err != nil {
		return err
	}
	f := delivery.Failure{HasRetry: b.Retry != "", Dead: b.Dead, Reason: b.Reason}
	if len(b.Reason) > broker.RequestLine {
		return badRequest("the reason is longer than %d bytes", broker.RequestLine)
	}
	if f.HasRetry {
		if f.Retry, err = parseDuration(b.Retry, false, broker.MaxRetry); err != nil {
			return badRequest("retry: %w", err)
		}
	}
	ended, err := c.server.hub.FailTokens(o, b.Tokens, f)
	if errors.Is(err, delivery.ErrNoDeadLetters) {
		return badRequest("%w", err)
	}
	return c.settled(b.Tokens, ended, time.Time{}, err)
}

// extend has leases last longer.
func (c *call) extend() error {
	var b extendBody
	o, err := c.readTokens(&b, &b.Tokens)
	if err != nil {
		return err
	}
	by := broker.DefaultLease
	if b.For != "" {
		if by, err = parseDuration(b.For, true, broker.MaxLease); err != nil {
			return badRequest("for: %w", err)
		}
	}
	until, ended, err := c.server.hub.ExtendTokens(o, b.Tokens, by)
	return c.settled(b.Tokens, ended, until, err)
}

// settled answers which tokens were applied.
func (c *call) settled(tokens, ended []string, until time.Time, err error) error {
	if err != nil {
		return err
	}
	s := settledTokens{Applied: len(tokens) - len(ended)}
	if !until.IsZero() {
		s.Expires = until.UnixMilli()
	}
	if len(ended) == 0 {
		return c.json(http.StatusOK, s)
	}
	return &problem{
		Status: http.StatusConflict, Code: codeExpired,
		Detail: fmt.Sprintf("leases that have expired, or ended otherwise: %d of %d; the others are applied", len(ended), len(tokens)),
		Extra:  map[string]any{"expired": ended, "applied": s.Applied},
	}
}

const codeExpired = "EXPIRED"
