package line

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
	"mbus/internal/units"
)

// A request of administration begins with a question mark, which no topic can.
var administration = map[string]struct {
	run     func(*conn, *request) error
	options string
	needed  string
}{
	"topics": {(*conn).listTopics, "topic format", ""},
	"groups": {(*conn).listGroups, "group topic format", ""},
	"reset":  {(*conn).resetGroup, "group topic id to execute format", "group topic to"},
	"delete": {(*conn).deleteWhat, "group topic id execute format", ""},
	"create": {(*conn).createTopic, "topic partitions retention retention-unread retention-bytes execute format", "topic"},
	"grow":   {(*conn).growTopic, "topic partitions execute format", "topic partitions"},
}

// An adminRequest is what a request of administration has beside the topic and the group.
type adminRequest struct {
	run    func(*conn, *request) error
	to     *units.Position   // where the group is to be
	total  int               // partitions that the topic is to have; 0 for as many as new ones get
	config map[string]string // what a new topic has set for itself, under the broker's names
}

// parseAdmin reads what follows the question mark.
func (r *request) parseAdmin(query string) error {
	name, rest, more := strings.Cut(query, "&")
	a, ok := administration[name]
	if !ok {
		return fmt.Errorf("unknown request %q: it takes ?create, ?delete, ?groups, ?grow, ?reset or ?topics", "?"+name)
	}
	r.admin = &adminRequest{run: a.run}
	r.group = ""
	options := make(map[string]option)
	for _, o := range strings.Fields(a.options) {
		if options[o] = adminOptions[o]; options[o] == nil {
			options[o] = settingOptions[o]
		}
	}
	if more {
		if err := r.parseOptions(rest, options); err != nil {
			return err
		}
	}
	for _, o := range strings.Fields(a.needed) {
		if !r.named[o] {
			return fmt.Errorf("?%s needs option %q", name, o)
		}
	}
	if name == "delete" && r.named["topic"] == r.named["group"] {
		return errors.New(`?delete needs option "topic" or "group", and not both`)
	}
	if r.id != nil && !r.named["topic"] {
		return errors.New(`option "id" goes with "topic"`)
	}
	if r.format == formatBatch {
		return errors.New("format=batch is for messages")
	}
	return nil
}

var adminOptions = map[string]option{
	"format": setFormat, "group": setGroup, "id": setID,
	"topic": func(r *request, value string) error {
		r.topic = value
		return message.CheckName("topic", value)
	},
	"to": func(r *request, value string) (err error) {
		if r.admin.to, err = parseFrom(value, r.now); err == nil && r.admin.to == nil {
			err = fmt.Errorf("%w, not %q", units.ErrPosition, value)
		}
		return err
	},
	"partitions": func(r *request, value string) error {
		n, err := number(value, 1)
		r.admin.total = int(min(n, math.MaxInt32)) // a topic takes less
		return err
	},
	"execute": set(func(*request) {}),
}

// administer serves a request of administration.
func (c *conn) administer(r *request) error {
	c.in.Free()
	if err := r.admin.run(c, r); err != nil {
		return toErrorLine(err)
	}
	return nil
}

// did logs a change that the client asked for.
func (c *conn) did(msg string, args ...any) {
	c.server.log.Info(msg, append(args, "client", c.net.RemoteAddr())...)
}

// A table is a response: lines of fields, the first with their names; in JSON an object a
// line.
type table struct {
	names []string
	json  bool
	out   bytes.Buffer
}

func newTable(r *request, names ...string) *table {
	t := &table{names: names, json: r.format == formatJSON}
	if !t.json {
		t.out.WriteString(strings.Join(names, "\t") + "\n")
	}
	return t
}

// dash stands for a dash where a name would begin a line with it: a line that begins
// with a dash is an error.
const dash = "%2D"

// row adds a line. The fields are strings and whole numbers; those without a name are
// left out.
func (t *table) row(fields ...any) {
	sep := ""
	for i, f := range fields[:min(len(fields), len(t.names))] {
		text := fmt.Sprint(f)
		if name, ok := strings.CutPrefix(text, "-"); ok && i == 0 {
			text = dash + name
		}
		if t.json {
			value, _ := json.Marshal(f) // of a string or a number it can't fail
			text = strconv.Quote(t.names[i]) + ":" + string(value)
			if sep == "" {
				sep = "{"
			}
		}
		t.out.WriteString(sep + text)
		if sep = "\t"; t.json {
			sep = ","
		}
	}
	if t.json {
		t.out.WriteString("}")
	}
	t.out.WriteString("\n")
}

// sayTable writes a table, which may be large. The client may read slowly.
func (c *conn) sayTable(t *table) error {
	_, err := c.writeSlowly(t.out.Bytes())
	return err
}

// note adds a line for people.
func (t *table) note(format string, args ...any) {
	if !t.json {
		fmt.Fprintf(&t.out, "# "+format+"\n", args...)
	}
}

// preview notes that nothing was changed, and how to change it.
func (t *table) preview(r *request) {
	if !r.named["execute"] {
		t.note("nothing has been changed: add execute to do it")
	}
}

