package web

import (
	"fmt"
	"net/http"
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

// groupRows lists positions by group and topic; of one group or topic if they are named.
func groupRows(v *broker.View, groupName, topic, match, after string) (rows []groupRow) {
	all, _ := v.Lag(groupName, topic)
	for i := range all {
		l := &all[i]
		if broker.Internal(l.Topic) || !strings.Contains(l.Group, match) || after != "" && l.Group <= after {
			continue
		}
		if n := len(rows); n == 0 || rows[n-1].Group != l.Group || rows[n-1].Topic != l.Topic {
			if n == broker.PageRows {
				break
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
	return rows
}

// A groupsView lists groups.
type groupsView struct {
	Rows  []groupRow
	Empty []group.Listed // groups with members, and without a position
	Match string
	Next  string
	Now   int64
}

func showGroups(c *call) error {
	d := groupsView{Match: c.query.Get("match"), Now: time.Now().UnixMilli()}
	d.Rows = groupRows(c.view, "", "", d.Match, c.query.Get("after"))
	if len(d.Rows) == broker.PageRows {
		d.Next = d.Rows[len(d.Rows)-1].Group
	}
	known := make(map[string]bool)
	for i := range d.Rows {
		known[d.Rows[i].Group] = true
	}
	for _, g := range c.view.Groups() {
		if !known[g.Name] && g.Members > 0 && strings.Contains(g.Name, d.Match) && len(d.Empty) < broker.PageRows && d.Next == "" {
			d.Empty = append(d.Empty, g)
		}
	}
	return show(c, http.StatusOK, "groups", view{Title: "Groups", Nav: "groups", Live: c.r.URL.RawQuery, Done: c.query.Get("done"), Data: d})
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
	Members []group.Membership
	Held    []heldRow
	InUse   string // why its positions can't be changed now; "" if they can be
	Now     int64
}

func showGroup(c *call) error {
	name, err := c.name("group")
	if err != nil {
		return err
	}
	if err := c.view.Allow(broker.Describe, broker.GroupResource, name); err != nil {
		return err
	}
	d := groupView{Name: name, Rows: groupRows(c.view, name, "", "", ""), Members: c.view.Members(name), Held: heldRows(c.view, name), Now: time.Now().UnixMilli()}
	if len(d.Rows) == 0 && len(d.Members) == 0 {
		return fmt.Errorf("%w %q", broker.ErrUnknownGroup, name)
	}
	if err := c.view.CheckUnused(name); err != nil {
		d.InUse = err.Error()
	}
	return show(c, http.StatusOK, "group", view{Title: "Group " + name, Nav: "groups", Live: "group=" + name, Done: c.query.Get("done"), Data: d})
}

// A deadRow is a topic of dead letters.
type deadRow struct {
	Topic, Dead string
	Letters     int64
	Oldest      int64
}

// deadRows lists the topics that have dead letters.
func deadRows(v *broker.View) (rows []deadRow) {
	sums := totals(v)
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
	return show(c, http.StatusOK, "deadtopics", view{Title: "Dead letters", Nav: "dead", Data: deadRows(c.view)})
}
