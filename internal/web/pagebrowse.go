package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
)

// browseParams say which messages of a topic are shown.
var browseParams = []param{
	{name: "partition", about: "number of the partition"},
	{name: "from", about: "a position: beginning, an offset, -50 for the last 50, 2h, a time"},
	{name: "find", about: "only messages that contain this"},
	{name: "in", about: "where: any, key, value, header or json"},
	{name: "name", about: "the name of the header, or the path of the JSON field, such as customer.id"},
	doneParam,
}

// A shown message is one of a view. Its texts are for people.
type shown struct {
	Partition  int
	Offset     int64
	Time       int64
	Key, Value []byte
	Headers    []shownHeader
}

type shownHeader struct{ Name, Value []byte }

// IsNull reports whether the message has no value.
func (s *shown) IsNull() bool { return s.Value == nil }

// header is the last value of a header; "" for none.
func (s *shown) header(name string) (value string) {
	for _, h := range s.Headers {
		if string(h.Name) == name {
			value = string(h.Value)
		}
	}
	return value
}

// newShown copies a record.
func newShown(partition int, r *batch.Record) shown {
	s := shown{Partition: partition, Offset: r.Offset, Time: r.Timestamp, Key: bytes.Clone(head(r.Key)), Value: bytes.Clone(head(r.Value))}
	for name, value := range r.Headers() {
		if len(s.Headers) < maxShownHeaders {
			s.Headers = append(s.Headers, shownHeader{bytes.Clone(head(name)), bytes.Clone(head(value))})
		}
	}
	return s
}

const maxShownHeaders = 50

// head is what is shown of p, and a byte that says that there is more.
func head(p []byte) []byte { return p[:min(len(p), maxShown+1)] }

// A filter says which messages a search finds.
type filter struct{ Find, In, Name string }

// searchPlaces are where a search may look.
var searchPlaces = []string{"any", "key", "value", "header", "json"}

func newFilter(query url.Values) (filter, error) {
	f := filter{query.Get("find"), cmp.Or(query.Get("in"), "any"), query.Get("name")}
	if !slices.Contains(searchPlaces, f.In) {
		return f, badRequest("parameter %q: it takes %s, not %q", "in", strings.Join(searchPlaces, ", "), f.In)
	}
	return f, nil
}

// matches reports whether a message is found.
func (f *filter) matches(r *batch.Record) bool {
	find := []byte(f.Find)
	switch f.In {
	case "key":
		return bytes.Contains(r.Key, find)
	case "value":
		return bytes.Contains(r.Value, find)
	case "json":
		text, found := jsonField(r.Value, f.Name)
		return found && strings.Contains(text, f.Find)
	}
	if f.In == "any" && (bytes.Contains(r.Key, find) || bytes.Contains(r.Value, find)) {
		return true
	}
	for name, value := range r.Headers() {
		if (f.In == "any" || f.Name == "" || string(name) == f.Name) && bytes.Contains(value, find) {
			return true
		}
	}
	return false
}

// jsonField is the text of a field of a JSON document: path has names and list indexes, with dots
// between.
func jsonField(doc []byte, path string) (text string, found bool) {
	for name := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		if json.Unmarshal(doc, &object) == nil {
			if doc, found = object[name]; !found {
				return "", false
			}
			continue
		}
		var list []json.RawMessage
		i, err := strconv.Atoi(name)
		if err != nil || json.Unmarshal(doc, &list) != nil || i < 0 || i >= len(list) {
			return "", false
		}
		doc = list[i]
	}
	if json.Unmarshal(doc, &text) == nil {
		return text, true
	}
	return string(doc), true
}

// A page of messages.
type messagesPage struct {
	Messages    []shown
	Partition   int
	From        int64 // offset of the first one that was looked at
	Next        int64 // offset from which the next page goes on
	Prev        int64 // offset from which the page before begins
	Start, High int64
	Looked      int // messages
	Problem     string
	filter
}

// Stored is how many messages the partition has.
func (p *messagesPage) Stored() int64 { return p.High - p.Start }

// HasNext reports whether there is more.
func (p *messagesPage) HasNext() bool { return p.Next < p.High }

// HasPrev reports whether there is something before.
func (p *messagesPage) HasPrev() bool { return p.From > p.Start }

// browse reads a page of a topic.
func browse(c *call, t *broker.Topic) (*messagesPage, error) {
	partitions := t.Partitions()
	n, err := c.number("partition", 0, int64(len(partitions)-1), 0)
	if err != nil {
		return nil, err
	}
	m := &messagesPage{Partition: int(n)}
	if m.filter, err = newFilter(c.query); err != nil {
		return nil, err
	}
	log := partitions[n]
	m.Start, m.High = log.Offsets()
	m.From = max(m.Start, m.High-broker.PageMessages)
	if text := strings.TrimSpace(c.query.Get("from")); text != "" {
		c.query.Set("from", text)
		from, err := positionParam(c, "from")
		if err != nil {
			return nil, err
		}
		if m.From, err = delivery.OffsetFrom(from, int(n), log); err != nil {
			return nil, err
		}
		m.From = max(m.From, m.Start)
	} else if m.Find != "" {
		m.From = m.Start
	}
	m.Prev, m.Next = max(m.Start, m.From-broker.PageMessages), m.From
	m.read(log)
	return m, nil
}

