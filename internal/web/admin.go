package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"mbus/internal/broker"
)

// adminOperations look at topics, groups, connections and nodes, and change them.
func adminOperations() []operation {
	return slices.Concat(topicOperations(), groupOperations(), letterOperations(), lookOperations(), connectionOperations(), nodeOperations())
}

// Parameters that several operations have.
var (
	paramExecute = param{name: "execute", about: "does it: without it the answer only says what would be done", kind: "boolean"}
	paramID      = param{name: "id", about: "the topic must be the one with this id, which GET /topics/{topic} shows"}
	paramAfter   = param{name: "after", about: "the list goes on behind this name, which the answer before had as next"}
	paramLimit   = param{name: "limit", about: "entries at most, 1 to 1000; 1000 if not given", kind: "integer", example: "100"}
)

// asJSON is an answer with a JSON body.
func asJSON(about string, body any) []answer {
	return []answer{{status: http.StatusOK, types: []string{typeJSON}, about: about, body: body}}
}

// A listPart is the part of a list that an answer has.
type listPart struct {
	after string
	limit int
}

// readPart reads which part of a list the client wants.
func readPart(c *call) (listPart, error) {
	n, err := c.number("limit", 1, broker.ListedEntries, broker.ListedEntries)
	return listPart{c.query.Get("after"), int(n)}, err
}

// topicID is parameter id; nil if it is not there.
func topicID(c *call) (*broker.TopicID, error) {
	if !c.query.Has("id") {
		return nil, nil
	}
	text := c.query.Get("id")
	id, err := broker.ParseTopicID(text)
	if err != nil {
		return nil, badRequest("parameter %q: it takes the id of a topic, as GET /topics/TOPIC shows it, not %q", "id", text)
	}
	return &id, nil
}

// incarnationOf finds a topic in the incarnation of parameter id, for an access to it.
func incarnationOf(c *call, name string, access broker.Access) (*broker.Topic, error) {
	id, err := topicID(c)
	if err != nil {
		return nil, err
	}
	t, err := c.view.Incarnation(name, id, access)
	return t, aboutTopic(err, name)
}

// incarnation is incarnationOf for the topic of the path.
func incarnation(c *call, access broker.Access) (*broker.Topic, error) {
	name, err := c.name("topic")
	if err != nil {
		return nil, err
	}
	return incarnationOf(c, name, access)
}

// A plan is a change that has been checked. The answers about changes embed it.
type plan struct {
	Executed bool   `json:"executed"`
	id       string // of the topic that it is in; "" if that is not known
	do       func() error
}

func planFor(t *broker.Topic) plan { return plan{id: broker.TopicID(t.ID).String()} }

// execute makes the change.
func (p *plan) execute() error {
	err := p.do()
	p.Executed = p.Executed || err == nil
	return err
}

// planned serves an operation whose change plan checks.
func planned[P interface{ execute() error }](plan func(*call) (P, error)) func(*call) error {
	return func(c *call) error {
		done, err := plan(c)
		if err != nil {
			return err
		}
		return carryOut(c, http.StatusOK, done)
	}
}

// carryOut makes a change if the client asks for it with execute, and answers about it. status is that of a change
// that was made.
func carryOut(c *call, status int, done interface{ execute() error }) error {
	execute, err := c.has("execute")
	if err != nil {
		return err
	}
	if !execute {
		return c.json(http.StatusOK, done)
	}
	if err := done.execute(); err != nil {
		return err
	}
	return c.json(status, done)
}

// aboutTopic adds the name of a topic to an error that does not have it.
func aboutTopic(err error, name string) error {
	var other *broker.IncarnationError
	if err == nil || errors.As(err, &other) || errors.Is(err, broker.ErrDenied) || errors.Is(err, broker.ErrUnusable) {
		return err
	}
	return fmt.Errorf("%w: %q", err, name)
}

// readJSON reads the body, one JSON value without unknown members, into v.
func readJSON(c *call, v any) error {
	if t := c.mediaType(); t != typeJSON {
		return unsupported("header Content-Type: it takes %s, not %q", typeJSON, c.r.Header.Get("Content-Type"))
	}
	p, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, broker.HTTPDocument))
	if err != nil {
		return bodyError(err)
	}
	return parseJSON(p, v)
}

// parseJSON reads one JSON value without unknown members into v.
func parseJSON(p []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var other *json.UnmarshalTypeError
	switch {
	case errors.As(err, &other) && other.Field == "":
		return badRequest("the body: it takes a JSON object, not %s", other.Value)
	case errors.As(err, &other):
		return badRequest("the body: member %q takes no %s", other.Field, other.Value)
	case err != nil:
		return badRequest("the body: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest("the body: something follows the JSON value")
	}
	return nil
}

// bodyError is the error for a body that can't be read.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return badRequest("the body: %w", err)
}

// timeOrNone is a time for JSON; "" for none.
func timeOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
