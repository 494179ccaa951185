package web

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"mbus/internal/broker"
	"mbus/internal/message"
)

// A call is one request under way.
type call struct {
	server *Server
	op     *operation
	w      *writer
	r      *http.Request
	conn   *conn
	view   *broker.View // the broker as the client sees it
	query  url.Values   // known parameters, each once
}

// A writer knows whether an answer has begun.
type writer struct {
	http.ResponseWriter
	began  bool
	status int // 0 until then, and where the connection was taken over
}

func (w *writer) WriteHeader(status int) {
	w.began, w.status = true, status
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.began = true
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// name is a topic or a group of the path; kind is "topic" or "group".
func (c *call) name(kind string) (string, error) {
	name := c.r.PathValue(kind)
	if err := message.CheckName(kind, name); err != nil {
		return "", badRequest("%w", err)
	}
	return name, nil
}

// group is the group of the path, to look at it or to change it. A Kafka client may have given it a name that
// mbus's own clients can't use.
func (c *call) group() (string, error) {
	name, err := c.name("group")
	if other := c.r.PathValue("group"); err != nil && (c.view.KeepsGroup(other) || len(c.view.Members(other)) > 0) {
		return other, nil
	}
	return name, err
}

// topic finds the topic of the path, for an access to it.
func (c *call) topic(access broker.Access) (*broker.Topic, error) {
	name, err := c.name("topic")
	if err != nil {
		return nil, err
	}
	t, err := c.view.Topic(name, access)
	return t, aboutTopic(err, name)
}

// has says whether a parameter without a value, or with true, is there.
func (c *call) has(name string) (bool, error) {
	values, found := c.query[name]
	switch {
	case !found || values[0] == "false":
		return false, nil
	case values[0] == "" || values[0] == "true":
		return true, nil
	}
	return false, badRequest("parameter %q: it takes true or false, or no value, not %q", name, values[0])
}

// number is a parameter that is a whole number, least to most; fallback if it is not there.
func (c *call) number(name string, least, most, fallback int64) (int64, error) {
	values, found := c.query[name]
	if !found {
		return fallback, nil
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || n < least || n > most || values[0][0] == '+' {
		return 0, badRequest("parameter %q: it takes a number from %d to %d, not %q", name, least, most, values[0])
	}
	return n, nil
}

// mediaType is that of the request's body, in lower case, without its parameters; "" for none.
func (c *call) mediaType() string {
	t, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

const typeJSON = "application/json"

// json answers with a value.
func (c *call) json(status int, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeJSON(c.w, status, append(p, '\n'))
}

func writeJSON(w http.ResponseWriter, status int, p []byte) error {
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(p)))
	w.WriteHeader(status)
	_, err := w.Write(p)
	return err
}