// read reads messages that the filter finds, and gives up after many that it does not.
func (m *messagesPage) read(log *broker.Partition) {
	size := 0
	err := broker.Browse(log, m.From, func(r *batch.Record) bool {
		if r.Offset >= m.High || len(m.Messages) == broker.PageMessages || m.Looked == broker.PageSearch || size > broker.PageSearchBytes {
			return false
		}
		m.Looked++
		size += len(r.Key) + len(r.Value)
		m.Next = r.Offset + 1
		if m.Find == "" || m.matches(r) {
			m.Messages = append(m.Messages, newShown(m.Partition, r))
		}
		return true
	})
	if err != nil {
		m.Problem = err.Error()
	}
}

// A partitionRow is a partition of a topic.
type partitionRow struct {
	Number                      int
	Start, High, Messages, Size int64
}

// A topicView shows one topic.
type topicView struct {
	Row        topicRow
	ID         string
	Partitions []partitionRow
	Groups     []groupRow
	Page       *messagesPage
	Config     []setting
	Fields     []settingField
	DeadOf     string // the topic that these are dead letters of; "" for others
	May        mayDo
	Now        int64
}

func showTopic(c *call) error {
	t, err := c.topic(broker.Describe)
	if err != nil {
		return err
	}
	from := newSurvey(c.view)
	d := topicView{Row: newTopicRow(c.view, t, from, lettersLeft(c.view), c.view.Delayed()[t.ID]), ID: broker.TopicID(t.ID).String(), Now: time.Now().UnixMilli()}
	d.Groups, _ = groupRows(c.view, from.of(t.Name), t.Name, "", "")
	d.May = whatMayDo(c, broker.TopicResource, t.Name)
	if d.Page = new(messagesPage); d.May.Read {
		if d.Page, err = browse(c, t); err != nil {
			return err
		}
	}
	for i, p := range t.Partitions() {
		start, high := p.Offsets()
		d.Partitions = append(d.Partitions, partitionRow{i, start, high, high - start, p.Size()})
	}
	d.Config, d.Fields = settings(t), settingFields(t)
	if of, isDead := strings.CutSuffix(t.Name, message.DeadLetters); isDead {
		d.DeadOf = of
	}
	return show(c, http.StatusOK, "topic", view{Title: "Topic " + t.Name, Nav: "topics", Live: "topic=" + t.Name, Data: d})
}

// deadParams say which letters are shown.
var deadParams = []param{{name: "from", about: "offset of the first one"}, {name: "partition", about: "number of the partition"}, doneParam}

// A letterRow is a dead letter.
type letterRow struct {
	shown
	Topic, Group, Attempts, Reason, Origin string
	Done                                   bool // it was redriven or discarded
}

// A deadView shows the dead letters of a topic.
type deadView struct {
	Dead, Of   string
	Letters    int64 // that are left
	Rows       []letterRow
	Page       *messagesPage
	Partitions int
	Now        int64
}

// Each is the numbers of the partitions.
func (d *deadView) Each() []int {
	all := make([]int, d.Partitions)
	for i := range all {
		all[i] = i
	}
	return all
}

func showDead(c *call) error {
	t, err := c.topic(broker.Read)
	if err != nil {
		return err
	}
	of, isDead := strings.CutSuffix(t.Name, message.DeadLetters)
	if !isDead {
		return errors.Join(broker.ErrUnknownTopic, badRequest("topic %q has no dead letters: those of a topic are in the one with %q behind its name", t.Name, message.DeadLetters))
	}
	d := deadView{Dead: t.Name, Of: of, Letters: lettersOf(c.view, t), Partitions: len(t.Partitions()), Now: time.Now().UnixMilli()}
	if !c.query.Has("from") { // the first that is left
		c.query.Set("from", "beginning")
		if n, err := c.number("partition", 0, int64(d.Partitions-1), 0); err == nil {
			if at, found := c.view.CommittedOffset(broker.RedriveGroup, t.Name, int(n)); found {
				_, high := t.Partitions()[n].Offsets()
				c.query.Set("from", strconv.FormatInt(max(0, min(at.Offset, high)), 10))
			}
		}
	}
	if d.Page, err = browse(c, t); err != nil {
		return err
	}
	for _, m := range d.Page.Messages {
		l := newLetter(m)
		l.Done = broker.IsConsumed(c.view, broker.RedriveGroup, t.Name, m.Partition, m.Offset)
		d.Rows = append(d.Rows, l)
	}
	return show(c, http.StatusOK, "dead", view{Title: "Dead letters of " + of, Nav: "dead", Live: "topic=" + t.Name, Data: &d})
}

func newLetter(m shown) letterRow {
	l := letterRow{shown: m, Topic: m.header(broker.HeaderTopic), Group: m.header(broker.HeaderGroup), Attempts: m.header(broker.HeaderAttempts), Reason: m.header(broker.HeaderReason)}
	if o := m.header(broker.HeaderOffset); o != "" {
		l.Origin = m.header(broker.HeaderPartition) + ":" + o
	}
	l.Headers = slices.DeleteFunc(l.Headers, func(h shownHeader) bool {
		return slices.Contains([]string{broker.HeaderTopic, broker.HeaderGroup, broker.HeaderAttempts, broker.HeaderReason, broker.HeaderOffset, broker.HeaderPartition}, string(h.Name))
	})
	return l
}
