package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/message"
)

// A groupRow is the position of a group in a topic.
type groupRow struct {
	Group, Topic   string
	Lag            int64
	Unacknowledged int64
	Waiting        int64
	Oldest         int64 // time of the oldest message that it has not consumed; 0 for none
	Members        int64
	Lost           int64
	Attempt        int64
	Partitions     []broker.GroupLag
}

func (r *groupRow) numbers() []int64 {
	return []int64{r.Lag, r.Oldest, r.Unacknowledged, r.Waiting, r.Attempt, r.Members, r.Lost}
}

// place is the place of the row in a list. Names of topics have no space.
func (r *groupRow) place() string { return r.Group + " " + r.Topic }

// isBehind reports whether a position is behind the row at a place.
func isBehind(l *broker.GroupLag, place string) bool {
	name, topic := cutPlace(place)
	return cmp.Or(cmp.Compare(l.Group, name), cmp.Compare(l.Topic, topic)) > 0
}

// cutPlace is the group and the topic of a place, which may be a group alone.
func cutPlace(place string) (group, topic string) {
	i := strings.LastIndexByte(place, ' ')
	if i < 0 {
		return place, "\xff" // behind all topics
	}
	return place[:i], place[i+1:]
}

// groupRows lists positions of groups, whose names are sorted, by group and topic; of one topic if it is named.
// It says whether there are more.
func groupRows(v *broker.View, names []string, topic, match, after string) (rows []groupRow, more bool) {
	first := 0
	if after != "" {
		name, _ := cutPlace(after)
		first, _ = slices.BinarySearch(names, name)
	}
	for _, name := range names[first:] {
		if !strings.Contains(name, match) {
			continue
		}
		all, _ := v.Lag(name, topic)
		for i := range all {
			l := &all[i]
			if broker.Internal(l.Topic) || !isBehind(l, after) {
				continue
			}
			if n := len(rows); n == 0 || rows[n-1].Group != l.Group || rows[n-1].Topic != l.Topic {
				if n == broker.PageRows {
					return rows, true
				}
				rows = append(rows, groupRow{Group: l.Group, Topic: l.Topic})
			}
			rows[len(rows)-1].add(v, l)
		}
	}
	return rows, false
}

// add adds the position in a partition.
func (r *groupRow) add(v *broker.View, l *broker.GroupLag) {
	r.Lag += l.Lag
	r.Unacknowledged += l.Unacknowledged
	r.Waiting += l.Waiting
	r.Lost += l.Lost
	r.Members = max(r.Members, int64(l.Members))
	r.Attempt = max(r.Attempt, int64(l.Attempt))
	if ms, ok := v.OldestUnconsumed(l); ok && (r.Oldest == 0 || ms < r.Oldest) {
		r.Oldest = ms
	}
	r.Partitions = append(r.Partitions, *l)
}

// A groupsView lists groups.
type groupsView struct {
	Rows  []groupRow
	Empty []group.Listed // groups with members, and without a position
	Match string
	After string
	Next  string // place of the last row, if there are more
	Now   int64
}

func showGroups(c *call) error {
	d := groupsView{Match: c.query.Get("match"), After: c.query.Get("after"), Now: time.Now().UnixMilli()}
	var more bool
	names := broker.GroupNames(c.view)
	if d.Rows, more = groupRows(c.view, names, "", d.Match, d.After); more {
		d.Next = d.Rows[len(d.Rows)-1].place()
	}
	for _, g := range c.view.Groups() {
		if _, known := slices.BinarySearch(names, g.Name); !known && g.Members > 0 && strings.Contains(g.Name, d.Match) && len(d.Empty) < broker.PageRows && d.Next == "" {
			d.Empty = append(d.Empty, g)
		}
	}
	return show(c, http.StatusOK, "groups", view{Title: "Groups", Nav: "groups", Live: "groups&" + c.r.URL.RawQuery, Data: d})
}

// A heldRow is messages that a member of a group has and has not acknowledged.
type heldRow struct {
	group.Held
	Time int64 // of the first message; 0 if it is not known
}

// heldRows lists what the members of a group hold.
func heldRows(v *broker.View, name string) (rows []heldRow) {
	for _, h := range broker.HeldBy(v, name, broker.PageRows) {
		r := heldRow{Held: h}
		if t, err := v.Topic(h.Topic, broker.Describe); err == nil && h.Partition < len(t.Partitions()) {
			r.Time, _ = t.Partitions()[h.Partition].TimeAt(h.From)
		}
		rows = append(rows, r)
	}
	return rows
}

// A groupView shows one group.
type groupView struct {
	Name    string
	Rows    []groupRow
	Places  []broker.GroupLag // of Rows
	Members []group.Membership
	Held    []heldRow
	IsCut   bool // a list has only its first entries
	May     mayDo
	InUse   string // why its positions can't be changed now; "" if they can be
	Now     int64
}

// IsPlain reports whether all clients can use the group's name.
func (d *groupView) IsPlain() bool { return message.CheckName("group", d.Name) == nil }

func showGroup(c *call) error {
	name, err := c.group()
	if err != nil {
		return err
	}
	_, members, err := usersOf(c.view, name, "")
	if err != nil {
		return err
	}
	d := groupView{Name: name, Members: members, Held: heldRows(c.view, name), Now: time.Now().UnixMilli()}
	d.May = whatMayDo(c, broker.GroupResource, name)
	d.Rows, d.IsCut = groupRows(c.view, []string{name}, "", "", "")
	for i := range d.Rows {
		d.Places = append(d.Places, d.Rows[i].Partitions...)
	}
	d.IsCut = d.IsCut || max(len(d.Places), len(d.Members)) > broker.PageRows
	d.Places, d.Members = d.Places[:min(len(d.Places), broker.PageRows)], d.Members[:min(len(d.Members), broker.PageRows)]
	if err := c.view.CheckUnused(name); err != nil {
		d.InUse = err.Error()
	}
	return show(c, http.StatusOK, "group", view{Title: "Group " + name, Nav: "groups", Live: "group=" + url.QueryEscape(name), Data: &d})
}

// A deadRow is a topic of dead letters.
type deadRow struct {
	Topic, Dead string
	Letters     int64
	Oldest      int64
}

// deadRows lists the topics that have dead letters.
func deadRows(v *broker.View) (rows []deadRow) {
	left := lettersLeft(v)
	for _, t := range v.Topics() {
		of, isDead := strings.CutSuffix(t.Name, message.DeadLetters)
		if !isDead || len(rows) == broker.PageRows {
			continue
		}
		r := deadRow{Topic: of, Dead: t.Name, Letters: left.of(t)}
		r.Oldest, _ = t.Oldest()
		rows = append(rows, r)
	}
	return rows
}

func showDeadTopics(c *call) error {
	return show(c, http.StatusOK, "deadtopics", view{Title: "Dead letters", Nav: "dead", Live: "group=-", Data: deadRows(c.view)})
}
