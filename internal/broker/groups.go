package broker

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"mbus/internal/group"
	"mbus/internal/store"
)

// ErrUnknownGroup says that nothing is kept of a group.
var ErrUnknownGroup = errors.New("unknown group")

// How a group may be used: by one protocol at a time, and by consumers of the
// line protocol all with ordered, or all without.
var (
	UseLine    = group.Use{Protocol: "line"}
	UseOrdered = group.Use{Protocol: "line", Ordered: true}
	UseKafka   = group.Use{Protocol: "kafka"}
)

// UseGroup lets a member use a group until it calls release. The error is
// a *group.InUseError.
func (b *Broker) UseGroup(name string, u group.Use) (release func(), err error) {
	return b.groups.Join(name, u)
}

// Position is how far a group has come in a partition. The caller ends with its
// Close.
func (b *Broker) Position(groupName, topic string, partition int) *group.Position {
	return b.groups.Position(group.Key{Group: groupName, Topic: topic, Partition: partition})
}

// SyncPositions calls done once, when all positions are durable as they are now,
// or with the reason why they may not be. done must not block.
func (b *Broker) SyncPositions(done func(error)) { b.groups.Sync(done) }

// AwaitPositions is SyncPositions for those who can wait.
func (b *Broker) AwaitPositions() error {
	done := make(chan error, 1)
	b.groups.Sync(func(err error) { done <- err })
	return <-done
}

// CommitOffsets sets positions of a group, in any direction, and calls done when
// they are durable, or with the reason why they may not be. The caller has seen
// to it that no one else uses the group; done must not block.
func (b *Broker) CommitOffsets(groupName string, commits []group.Commit, done func(error)) {
	b.commit(groupName, commits)
	b.groups.Sync(done)
}

func (b *Broker) commit(groupName string, commits []group.Commit) {
	for _, c := range commits {
		b.groups.Commit(group.Key{Group: groupName, Topic: c.Topic, Partition: c.Partition},
			group.State{Offset: c.Offset, Epoch: c.LeaderEpoch, Metadata: c.Metadata})
	}
}

// toCommit is what is kept of a position, as its group sees it.
func toCommit(topic string, partition int, s group.State) group.Commit {
	return group.Commit{Topic: topic, Partition: partition, Offset: s.Offset, LeaderEpoch: s.Epoch, Metadata: s.Metadata}
}

// ResetOffsets sets positions of a group that nobody may be using, and waits
// until they are durable. The error is a *group.InUseError, or says why they may
// not be.
func (b *Broker) ResetOffsets(groupName string, commits []group.Commit) error {
	if n, by := b.groups.Members(groupName); n > 0 {
		return &group.InUseError{Group: groupName, By: by}
	}
	b.commit(groupName, commits)
	return b.AwaitPositions()
}

// CommittedOffset is the position of a group in one partition; false if nothing
// is kept of it.
func (b *Broker) CommittedOffset(groupName, topic string, partition int) (group.Commit, bool) {
	s, ok := b.groups.Committed(group.Key{Group: groupName, Topic: topic, Partition: partition})
	return toCommit(topic, partition, s), ok
}

// CommittedOffsets are all positions of a group, by topic and partition; none if
// nothing is kept of it.
func (b *Broker) CommittedOffsets(groupName string) []group.Commit {
	var commits []group.Commit
	for _, e := range b.groups.All() {
		if e.Group == groupName {
			commits = append(commits, toCommit(e.Topic, e.Partition, e.State))
		}
	}
	return commits
}

// GroupNames lists the groups of which a position is kept, ascending.
func (b *Broker) GroupNames() []string {
	names := make(map[string]struct{})
	for _, e := range b.groups.All() {
		names[e.Group] = struct{}{}
	}
	return slices.Sorted(maps.Keys(names))
}

// Positions lists all positions, those included that nothing is kept of yet.
func (b *Broker) Positions() []group.Numbers { return b.groups.Numbers() }

// Members is how many members use a group.
func (b *Broker) Members(groupName string) int {
	n, _ := b.groups.Members(groupName)
	return n
}

// DeleteOffsets forgets positions of a group, which nobody may be using, for
// good: those of the partitions named, or all if topics is nil. The error is a
// *group.InUseError, ErrUnknownGroup, or says why the positions may come back.
func (b *Broker) DeleteOffsets(groupName string, topics map[string][]int) error {
	if n, by := b.groups.Members(groupName); n > 0 && topics == nil {
		return &group.InUseError{Group: groupName, By: by}
	}
	if !slices.Contains(b.GroupNames(), groupName) {
		return fmt.Errorf("%w %q", ErrUnknownGroup, groupName)
	}
	b.groups.Delete(func(k group.Key) bool {
		return k.Group == groupName && (topics == nil || slices.Contains(topics[k.Topic], k.Partition))
	})
	return b.AwaitPositions()
}

// DeleteTopic removes a topic and all positions in it, for good. Those who use
// it are told store.ErrClosed. The error is store.ErrUnknownTopic,
// ErrInternalTopic, or says what is left.
func (b *Broker) DeleteTopic(name string) error {
	if Internal(name) {
		return ErrInternalTopic
	}
	b.making.Lock()
	defer b.making.Unlock()
	t, err := b.Topic(name)
	if err != nil {
		return err
	}
	// The topic first: positions without a topic are forgotten at the next start.
	if err := b.store.DeleteTopic(name); err != nil && !errors.Is(err, store.ErrUnknownTopic) {
		return err
	}
	b.mu.Lock()
	delete(b.topics, name)
	delete(b.ids, t.ID)
	b.mu.Unlock()
	b.groups.Delete(func(k group.Key) bool { return k.Topic == name })
	return b.AwaitPositions()
}