func (c *conn) listTopics(r *request) error {
	names := []string{"topic", "partitions", "messages", "bytes", "oldest"}
	if r.format == formatJSON { // the table is wide enough
		names = append(names, "id")
	}
	t := newTable(r, names...)
	if err := c.view.Allow(broker.Describe, broker.TopicResource, r.topic); r.topic != "" && err != nil {
		return err
	}
	found := r.topic == ""
	for _, topic := range c.view.Topics() {
		if r.topic != "" && topic.Name != r.topic {
			continue
		}
		found = true
		n := topic.Counts()
		t.row(topic.Name, len(topic.Partitions()), n.Messages, n.Bytes, dateOrDash(n.Oldest), broker.TopicID(topic.ID).String())
	}
	if !found {
		return fmt.Errorf("%w: %q", broker.ErrUnknownTopic, r.topic)
	}
	return c.sayTable(t)
}

// dateOrDash is a time as people read it, "-" for none.
func dateOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func (c *conn) listGroups(r *request) error {
	names := []string{"group", "topic", "partition", "position", "end", "lag", "unacknowledged", "waiting", "members", "attempt"}
	if r.format == formatJSON { // the table is wide enough
		names = append(names, "lost")
	}
	t := newTable(r, names...)
	if err := c.view.Allow(broker.Describe, broker.GroupResource, r.group); r.group != "" && err != nil {
		return err
	}
	all, found := c.view.Lag(r.group, r.topic)
	for _, n := range all {
		t.row(n.Group, n.Topic, n.Partition, n.Committed, n.End, n.Lag, n.Unacknowledged, n.Waiting, n.Members, n.Attempt, n.Lost)
	}
	if !found && r.group != "" {
		return fmt.Errorf("%w %q", broker.ErrUnknownGroup, r.group)
	}
	if _, err := c.view.Topic(r.topic, broker.Describe); r.topic != "" && err != nil {
		t.note("%v: %q", err, r.topic)
	}
	return c.sayTable(t)
}

func (c *conn) resetGroup(r *request) error {
	topic, err := r.find(c.view, broker.Read)
	if errors.Is(err, broker.ErrDeleted) { // in that incarnation
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %q", err, r.topic)
	}
	reset, err := delivery.PlanReset(c.view, r.group, topic, r.admin.to)
	if err != nil {
		return err
	}
	t := newTable(r, "group", "topic", "partition", "position", "new")
	for i, m := range reset.Moves {
		t.row(r.group, r.topic, i, m.From, m.To)
	}
	if r.named["execute"] {
		if err := reset.Execute(); err != nil {
			return err
		}
		c.did("positions were set", "group", r.group, "topic", r.topic, "offsets", reset.Offsets())
	} else if err := c.view.CheckUnused(r.group); err != nil { // programs ask where a position is
		t.note("%v", err)
	}
	t.preview(r)
	return c.sayTable(t)
}

func (c *conn) growTopic(r *request) error {
	topic, err := c.view.CheckGrowth(r.topic, r.admin.total)
	if err != nil {
		return err
	}
	t := newTable(r, "topic", "partitions", "new")
	t.row(topic.Name, len(topic.Partitions()), r.admin.total)
	if r.named["execute"] {
		if err := c.view.AddPartitions(r.topic, r.admin.total); err != nil {
			return err
		}
		c.did("topic has grown", "topic", r.topic, "partitions", r.admin.total)
	}
	t.preview(r)
	return c.sayTable(t)
}

func (c *conn) deleteWhat(r *request) error {
	if r.topic != "" {
		return c.deleteTopic(r)
	}
	t := newTable(r, "group", "topic", "partition", "position")
	for _, p := range c.view.Positions(r.group) {
		t.row(r.group, p.Topic, p.Partition, p.Committed)
	}
	if r.named["execute"] { // at once, because members that may be gone give way to it, not to a look
		if err := c.view.DeleteOffsets(r.group, nil); err != nil {
			return err
		}
		c.did("group deleted", "group", r.group)
	} else if err := broker.CheckGroupDeletion(c.view, r.group); err != nil {
		return err
	}
	t.preview(r)
	return c.sayTable(t)
}

func (c *conn) deleteTopic(r *request) error {
	t := newTable(r, "topic", "partitions", "messages", "bytes", "oldest")
	topic, err := r.find(c.view, broker.Delete)
	switch {
	case errors.Is(err, broker.ErrUnusable) && r.id != nil: // nobody knows which one it is
		return fmt.Errorf("%w; its id can't be read: without the id ?delete deletes what has the name", err)
	case errors.Is(err, broker.ErrUnusable): // nor what is in it
		t.row(r.topic, 0, 0, 0, "-")
	case errors.Is(err, broker.ErrDeleted): // in that incarnation
		return err
	case err != nil:
		return fmt.Errorf("%w: %q", err, r.topic)
	case c.view.CheckDeletion(r.topic) != nil:
		return c.view.CheckDeletion(r.topic)
	default:
		n := topic.Counts()
		t.row(topic.Name, len(topic.Partitions()), n.Messages, n.Bytes, dateOrDash(n.Oldest))
	}
	for _, reader := range delivery.ReadersOf(c.view, r.topic) {
		t.note("consumers of group %q read it now and get -GONE: %d or more", reader.Group, reader.Members)
	}
	if r.named["execute"] {
		if topic != nil {
			err = c.view.DeleteTopicByID(topic.ID) // the one that was shown
		} else {
			err = c.view.DeleteTopic(r.topic)
		}
		if err != nil {
			return err
		}
		c.did("topic deleted", "topic", r.topic)
	}
	t.preview(r)
	return c.sayTable(t)
}
