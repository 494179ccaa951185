package broker

import (
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
	for _, n := range v.Positions(groupName) {
		found = true
		if topicName != "" && n.Topic != topicName {
			continue
		}
		topic, err := v.broker.catalog.Topic(n.Topic)
		if err != nil || n.Partition >= len(topic.Partitions()) {
			continue // deleted just now
		}
		start, end := topic.Partitions()[n.Partition].Offsets()
		all = append(all, GroupLag{n, end, max(0, end-max(n.Committed, start)-n.AckedAhead)})
	}
	return all, found
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
		if _, err := v.TopicByID(id, Describe); err != nil {
			delete(counts, id)
		}
	}
	return counts
}
