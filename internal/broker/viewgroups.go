package broker

import (
	"fmt"
	"maps"
	"slices"

	"mbus/internal/group"
)

// UseGroup lets a member use a group until it calls release. The error is
// a *group.InUseError.
func (v *View) UseGroup(name string, u group.Membership) (release func(), err error) {
	if err := v.group(Read, name); err != nil {
		return nil, err
	}
	return v.broker.offsets.groups.Join(name, u)
}

// UseGroupUntil is UseGroup for a member that yields, as group.Groups.JoinUntil says.
func (v *View) UseGroupUntil(name string, u group.Membership, yield func() bool) (release func(), err error) {
	if err := v.group(Read, name); err != nil {
		return nil, err
	}
	return v.broker.offsets.groups.JoinUntil(name, u, yield)
}

// Position is how far a group has come in a partition of a topic; of one that has
// been deleted meanwhile it is kept nowhere. One beyond the end of the log, where a
// Kafka client may have set it, is moved back to the end. The caller ends with its
// Close. The error is group.ErrTooMany, or wraps store.ErrUnusable.
func (v *View) Position(groupName string, t *Topic, partition int) (*group.Position, error) {
	if err := v.group(Read, groupName); err != nil {
		return nil, err
	}
	return v.broker.offsets.Position(groupName, t, partition)
}

// CommitOffsets sets positions of a group, in any direction, and calls done when
// they are durable, with what has become of each: nil, group.ErrTooMany, or the
// reason why it may not be. Positions move when that is durable, not before. What
// is committed in a topic that is deleted meanwhile goes with it. The caller has
// seen to it that no one else uses the group; done must not block, and keeps its
// argument.
//
// within has queue called where the commits have their turn, or says why they may not be.
// Then done is not called.
func (v *View) CommitOffsets(groupName string, commits []group.Commit, within func(queue func()) error, done func([]error)) error {
	if err := v.group(Read, groupName); err != nil {
		return err
	}
	return v.broker.offsets.CommitOffsetsIn(groupName, commits, within, done)
}

// ResetOffsets sets the positions in a topic, by partition, of a group that nobody may
// be using, and waits until they are durable. They stay of the kind that they are, of a
// member that leases messages or has partitions assigned. Meanwhile nobody can join the
// group. Of a topic that is deleted meanwhile nothing is kept. The error is a
// *group.InUseError, group.ErrTooMany with no position set, or says why they may not be
// durable.
func (v *View) ResetOffsets(groupName string, t *Topic, offsets []int64) error {
	if err := v.group(Read, groupName); err != nil {
		return err
	}
	return audited(v, v.broker.offsets.ResetOffsets(groupName, t, offsets), "set positions", GroupResource, groupName, "topic", t.Name, "offsets", offsets)
}

// DeleteOffsets forgets positions of a group, which nobody may be using, for
// good: those of the partitions named, or all if topics is nil. The error is a
// *group.InUseError, ErrUnknownGroup, or says why the positions may come back.
func (v *View) DeleteOffsets(groupName string, topics map[string][]int) error {
	if err := v.group(Delete, groupName); err != nil {
		return err
	}
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		if err := v.topic(Read, topic); err != nil {
			return err
		}
	}
	err := v.broker.offsets.DeleteOffsets(groupName, topics)
	switch {
	case topics == nil:
		return audited(v, err, "delete", GroupResource, groupName)
	case len(topics) == 0: // nothing has changed
		return err
	}
	return audited(v, err, "delete positions", GroupResource, groupName, "topics", slices.Sorted(maps.Keys(topics)))
}

// CheckGroupDeletion says why DeleteOffsets would refuse to forget all positions of a group.
func CheckGroupDeletion(v *View, groupName string) error {
	if err := v.group(Delete, groupName); err != nil {
		return err
	}
	if err := v.CheckUnused(groupName); err != nil || v.KeepsGroup(groupName) {
		return err
	}
	return fmt.Errorf("%w %q", ErrUnknownGroup, groupName)
}

// CheckUnused says whether a group has members, as ResetOffsets and DeleteOffsets refuse
// it: the error is a *group.InUseError.
func (v *View) CheckUnused(groupName string) error {
	if err := v.group(Describe, groupName); err != nil {
		return err
	}
	return v.broker.offsets.CheckUnused(groupName)
}

// ExpectTopic has a group begin at the first message of a topic that is still to be made,
// and returns when that is durable. It does nothing if the topic is there. The error is
// group.ErrTooMany, wraps store.ErrUnusable, or says why it may not be durable.
func (v *View) ExpectTopic(groupName, name string) error {
	if err := v.group(Read, groupName); err != nil {
		return err
	}
	if err := v.topic(Read, name); err != nil {
		return err
	}
	return v.broker.offsets.ExpectTopic(groupName, name)
}

// Await calls f once, soon, when the topic exists: at once if it does. f must
// not block. cancel takes f back; it may come too late. Of a topic that may not be described
// it is never called.
func (v *View) Await(topic string, f func()) (cancel func()) {
	if !May(v, Describe, TopicResource, topic) {
		return func() {}
	}
	return v.broker.catalog.Await(topic, f)
}

// Groups lists the groups of which a position is kept, and those that have
// members, by name.
func (v *View) Groups() []group.Listed {
	return slices.DeleteFunc(v.broker.offsets.groups.List(), func(g group.Listed) bool { return !May(v, Describe, GroupResource, g.Name) })
}

// KeepsGroup says whether a position of a group is kept.
func (v *View) KeepsGroup(groupName string) bool {
	return May(v, Describe, GroupResource, groupName) && v.broker.offsets.groups.Keeps(groupName)
}

// Positions lists the positions of a group, or of all with no name, those
// included that nothing is kept of yet.
func (v *View) Positions(groupName string) []group.Numbers {
	return slices.DeleteFunc(v.broker.offsets.groups.Numbers(groupName), func(n group.Numbers) bool {
		return !May(v, Describe, GroupResource, n.Group) || !May(v, Describe, TopicResource, n.Topic)
	})
}

// Members are those that use a group, by client and topic. The topic is "" if it may not be described.
func (v *View) Members(groupName string) []group.Membership {
	if !May(v, Describe, GroupResource, groupName) {
		return nil
	}
	all := v.broker.offsets.groups.MemberList(groupName)
	for i := range all {
		if !May(v, Describe, TopicResource, all[i].Topic) {
			all[i].Topic = ""
		}
	}
	return all
}

// CommittedOffset is what is durable of the position of a group in one partition;
// false if nothing is.
func (v *View) CommittedOffset(groupName, topic string, partition int) (c group.Commit, ok bool) {
	if !May(v, Describe, GroupResource, groupName) || !May(v, Describe, TopicResource, topic) {
		return c, false
	}
	return v.broker.offsets.groups.Committed(group.Key{Group: groupName, Topic: topic, Partition: partition})
}

// CommittedOffsets are all positions of a group, as far as they are durable, by
// topic and partition; none if nothing is.
func (v *View) CommittedOffsets(groupName string) []group.Commit {
	if !May(v, Describe, GroupResource, groupName) {
		return nil
	}
	return slices.DeleteFunc(v.broker.offsets.groups.CommittedOf(groupName), func(c group.Commit) bool {
		return !May(v, Describe, TopicResource, c.Topic)
	})
}
