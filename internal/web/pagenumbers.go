package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"mbus/internal/broker"
)

// numbersParams say which topics and groups a view shows.
var numbersParams = []param{
	{name: "match", about: "only names that contain this"},
	{name: "after", about: "only names behind this one"},
	{name: "topic", about: "only this topic, and its partitions"},
	{name: "group", about: "only this group"},
	{name: "groups", about: "groups, in place of topics"},
	doneParam,
}

// Numbers are one event: rows that have changed since the last one.
type numbers struct {
	Time       int64              `json:"t"` // milliseconds since 1970
	Topics     map[string][]int64 `json:"topics,omitempty"`
	Groups     map[string][]int64 `json:"groups,omitempty"`     // by group, space, topic
	Partitions map[string][]int64 `json:"partitions,omitempty"` // of one topic, by number
	Status     string             `json:"status"`               // of /healthz
	Gone       []string           `json:"gone,omitempty"`       // rows of topics that are not there any more
}

// A numberStream is the numbers of one view that is open. There is nothing when none is.
type numberStream struct {
	call   *call
	sent   map[string][]int64 // by kind and name
	flush  *http.ResponseController
	isOpen bool // the first event was made
}

// streamNumbers sends numbers until the client leaves.
func streamNumbers(c *call) error {
	s := &numberStream{call: c, sent: make(map[string][]int64), flush: http.NewResponseController(c.w)}
	h := c.w.Header()
	h.Set("Content-Type", typeSSE)
	h.Set("X-Accel-Buffering", "no")
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	tick := time.NewTicker(broker.PageNumbers)
	defer tick.Stop()
	for {
		if err := s.send(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-c.r.Context().Done():
			return nil
		case <-c.server.conns.Stopped():
			return nil
		}
	}
}

// send sends one event.
func (s *numberStream) send() error {
	p, err := json.Marshal(s.gather())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.call.w, "data: %s\n\n", p); err != nil {
		return err
	}
	return s.flush.Flush()
}

// gather is what has changed.
func (s *numberStream) gather() numbers {
	c := s.call
	n := numbers{Time: time.Now().UnixMilli(), Status: status(c)}
	match, after := c.query.Get("match"), c.query.Get("after")
	switch {
	case c.query.Get("topic") != "":
		s.topic(&n, c.query.Get("topic"))
	case c.query.Get("group") != "":
		s.groups(&n, []string{c.query.Get("group")}, "", "", "")
	case c.query.Has("groups"), c.query.Has("group"):
		s.groups(&n, broker.GroupNames(c.view), "", match, after)
	default:
		rows, _ := topicRows(c.view, s.survey(), match, after)
		for i := range rows {
			s.add(&n.Topics, "topic", rows[i].Name, rows[i].numbers())
		}
	}
	s.isOpen = true
	return n
}

// survey is a new one for the first event, which is what the page has shown.
func (s *numberStream) survey() *survey { return s.call.server.surveys.get(s.call.view, !s.isOpen) }

// topic gathers what has changed of a topic, and of its groups.
func (s *numberStream) topic(n *numbers, name string) {
	v := s.call.view
	t, err := v.Topic(name, broker.Describe)
	if err != nil {
		n.Gone = append(n.Gone, name)
		return
	}
	from := s.survey()
	row := newTopicRow(v, t, from, lettersLeft(v), v.Delayed()[t.ID])
	s.add(&n.Topics, "topic", name, row.numbers())
	for i, p := range t.Partitions() {
		start, high := p.Offsets()
		s.add(&n.Partitions, "partition", fmt.Sprint(i), []int64{start, high, high - start, p.Size()})
	}
	s.groups(n, from.of(name), name, "", "")
}

// groups gathers what has changed of groups, in one topic if it is named.
func (s *numberStream) groups(n *numbers, names []string, topic, match, after string) {
	rows, _ := groupRows(s.call.view, names, topic, match, after)
	for i := range rows {
		s.add(&n.Groups, "group", rows[i].place(), rows[i].numbers())
	}
}

// add adds a row that has changed.
func (s *numberStream) add(to *map[string][]int64, kind, name string, row []int64) {
	key := kind + " " + name
	if slices.Equal(s.sent[key], row) {
		return
	}
	s.sent[key] = row
	if *to == nil {
		*to = make(map[string][]int64)
	}
	(*to)[name] = row
}

// status is that of /healthz; "" if the client may not know.
func status(c *call) string {
	if !looks(c) {
		return "" // which is asked for each second, and refuses nothing
	}
	h, err := c.health()
	if err != nil {
		return ""
	}
	return worstOf(h.Problems)
}
