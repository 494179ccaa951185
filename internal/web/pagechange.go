package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
	"mbus/internal/units"
)

// A change is what a form asks for. It is shown first, and done when its name has been typed.
type change struct {
	Title   string
	Action  string // the path that the form is sent to
	Back    string
	Name    string // to be typed
	Kind    string // "topic" or "group"
	Verb    string // of the button
	Warn    string
	Columns []string
	Rows    [][]string
	Fields  url.Values // sent again
	Command string     // that does the same
}

// confirm does a change whose name has been typed, and shows another one.
func confirm(c *call, ch change, do func() (done string, err error)) error {
	switch typed := field(c, "confirm"); typed {
	case ch.Name:
		done, err := do()
		if err != nil {
			return err
		}
		c.server.log.Info("changed on the page", "client", c.r.RemoteAddr, "what", ch.Title, ch.Kind, ch.Name)
		return redirect(c, ch.Back, done)
	case "":
	default:
		ch.Warn = fmt.Sprintf("%q is not the name of the %s. Nothing has been changed.", typed, ch.Kind)
	}
	ch.Action, ch.Fields = c.r.URL.EscapedPath(), make(url.Values)
	for name, values := range c.r.PostForm {
		if name != "confirm" {
			ch.Fields[name] = values
		}
	}
	return show(c, http.StatusOK, "confirm", view{Title: ch.Title, Nav: ch.Kind + "s", Live: "group=-", Data: ch})
}

func topicPath(name string) string { return "/ui/topics/" + url.PathEscape(name) }
func groupPath(name string) string { return "/ui/groups/" + url.PathEscape(name) }
func deadPath(name string) string  { return "/ui/dead/" + url.PathEscape(name) }

// formTopic reads the form, and finds the topic of the path.
func formTopic(c *call, access broker.Access) (*broker.Topic, error) {
	if err := readForm(c); err != nil {
		return nil, err
	}
	return c.topic(access)
}

// fieldNumber is a field that is a whole number.
func fieldNumber(c *call, name string, least, most, fallback int64) (int64, error) {
	text := field(c, name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badRequest("field %q: it takes a number from %d to %d, not %q", name, least, most, text)
	}
	return n, nil
}

// postCreate makes a topic, which harms nothing: the name has been typed already.
func postCreate(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	name := field(c, "topic")
	if err := message.CheckName("topic", name); err != nil {
		return badRequest("%w", err)
	}
	n, err := fieldNumber(c, "partitions", 1, broker.MaxPartitions, 0)
	if err != nil {
		return err
	}
	if _, err := c.view.CreateTopic(name, int(n), nil); err != nil {
		return fmt.Errorf("topic %q: %w", name, err)
	}
	c.server.log.Info("topic created", "client", c.r.RemoteAddr, "topic", name)
	return redirect(c, topicPath(name), fmt.Sprintf("Topic %q was created.", name))
}

// A settingField is a field of the form for a topic's configuration.
type settingField struct{ Field, Label, Setting, Value string }

// settingFields are those of the form, with what the topic has set for itself.
func settingFields(t *broker.Topic) []settingField {
	all := []settingField{
		{Field: "retention", Label: "Retention (age)", Setting: broker.ConfigRetention},
		{Field: "retention-unread", Label: "Retention of unconsumed messages", Setting: broker.ConfigRetentionUnread},
		{Field: "retention-bytes", Label: "Retention (size of a partition)", Setting: broker.ConfigRetentionBytes},
	}
	own := t.Config()
	for i := range all {
		f := &all[i]
		n, err := strconv.ParseInt(own[f.Setting], 10, 64)
		switch {
		case err != nil:
		case n < 0:
			f.Value = "never"
		case f.Setting == broker.ConfigRetentionBytes:
			f.Value = units.FormatSize(n)
		default:
			f.Value = retentionText(n)
		}
	}
	return all
}

