package broker

import "mbus/internal/group"

// CommittedOffset is what is durable of the position of a group in one partition;
// false if nothing is.
func (o *offsets) CommittedOffset(groupName, topic string, partition int) (group.Commit, bool) {
	return o.groups.Committed(group.Key{Group: groupName, Topic: topic, Partition: partition})
}

// CommittedOffsets are all positions of a group, as far as they are durable, by
// topic and partition; none if nothing is.
func (o *offsets) CommittedOffsets(groupName string) []group.Commit {
	return o.groups.CommittedOf(groupName)
}

// Groups lists the groups of which a position is kept, and those that have
// members, by name.
func (o *offsets) Groups() []group.Listed { return o.groups.List() }

// KeepsGroup says whether a position of a group is kept.
func (o *offsets) KeepsGroup(groupName string) bool { return o.groups.Keeps(groupName) }

// Positions lists the positions of a group, or of all with no name, those
// included that nothing is kept of yet.
func (o *offsets) Positions(groupName string) []group.Numbers { return o.groups.Numbers(groupName) }

// Members are those that use a group, by client and topic.
func (o *offsets) Members(groupName string) []group.Use { return o.groups.MemberList(groupName) }
