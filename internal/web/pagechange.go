package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"mbus/internal/broker"
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

// nav is the part of the navigation that the change belongs to.
func (ch *change) nav() string {
	for _, part := range []string{"groups", "dead"} {
		if strings.HasPrefix(ch.Back, "/ui/"+part) {
			return part
		}
	}
	return "topics"
}

// confirm makes a change whose name has been typed, in the topic that was shown, and shows another one. done says
// what was done.
func confirm(c *call, ch change, p *plan, done func() string) error {
	switch typed := field(c, "confirm"); typed {
	case ch.Name:
		if err := p.execute(); err != nil {
			return err
		}
		return redirect(c, ch.Back, done())
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
	if p.id != "" {
		ch.Fields.Set("id", p.id)
	}
	return show(c, http.StatusOK, "confirm", view{Title: ch.Title, Nav: ch.nav(), Live: "group=-", Data: ch})
}

func topicPath(name string) string { return "/ui/topics/" + url.PathEscape(name) }
func groupPath(name string) string { return "/ui/groups/" + url.PathEscape(name) }
func deadPath(name string) string  { return "/ui/dead/" + url.PathEscape(name) }

// postCreate makes a topic, which harms nothing: the name has been typed already.
func postCreate(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	n, err := c.number("partitions", 1, broker.MaxPartitions, 0)
	if err != nil {
		return err
	}
	done, err := planTopic(c, newTopic{Topic: c.query.Get("topic"), Partitions: int(n)})
	if err != nil {
		return err
	}
	if err := done.execute(); err != nil {
		return err
	}
	return redirect(c, topicPath(done.Topic), fmt.Sprintf("Topic %q was created.", done.Topic))
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

// formTopic reads the form, and finds the topic of the path.
func formTopic(c *call, access broker.Access) (*broker.Topic, error) {
	if err := readForm(c); err != nil {
		return nil, err
	}
	return incarnation(c, access)
}

func postConfigure(c *call) error {
	t, err := formTopic(c, broker.Alter)
	if err != nil {
		return err
	}
	ch := change{Title: "Change the configuration of topic " + t.Name, Back: topicPath(t.Name), Name: t.Name, Kind: "topic", Verb: "Change the configuration", Columns: []string{"Setting", "Now", "New"}}
	want := alteration{Config: make(map[string]*string)}
	now := t.Config()
	for _, f := range settingFields(t) {
		value, err := settingValue(f.Setting, c.query.Get(f.Field))
		if err != nil {
			return badRequest("parameter %q: %w, not %q", f.Field, err, c.query.Get(f.Field))
		}
		if value == now[f.Setting] {
			continue
		}
		if want.Config[f.Setting] = &value; value == "" {
			want.Config[f.Setting] = nil
		}
		ch.Rows = append(ch.Rows, []string{f.Setting, orDefault(now[f.Setting]), orDefault(value)})
	}
	if len(ch.Rows) == 0 {
		return redirect(c, ch.Back, "The configuration is like that already.")
	}
	done, err := planAlteration(c, t, &want)
	if err != nil {
		return err
	}
	return confirm(c, ch, &done.plan, func() string { return "The configuration was changed." })
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
	n, err := c.number("partitions", 1, broker.MaxPartitions, 0)
	if err != nil {
		return err
	}
	before := len(t.Partitions())
	done, err := planAlteration(c, t, &alteration{Partitions: int(n)})
	if err != nil {
		return err
	}
	return confirm(c, change{
		Title: "Add partitions to topic " + t.Name, Back: topicPath(t.Name), Name: t.Name, Kind: "topic", Verb: "Add partitions",
		Warn:    "Messages with a key go to another partition than before, so that their order is kept only among the new ones. Partitions can't be removed.",
		Columns: []string{"Topic", "Partitions now", "New"}, Rows: [][]string{{t.Name, strconv.Itoa(before), strconv.FormatInt(n, 10)}},
		Command: fmt.Sprintf("admin grow %s -topic %s -partitions %d -execute", newPorts(c).Flags(), t.Name, n),
	}, &done.plan, func() string { return fmt.Sprintf("The topic has %d partitions.", n) })
}

func postDeleteTopic(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	done, err := planDeletion(c)
	if err != nil {
		return err
	}
	name := done.Topic
	return confirm(c, change{
		Title: "Delete topic " + name, Back: "/", Name: name, Kind: "topic", Verb: "Delete the topic",
		Warn:    "Its messages, and the groups' positions in it, are removed for good. Consumers that read it get an error.",
		Columns: []string{"Topic", "Partitions", "Messages", "Size"}, Rows: [][]string{{name, strconv.Itoa(done.Partitions), grouped(done.Messages), bytesText(done.Bytes)}},
		Command: fmt.Sprintf("admin delete %s -topic %s -execute", newPorts(c).Flags(), name),
	}, &done.plan, func() string { return fmt.Sprintf("Topic %q was deleted.", name) })
}

func postReset(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	done, err := planReset(c)
	if err != nil {
		return err
	}
	ch := change{
		Title: fmt.Sprintf("Reset group %s in topic %s", done.Group, done.Topic), Back: groupPath(done.Group), Name: done.Topic, Kind: "topic", Verb: "Reset the group",
		Columns: []string{"Partition", "Position now", "New", "Difference"}, Warn: done.InUse,
		Command: groupCommand(c, "reset", done.Group, " -topic "+done.Topic+" -to "+units.Quoted(c.query.Get("to"))),
	}
	for i, m := range done.moves {
		row := []string{strconv.Itoa(i), "none", grouped(m.To), "–"}
		if m.Kept {
			row[1], row[3] = grouped(m.From), fmt.Sprintf("%+d", m.To-m.From)
		}
		ch.Rows = append(ch.Rows, row)
	}
	return confirm(c, ch, &done.plan, func() string { return fmt.Sprintf("The positions in topic %q were set.", done.Topic) })
}

// groupCommand is what admin takes to change a group, with options that have a space before each; "" if it does not
// take the group's name.
func groupCommand(c *call, verb, name, options string) string {
	if message.CheckName("group", name) != nil {
		return ""
	}
	return fmt.Sprintf("admin %s %s -group %s%s -execute", verb, newPorts(c).Flags(), name, options)
}

func postDeleteGroup(c *call) error {
	if err := readForm(c); err != nil {
		return err
	}
	done, err := planGroupDeletion(c)
	if err != nil {
		return err
	}
	name := done.Group
	ch := change{
		Title: "Delete group " + name, Back: "/ui/groups", Name: name, Kind: "group", Verb: "Delete the group",
		Warn:    cmp.Or(done.InUse, "Its positions are removed. A consumer of this name begins anew, as one of a new group."),
		Columns: []string{"Topic", "Partition", "Position"}, Command: groupCommand(c, "delete", name, ""),
	}
	for i, p := range done.Positions {
		if i == broker.PageRows {
			ch.Rows = append(ch.Rows, []string{"and all others", "", ""})
			break
		}
		ch.Rows = append(ch.Rows, []string{p.Topic, strconv.Itoa(p.Partition), grouped(p.Position)})
	}
	return confirm(c, ch, &done.plan, func() string { return fmt.Sprintf("Group %q was deleted.", name) })
}

// formLetters reads the form. Letters that are selected are meant, whatever number is there.
func formLetters(c *call) error {
	err := readForm(c)
	if c.query.Has("letter") {
		c.query.Del("n")
	}
	return err
}

// howMany says which letters.
func howMany(c *call, left int64) string {
	switch some := c.query["letter"]; {
	case len(some) == 1:
		return "the letter at " + some[0]
	case len(some) > 0:
		return fmt.Sprintf("%d selected letters", len(some))
	case c.query.Has("n"):
		return fmt.Sprintf("the oldest: %s", grouped(left))
	}
	return fmt.Sprintf("all that are left: %s", grouped(left))
}

func postRedrive(c *call) error {
	if err := formLetters(c); err != nil {
		return err
	}
	done, err := planRedrive(c)
	if err != nil {
		return err
	}
	ch := change{
		Title: "Redrive dead letters of " + done.Topic, Back: deadPath(done.Topic), Name: done.Topic, Kind: "topic", Verb: "Redrive",
		Columns: []string{"Letters", "To"}, Rows: [][]string{{howMany(c, done.Letters), "the group that failed each of them"}},
	}
	option := ""
	if c.query.Get("to") == "all" {
		ch.Rows[0][1], option = "the topic, for all groups", " -to all"
	}
	if !c.query.Has("letter") {
		ch.Command = fmt.Sprintf("consumer %s -topic %s -redrive%s", newPorts(c).Flags(), done.Topic, option)
	}
	return confirm(c, ch, &done.plan, func() string {
		text := fmt.Sprintf("Redriven: %s.", grouped(int64(done.Moved)))
		for _, s := range done.Reasons {
			text += fmt.Sprintf(" Stay: %s, because %s.", grouped(s.Letters), cmp.Or(s.Reason, "of other reasons"))
		}
		return strings.TrimSpace(text + " " + done.Error)
	})
}

func postDiscard(c *call) error {
	if err := formLetters(c); err != nil {
		return err
	}
	done, err := planDiscard(c)
	if err != nil {
		return err
	}
	return confirm(c, change{
		Title: "Discard dead letters of " + done.Topic, Back: deadPath(done.Topic), Name: done.Topic, Kind: "topic", Verb: "Discard",
		Warn:    "Discarded letters count as consumed: a redrive does not find them any more. They can be read until retention removes them.",
		Columns: []string{"Letters"}, Rows: [][]string{{howMany(c, done.Letters)}},
	}, &done.plan, func() string {
		return strings.TrimSpace(fmt.Sprintf("Discarded: %s. %s", grouped(done.Discarded), done.Error))
	})
}