func postConfigure(c *call) error {
	t, err := formTopic(c, broker.Alter)
	if err != nil {
		return err
	}
	ch := change{Title: "Change the configuration of topic " + t.Name, Back: topicPath(t.Name), Name: t.Name, Kind: "topic", Verb: "Change the configuration", Columns: []string{"Setting", "Now", "New"}}
	wanted := make(map[string]string)
	now := t.Config()
	for _, f := range settingFields(t) {
		value, err := settingValue(f.Setting, field(c, f.Field))
		if err != nil {
			return badRequest("field %q: %w, not %q", f.Field, err, field(c, f.Field))
		}
		if wanted[f.Setting] = value; value != now[f.Setting] {
			ch.Rows = append(ch.Rows, []string{f.Setting, orDefault(now[f.Setting]), orDefault(value)})
		}
	}
	if len(ch.Rows) == 0 {
		return redirect(c, ch.Back, "The configuration is like that already.")
	}
	apply := func(own map[string]string) error {
		for name, value := range wanted {
			if own[name] = value; value == "" {
				delete(own, name)
			}
		}
		return nil
	}
	trial := make(map[string]string)
	for name, value := range now {
		trial[name] = value
	}
	if err := apply(trial); err != nil {
		return err
	}
	if err := c.server.broker.CheckConfig(trial); err != nil {
		return err
	}
	return confirm(c, ch, func() (string, error) {
		return "The configuration was changed.", c.view.Configure(t.Name, apply)
	})
}

func orDefault(value string) string {
	if value == "" {
		return "as the broker's flags say"
	}
	return value
}

// settingValue reads an age or a size; "" for the default, "never" for no limit.
func settingValue(name, text string) (string, error) {
	switch {
	case text == "":
		return "", nil
	case text == "never", text == "-1":
		return "-1", nil
	case name == broker.ConfigRetentionBytes:
		n, err := units.ParseSize(text)
		return strconv.FormatInt(n, 10), err
	}
	d, err := units.ParseDuration(text)
	return strconv.FormatInt(d.Milliseconds(), 10), err
}

func postGrow(c *call) error {
	t, err := formTopic(c, broker.Alter)
	if err != nil {
		return err
	}
	n, err := fieldNumber(c, "partitions", 1, broker.MaxPartitions, 0)
	if err != nil {
		return err
	}
	if _, err := c.view.CheckGrowth(t.Name, int(n)); err != nil {
		return err
	}
	return confirm(c, change{
		Title: "Add partitions to topic " + t.Name, Back: topicPath(t.Name), Name: t.Name, Kind: "topic", Verb: "Add partitions",
		Warn:    "Messages with a key go to another partition than before, so that their order is kept only among the new ones. Partitions can't be removed.",
		Columns: []string{"Topic", "Partitions now", "New"}, Rows: [][]string{{t.Name, strconv.Itoa(len(t.Partitions())), strconv.FormatInt(n, 10)}},
		Command: fmt.Sprintf("admin grow %s -topic %s -partitions %d -execute", newPorts(c).Flags(), t.Name, n),
	}, func() (string, error) {
		return fmt.Sprintf("The topic has %d partitions.", n), c.view.AddPartitions(t.Name, int(n))
	})
}

func postDeleteTopic(c *call) error {
	t, err := formTopic(c, broker.Delete)
	if err != nil {
		return err
	}
	if err := c.view.CheckDeletion(t.Name); err != nil {
		return err
	}
	n := t.Counts()
	return confirm(c, change{
		Title: "Delete topic " + t.Name, Back: "/", Name: t.Name, Kind: "topic", Verb: "Delete the topic",
		Warn:    "Its messages, and the groups' positions in it, are removed for good. Consumers that read it get an error.",
		Columns: []string{"Topic", "Partitions", "Messages", "Size"}, Rows: [][]string{{t.Name, strconv.Itoa(len(t.Partitions())), grouped(n.Messages), bytesText(n.Bytes)}},
		Command: fmt.Sprintf("admin delete %s -topic %s -execute", newPorts(c).Flags(), t.Name),
	}, func() (string, error) {
		return fmt.Sprintf("Topic %q was deleted.", t.Name), c.view.DeleteTopicByID(t.ID) // the one that was shown
	})
}

