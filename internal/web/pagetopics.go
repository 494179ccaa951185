package web

import (
	"net/http"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/message"
)

// listParams say which topics or groups a view has.
var listParams = []param{
	{name: "match", about: "only names that contain this"},
	{name: "after", about: "only names behind this one"},
	doneParam,
}

// A topicRow is a topic in the list.
type topicRow struct {
	Name       string
	Partitions int
	In         int64 // messages that were published since the broker's start
	Out        int64 // messages that were sent to consumers
	Messages   int64
	Bytes      int64
	Oldest     int64 // time in milliseconds since 1970; 0 for none
	Lag        int64 // of the group that has the most to consume
	LagGroup   string
	Delayed    int64
	Dead       int64  // dead letters that have not been consumed
	DeadTopic  string // where they are; "" if there is no such topic
}

// numbers are those that change, in the order of the list's columns. The script makes rates of In
// and Out, which only grow.
func (r *topicRow) numbers() []int64 {
	return []int64{r.In, r.Out, r.Messages, r.Bytes, r.Oldest, r.Lag, r.Delayed, r.Dead}
}

// topics lists the topics of a view, and says whether there are more.
func topicRows(v *broker.View, from *survey, match, after string) (rows []topicRow, more bool) {
	delayed, left := v.Delayed(), lettersLeft(v)
	for _, t := range v.Topics() {
		if broker.Internal(t.Name) || t.Name <= after && after != "" || !strings.Contains(t.Name, match) {
			continue
		}
		if len(rows) == broker.PageRows {
			return rows, true
		}
		rows = append(rows, newTopicRow(v, t, from, left, delayed[t.ID]))
	}
	return rows, false
}

func newTopicRow(v *broker.View, t *broker.Topic, from *survey, left letterLags, delayed int) topicRow {
	r := topicRow{Name: t.Name, Delayed: int64(delayed)}
	partitions := t.Partitions()
	r.Partitions = len(partitions)
	for _, p := range partitions {
		start, high := p.Offsets()
		r.Messages += high - start
		r.Bytes += p.Size()
	}
	for _, port := range broker.Ports {
		in, out := t.Traffic(port)
		r.In += in.Messages
		r.Out += out.Messages
	}
	r.Oldest, _ = t.Oldest()
	if of := from.topics[t.Name]; of != nil {
		r.Lag, r.LagGroup = of.worst, of.worstGroup
	}
	if dead := seenTopic(v, message.DeadLettersOf(t.Name)); dead != nil && broker.HasDeadLetters(t.Name) {
		r.Dead, r.DeadTopic = left.of(dead), dead.Name
	}
	return r
}

// seenTopic is a topic that a view shows beside others; nil if there is none that the client may see, which is no refusal.
func seenTopic(v *broker.View, name string) *broker.Topic {
	if !broker.May(v, broker.Describe, broker.TopicResource, name) {
		return nil
	}
	t, _ := v.Topic(name, broker.Describe)
	return t
}

// letterLags are the lags of the group in which redrives consume, by topic and partition.
type letterLags map[string]map[int]int64

func lettersLeft(v *broker.View) letterLags {
	lags := make(letterLags)
	all, _ := v.Lag(broker.RedriveGroup, "")
	for i := range all {
		l := &all[i]
		if lags[l.Topic] == nil {
			lags[l.Topic] = make(map[int]int64)
		}
		lags[l.Topic][l.Partition] = l.Lag
	}
	return lags
}

// of is how many dead letters were neither redriven nor discarded: those that the group
// of redrives has not consumed.
func (a letterLags) of(dead *broker.Topic) (n int64) {
	for i, p := range dead.Partitions() {
		start, high := p.Offsets()
		lag, found := a[dead.Name][i]
		if !found {
			lag = high - start
		}
		n += lag
	}
	return n
}

// lettersOf is how many are left of one topic.
func lettersOf(v *broker.View, dead *broker.Topic) int64 {
	return lettersLeft(v).of(dead)
}

// A topicsView is the first view.
type topicsView struct {
	Rows         []topicRow
	Match, After string
	Next         string // the last name, if there are more
	Now          int64
	MayCreate    bool
}

func showTopics(c *call) error {
	d := topicsView{Match: c.query.Get("match"), After: c.query.Get("after"), Now: time.Now().UnixMilli(), MayCreate: mayChangeSome(c)}
	var more bool
	if d.Rows, more = topicRows(c.view, newSurvey(c.view), d.Match, d.After); more {
		d.Next = d.Rows[len(d.Rows)-1].Name
	}
	return show(c, http.StatusOK, "topics", view{Title: "Topics", Nav: "topics", Live: c.r.URL.RawQuery, Data: d})
}
