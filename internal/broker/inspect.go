package broker

import (
	"slices"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
)

// A GroupLag is the position of a group in a partition, and its lag.
type GroupLag struct {
	group.Numbers
	End int64 // the high watermark
	Lag int64 // unconsumed messages
}

// Lag lists the positions of a group, or of all groups with no name, in the partitions that
// are there of a topic, or of all topics with no name. found says whether the group has
// any position.
func (v *View) Lag(groupName, topicName string) (all []GroupLag, found bool) {
	last := lagTopic{broker: v.broker}
	for _, n := range v.Positions(groupName) {
		found = true
		if topicName == "" || n.Topic == topicName {
			all = last.appendLag(all, n)
		}
	}
	return all, found
}

// EachLag calls f with Lag of each group, by name. f may not keep its argument.
func EachLag(v *View, f func([]GroupLag)) {
	last := lagTopic{broker: v.broker}
	var all []GroupLag
	v.broker.offsets.groups.EachNumbers(func(of []group.Numbers) {
		all = all[:0]
		if !May(v, Describe, GroupResource, of[0].Group) {
			return
		}
		for _, n := range of {
			if May(v, Describe, TopicResource, n.Topic) {
				all = last.appendLag(all, n)
			}
		}
		if len(all) > 0 {
			f(all)
		}
	})
}

// A lagTopic is the topic of the position before, which that of the next one often is, too.
type lagTopic struct {
	broker *Broker
	topic  *Topic // nil for none
}

// appendLag appends a position with its lag, unless its partition was deleted just now.
func (l *lagTopic) appendLag(all []GroupLag, n group.Numbers) []GroupLag {
	if l.topic == nil || l.topic.Name != n.Topic {
		var err error
		if l.topic, err = l.broker.catalog.Topic(n.Topic); err != nil {
			l.topic = nil
			return all
		}
	}
	partitions := l.topic.Partitions()
	if n.Partition >= len(partitions) {
		return all
	}
	start, end := partitions[n.Partition].Offsets()
	return append(all, GroupLag{n, end, max(0, end-max(n.Committed, start)-n.AckedAhead)})
}

// GroupNames lists the groups that have positions and may be described, by name.
func GroupNames(v *View) []string {
	all := group.Names(v.broker.offsets.groups)
	hidden := func(name string) bool { return !May(v, Describe, GroupResource, name) }
	if !slices.ContainsFunc(all, hidden) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), hidden)
}

// TopicCounts are the size of a topic.
type TopicCounts struct {
	Messages, Bytes int64
	Oldest          time.Time // the earliest time of a first message of a partition; zero for none
}

// Counts counts the topic's messages and bytes.
func (t *Topic) Counts() (c TopicCounts) {
	for _, p := range t.Partitions() {
		start, high := p.Offsets()
		c.Messages += high - start
		c.Bytes += p.Size()
		if start == high {
			continue
		}
		_ = WithRecord(p, start, func(r *batch.Record) error { // one that can't be read has no time
			if at := time.UnixMilli(r.Timestamp); c.Oldest.IsZero() || at.Before(c.Oldest) {
				c.Oldest = at
			}
			return nil
		})
	}
	return c
}

// Delayed is how many messages wait until they are due, by the ids of their topics.
func (v *View) Delayed() map[[16]byte]int {
	counts := v.broker.schedule.Counts()
	for id := range counts {
		if t, err := v.broker.catalog.TopicByID(id); err != nil || !May(v, Describe, TopicResource, t.Name) {
			delete(counts, id)
		}
	}
	return counts
}