func postReset(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	name, err := c.group()
	if err != nil {
		return err
	}
	topicName := field(c, "topic")
	t, err := c.view.Topic(topicName, broker.Read)
	if err != nil {
		return fmt.Errorf("%w: %q", err, topicName)
	}
	to, err := units.ParsePosition(field(c, "to"), c.server.broker.Now(), time.UTC)
	if err != nil {
		return badRequest("field %q: %w, not %q", "to", err, field(c, "to"))
	}
	ch := change{
		Title: fmt.Sprintf("Reset group %s in topic %s", name, t.Name), Back: groupPath(name), Name: t.Name, Kind: "topic", Verb: "Reset the group",
		Columns: []string{"Partition", "Position now", "New", "Difference"},
		Command: groupCommand(c, "reset", name, "-topic "+t.Name+" -to "+shellQuoted(field(c, "to"))),
	}
	offsets, err := resetRows(c, &ch, name, t, to)
	if err != nil {
		return err
	}
	if err := c.view.CheckUnused(name); err != nil {
		if field(c, "confirm") != "" {
			return err
		}
		ch.Warn = err.Error() + ": stop its members first."
	}
	return confirm(c, ch, func() (string, error) {
		return fmt.Sprintf("The positions in topic %q were set.", t.Name), c.view.ResetOffsets(name, t, offsets)
	})
}

// resetRows fills in where the group is and will be.
func resetRows(c *call, ch *change, name string, t *broker.Topic, to *units.Position) (offsets []int64, err error) {
	if err := delivery.CheckFrom(to, len(t.Partitions())); err != nil {
		return nil, err
	}
	now := make(map[int]int64)
	for _, n := range c.view.Positions(name) {
		if n.Topic == t.Name {
			now[n.Partition] = n.Committed
		}
	}
	for i, log := range t.Partitions() {
		offset, err := delivery.OffsetFrom(to, i, log)
		if err != nil {
			return nil, err
		}
		offsets = append(offsets, offset)
		row := []string{strconv.Itoa(i), "none", grouped(offset), "–"}
		if at, found := now[i]; found {
			row[1], row[3] = grouped(at), fmt.Sprintf("%+d", offset-at)
		}
		ch.Rows = append(ch.Rows, row)
	}
	return offsets, nil
}

// groupCommand is what admin takes to change a group; "" if it does not take the group's name.
func groupCommand(c *call, verb, name, options string) string {
	if message.CheckName("group", name) != nil {
		return ""
	}
	return strings.Join(strings.Fields(fmt.Sprintf("admin %s %s -group %s %s -execute", verb, newPorts(c).Flags(), name, options)), " ")
}

func postDeleteGroup(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	name, err := c.group()
	if err != nil {
		return err
	}
	if err := c.view.CheckUnused(name); err != nil {
		return fmt.Errorf("%w: stop its members first", err)
	}
	if !c.view.KeepsGroup(name) {
		return fmt.Errorf("%w %q", broker.ErrUnknownGroup, name)
	}
	ch := change{
		Title: "Delete group " + name, Back: "/ui/groups", Name: name, Kind: "group", Verb: "Delete the group",
		Warn:    "Its positions are removed. A consumer of this name begins anew, as one of a new group.",
		Columns: []string{"Topic", "Partition", "Position"}, Command: groupCommand(c, "delete", name, ""),
	}
	for i, p := range c.view.Positions(name) {
		if i == broker.PageRows {
			ch.Rows = append(ch.Rows, []string{"and all others", "", ""})
			break
		}
		ch.Rows = append(ch.Rows, []string{p.Topic, strconv.Itoa(p.Partition), grouped(p.Committed)})
	}
	return confirm(c, ch, func() (string, error) {
		return fmt.Sprintf("Group %q was deleted.", name), c.view.DeleteOffsets(name, nil)
	})
}

// A lettersForm is what a form about dead letters asks for.
type lettersForm struct {
	topic   *broker.Topic
	options delivery.Options
	chosen  []broker.Place // nil for the oldest ones
}

