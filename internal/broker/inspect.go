package broker

import (
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
)

// An inspector shows groups as data, for fronts to write in their own form.
type inspector struct {
	topics *catalog
	groups *group.Groups
}

// Groups lists the groups of which a position is kept, and those that have
// members, by name.
func (i *inspector) Groups() []group.Listed { return i.groups.List() }

// KeepsGroup says whether a position of a group is kept.
func (i *inspector) KeepsGroup(groupName string) bool { return i.groups.Keeps(groupName) }

// Positions lists the positions of a group, or of all with no name, those
// included that nothing is kept of yet.
func (i *inspector) Positions(groupName string) []group.Numbers { return i.groups.Numbers(groupName) }

// Members are those that use a group, by client and topic.
func (i *inspector) Members(groupName string) []group.Membership {
	return i.groups.MemberList(groupName)
}

// CommittedOffset is what is durable of the position of a group in one partition;
// false if nothing is.
func (i *inspector) CommittedOffset(groupName, topic string, partition int) (group.Commit, bool) {
	return i.groups.Committed(group.Key{Group: groupName, Topic: topic, Partition: partition})
}

// CommittedOffsets are all positions of a group, as far as they are durable, by
// topic and partition; none if nothing is.
func (i *inspector) CommittedOffsets(groupName string) []group.Commit {
	return i.groups.CommittedOf(groupName)
}

// A GroupLag is how far a group has come in a partition, and how far it has to go.
type GroupLag struct {
	group.Numbers
	End int64 // the high watermark
	Lag int64 // messages that are not consumed
}

// Lag lists the positions of a group, or of all groups with no name, in the partitions that
// are there of a topic, or of all topics with no name. found says whether the group has
// any position.
func (i *inspector) Lag(groupName, topicName string) (all []GroupLag, found bool) {
	for _, n := range i.groups.Numbers(groupName) {
		found = true
		if topicName != "" && n.Topic != topicName {
			continue
		}
		topic, err := i.topics.Topic(n.Topic)
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
	Oldest          time.Time // of the first message of the partitions; zero for none that can be read
}

// Counts reads the size of the topic.
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
