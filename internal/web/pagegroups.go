package web

import (
	"cmp"
	"net/http"
	"net/url"
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
	i := strings.LastIndexByte(place, ' ')
	if i < 0 {
		return l.Group > place
	}
	return cmp.Or(cmp.Compare(l.Group, place[:i]), cmp.Compare(l.Topic, place[i+1:])) > 0
}

// groupRows lists positions by group and topic. It says whether there are more.
func groupRows(v *broker.View, all []broker.GroupLag, match, after string) (rows []groupRow, more bool) {
	for i := range all {
		l := &all[i]
		if broker.Internal(l.Topic) || !strings.Contains(l.Group, match) || !isBehind(l, after) {
			continue
		}
		if n := len(rows); n == 0 || rows[n-1].Group != l.Group || rows[n-1].Topic != l.Topic {
			if n == broker.PageRows {
				return rows, true
			}
			rows = append(rows, groupRow{Group: l.Group, Topic: l.Topic})
		}
		r := &rows[len(rows)-1]
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
	return rows, false
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
	lags, _ := c.view.Lag("", "")
	var more bool
	if d.Rows, more = groupRows(c.view, lags, d.Match, d.After); more {
		d.Next = d.Rows[len(d.Rows)-1].place()
	}
	known := make(map[string]bool)
	for _, p := range c.view.Positions("") {
		known[p.Group] = true
	}
	for _, g := range c.view.Groups() {
		if !known[g.Name] && g.Members > 0 && strings.Contains(g.Name, d.Match) && len(d.Empty) < broker.PageRows && d.Next == "" {
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
	IsCut   bool   // a list has only its first entries
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
	lags, members, err := usersOf(c.view, name, "")
	if err != nil {
		return err
	}
	d := groupView{Name: name, Members: members, Held: heldRows(c.view, name), Now: time.Now().UnixMilli()}
	d.Rows, d.IsCut = groupRows(c.view, lags, "", "")
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
	sums := totals(v, "", "")
	for _, t := range v.Topics() {
		of, isDead := strings.CutSuffix(t.Name, message.DeadLetters)
		if !isDead || len(rows) == broker.PageRows {
			continue
		}
		r := deadRow{Topic: of, Dead: t.Name, Letters: letters(t, sums[t.Name])}
		r.Oldest, _ = t.Oldest()
		rows = append(rows, r)
	}
	return rows
}

func showDeadTopics(c *call) error {
	return show(c, http.StatusOK, "deadtopics", view{Title: "Dead letters", Nav: "dead", Live: "group=-", Data: deadRows(c.view)})
}