func newLettersForm(c *call) (*lettersForm, error) {
	t, err := formTopic(c, broker.Read)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(t.Name, message.DeadLetters) {
		return nil, badRequest("topic %q has no dead letters", t.Name)
	}
	f := &lettersForm{topic: t}
	n, err := fieldNumber(c, "n", 1, units.End, 0)
	if err != nil {
		return nil, err
	}
	for _, text := range c.r.PostForm["letter"] {
		partition, offset, _ := strings.Cut(text, ":")
		number, err := strconv.ParseUint(partition, 10, 31)
		at, err2 := strconv.ParseInt(offset, 10, 64)
		if err != nil || err2 != nil {
			return nil, badRequest("field %q: it takes PARTITION:OFFSET, not %q", "letter", text)
		}
		f.chosen = append(f.chosen, broker.Place{Partition: int(number), Offset: at})
	}
	f.options = delivery.Options{View: c.view, Port: broker.HTTP, Topic: t.Name, Group: broker.RedriveGroup, Client: c.r.RemoteAddr, N: n}
	f.options.Find = func() (*broker.Topic, error) { return t, nil }
	return f, nil
}

// howMany says which letters.
func (f *lettersForm) howMany(c *call) string {
	n, all := f.options.N, letters(f.topic, totals(c.view)[f.topic.Name])
	switch {
	case len(f.chosen) == 1:
		return fmt.Sprintf("the letter at %d:%d", f.chosen[0].Partition, f.chosen[0].Offset)
	case len(f.chosen) > 0:
		return fmt.Sprintf("%d selected letters", len(f.chosen))
	case n == 0 || n >= all:
		return fmt.Sprintf("all that are left: %s", grouped(all))
	}
	return fmt.Sprintf("the oldest: %s", grouped(n))
}

func postRedrive(c *call) error {
	f, err := newLettersForm(c)
	if err != nil {
		return err
	}
	toAll := field(c, "to") == "all"
	ch := change{
		Title: "Redrive dead letters of " + f.topic.Name, Back: deadPath(f.topic.Name), Name: f.topic.Name, Kind: "topic", Verb: "Redrive",
		Columns: []string{"Letters", "To"}, Rows: [][]string{{f.howMany(c), "the group that failed each of them"}},
	}
	if toAll {
		ch.Rows[0][1] = "the topic, for all groups"
	}
	if f.chosen == nil {
		ch.Command = fmt.Sprintf("consumer %s -topic %s -redrive%s", newPorts(c).Flags(), f.topic.Name, map[bool]string{true: " -to all"}[toAll])
	}
	return confirm(c, ch, func() (string, error) {
		return f.run(c, "Redriven", func(progress func(uint64) error) (delivery.Redriven, error) {
			if f.chosen != nil {
				return c.server.hub.RedriveSome(f.options, toAll, f.chosen)
			}
			return c.server.hub.Redrive(f.options, toAll, progress)
		})
	})
}

// run moves letters, which a stop of the broker lets go on for a while.
func (f *lettersForm) run(c *call, verb string, move func(progress func(uint64) error) (delivery.Redriven, error)) (string, error) {
	if !c.server.finish(c.conn) {
		return "", errStopping
	}
	defer c.conn.finishes.Store(false)
	done, err := move(func(uint64) error { return nil })
	if err == nil {
		err = done.Err()
	}
	text := fmt.Sprintf("%s: %s.", verb, grouped(int64(done.Moved)))
	for _, s := range done.Stays.Reasons {
		text += fmt.Sprintf(" Stay: %s, because %s.", grouped(s.Letters), s.Reason)
	}
	return text, err
}

func postDiscard(c *call) error {
	f, err := newLettersForm(c)
	if err != nil {
		return err
	}
	return confirm(c, change{
		Title: "Discard dead letters of " + f.topic.Name, Back: deadPath(f.topic.Name), Name: f.topic.Name, Kind: "topic", Verb: "Discard",
		Warn:    "Discarded letters count as consumed: a redrive does not find them any more. They can be read until retention removes them.",
		Columns: []string{"Letters"}, Rows: [][]string{{f.howMany(c)}},
	}, func() (string, error) {
		return f.run(c, "Discarded", func(func(uint64) error) (delivery.Redriven, error) {
			if f.chosen != nil {
				return c.server.hub.DiscardSome(f.options, f.chosen)
			}
			n, err := c.server.hub.Discard(f.options)
			return delivery.Redriven{Moved: uint64(n)}, err
		})
	})
}
