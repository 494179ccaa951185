package broker

import (
	"errors"
	"fmt"
	"slices"

	"mbus/internal/group"
	"mbus/internal/store"
)

// ErrUnknownGroup says that nothing is kept of a group.
var ErrUnknownGroup = errors.New("there is no group")

// How a group may be used: by one protocol at a time, and by consumers of the
// line protocol, who add which topic, all with ordered, or all without.
var (
	UseLine    = group.Use{Protocol: "line"}
	UseOrdered = group.Use{Protocol: "line", Ordered: true}
	UseKafka   = group.Use{Protocol: "kafka"}
	useAdmin   = group.Use{Protocol: "admin"}
)

// UseGroup lets a member use a group until it calls release. The error is
// a *group.InUseError.
func (b *Broker) UseGroup(name string, u group.Use) (release func(), err error) {
	return b.groups.Join(name, u)
}

// UseGroupUntil is UseGroup for a member that gives way, as group.Groups.JoinUntil says.
func (b *Broker) UseGroupUntil(name string, u group.Use, yield func() bool) (release func(), err error) {
	return b.groups.JoinUntil(name, u, yield)
}

// Position is how far a group has come in a partition of a topic; of one that has
// been deleted meanwhile it is kept nowhere. One beyond the end of the log, where a
// Kafka client may have set it, is moved back to the end. The caller ends with its
// Close. The error is group.ErrTooMany, or wraps store.ErrUnusable.
func (b *Broker) Position(groupName string, t *Topic, partition int) (*group.Position, error) {
	p, err := b.position(groupName, t, partition)
	if err != nil {
		return nil, err
	}
	if all := t.Partitions(); partition < len(all) {
		_, end := all[partition].Offsets()
		if was, beyond := p.Clamp(end); beyond {
			b.warnBeyond(p.Key(), was, end)
		}
	}
	return p, nil
}

// StartAtEnd has a position that nothing is kept of yet begin at the end of its
// partition, or at its first message if it may have been lost, and keeps that.
func (b *Broker) StartAtEnd(p *group.Position, t *Topic, partition int) {
	start, end := t.Partitions()[partition].Offsets()
	if b.PositionsLost(t, partition) {
		end = start
	}
	p.Start(end, true)
}

// PositionsUnusable says why no group can be used, nor its positions looked at: what keeps
// them is damaged or missing. The error wraps store.ErrUnusable; it is nil most often.
func (b *Broker) PositionsUnusable() error { return b.journal.unusable }

// position is Position wherever it lies.
func (b *Broker) position(groupName string, t *Topic, partition int) (*group.Position, error) {
	if err := b.journal.unusable; err != nil {
		return nil, err
	}
	b.mu.RLock() // so that a deletion of the topic finds it
	defer b.mu.RUnlock()
	if now := b.topics[t.Name]; now == nil || now.ID != t.ID {
		return group.NewPosition(0), nil
	}
	return b.groups.Position(group.Key{Group: groupName, Topic: t.Name, Partition: partition}, t.ID)
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
// they are durable, with what has become of each: nil, group.ErrTooMany, or the
// reason why it may not be. Positions move when that is durable, not before. What
// is committed in a topic that is deleted meanwhile goes with it. The caller has
// seen to it that no one else uses the group; done must not block, and keeps its
// argument.
func (b *Broker) CommitOffsets(groupName string, commits []group.Commit, done func([]error)) {
	_ = b.CommitOffsetsIn(groupName, commits, func(queue func()) error { queue(); return nil }, done)
}

// CommitOffsetsIn is CommitOffsets for commits whose order matters: within has queue called
// where they have their turn, or says why they may not be. Then done is not called.
func (b *Broker) CommitOffsetsIn(groupName string, commits []group.Commit, within func(queue func()) error, done func([]error)) error {
	errs := make([]error, len(commits))
	sets := make([]group.Set, 0, len(commits))
	for i, c := range commits {
		p, err := b.toCommit(groupName, c)
		if errs[i] = err; p != nil {
			sets = append(sets, group.Set{
				Position: p, State: group.State{Offset: c.Offset, Epoch: c.LeaderEpoch, Metadata: c.Metadata, Assigned: true},
			})
		}
	}
	settled := func(err error) {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		done(errs)
	}
	err := within(func() { b.groups.Commit(sets, settled) })
	if err != nil {
		closeAll(sets)
	}
	return err
}

// closeAll is for positions that are not set after all.
func closeAll(sets []group.Set) {
	for _, s := range sets {
		s.Position.Close()
	}
}

// toCommit is the position to be set, with room for what is kept of it; nil if
// there is no such topic.
func (b *Broker) toCommit(groupName string, c group.Commit) (*group.Position, error) {
	t, err := b.Topic(c.Topic)
	if errors.Is(err, store.ErrUnusable) {
		return nil, err
	}
	if err != nil {
		return nil, nil
	}
	p, err := b.position(groupName, t, c.Partition)
	if err != nil {
		return nil, err
	}
	if err := p.Reserve(len(c.Metadata)); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// ResetOffsets sets the positions in a topic, by partition, of a group that nobody may
// be using, and waits until they are durable. They stay of the kind that they are, of a
// member that leases messages or has partitions assigned. Meanwhile nobody can join the
// group. Of a topic that is deleted meanwhile nothing is kept. The error is a
// *group.InUseError, group.ErrTooMany with no position set, or says why they may not be
// durable.
func (b *Broker) ResetOffsets(groupName string, t *Topic, offsets []int64) error {
	leave, err := b.groups.Join(groupName, useAdmin)
	if err != nil {
		return err
	}
	defer leave()
	sets := make([]group.Set, 0, len(offsets))
	for i, offset := range offsets {
		p, err := b.position(groupName, t, i)
		if err != nil {
			closeAll(sets)
			return err
		}
		sets = append(sets, group.Set{Position: p, State: p.KeepKind(group.State{Offset: offset, Epoch: group.NoEpoch})})
	}
	done := make(chan error, 1)
	b.groups.Commit(sets, func(err error) { done <- err })
	return <-done
}

// AwaitCommits calls done once, when the commits of these groups that were made before are
// durable, or have failed. It reports false, and does not call done, if there are none.
// done must not block.
func (b *Broker) AwaitCommits(groupNames []string, done func()) bool {
	for _, name := range groupNames {
		if b.groups.AwaitCommits(name, done) { // which waits for those of all groups
			return true
		}
	}
	return false
}

// CommittedOffset is what is durable of the position of a group in one partition;
// false if nothing is.
func (b *Broker) CommittedOffset(groupName, topic string, partition int) (group.Commit, bool) {
	return b.groups.Committed(group.Key{Group: groupName, Topic: topic, Partition: partition})
}

// CommittedOffsets are all positions of a group, as far as they are durable, by
// topic and partition; none if nothing is.
func (b *Broker) CommittedOffsets(groupName string) []group.Commit {
	return b.groups.CommittedOf(groupName)
}

// Groups lists the groups of which a position is kept, and those that have
// members, by name.
func (b *Broker) Groups() []group.Listed { return b.groups.List() }

// KeepsGroup says whether a position of a group is kept.
func (b *Broker) KeepsGroup(groupName string) bool { return b.groups.Keeps(groupName) }

// Positions lists the positions of a group, or of all with no name, those
// included that nothing is kept of yet.
func (b *Broker) Positions(groupName string) []group.Numbers { return b.groups.Numbers(groupName) }

// Members are those that use a group, by client and topic.
func (b *Broker) Members(groupName string) []group.Use { return b.groups.MemberList(groupName) }

// CheckUnused says whether a group has members, as ResetOffsets and DeleteOffsets refuse
// it: the error is a *group.InUseError.
func (b *Broker) CheckUnused(groupName string) error {
	if n, by := b.groups.Members(groupName); n > 0 {
		return &group.InUseError{Group: groupName, By: by}
	}
	return nil
}

// DeleteOffsets forgets positions of a group, which nobody may be using, for
// good: those of the partitions named, or all if topics is nil. The error is a
// *group.InUseError, ErrUnknownGroup, or says why the positions may come back.
func (b *Broker) DeleteOffsets(groupName string, topics map[string][]int) error {
	if topics == nil {
		kept, err := b.groups.DeleteUnused(groupName)
		switch {
		case err != nil:
			return err
		case !kept:
			return fmt.Errorf("%w %q", ErrUnknownGroup, groupName)
		}
		return b.AwaitPositions()
	}
	if !b.groups.Keeps(groupName) {
		return fmt.Errorf("%w %q", ErrUnknownGroup, groupName)
	}
	b.groups.Delete(groupName, func(k group.Key) bool { return slices.Contains(topics[k.Topic], k.Partition) })
	return b.AwaitPositions()
}

// DeleteTopic removes a topic and all positions in it, for good: one that can't be
// used as well. Those who use it are told store.ErrClosed. The error is
// store.ErrUnknownTopic, ErrInternalTopic, or says what is left.
func (b *Broker) DeleteTopic(name string) error {
	return b.deleteTopic(name, func(*Topic) bool { return true })
}

// DeleteTopicByID is DeleteTopic for one incarnation of a name: one that has been made
// anew stays.
func (b *Broker) DeleteTopicByID(id [16]byte) error {
	t, err := b.TopicByID(id)
	if err != nil {
		return err
	}
	return b.deleteTopic(t.Name, func(now *Topic) bool { return now == t })
}

// CheckDeletion says why DeleteTopic would refuse a topic of this name, whether there is
// one or not: the error is ErrInternalTopic.
func (b *Broker) CheckDeletion(name string) error {
	if Internal(name) {
		return ErrInternalTopic
	}
	return nil
}

// deleteTopic deletes the topic of a name, if it is the one meant: nobody makes another
// one meanwhile.
func (b *Broker) deleteTopic(name string, meant func(*Topic) bool) error {
	if err := b.CheckDeletion(name); err != nil {
		return err
	}
	defer b.names.Lock(name)()
	t, err := b.Topic(name)
	switch {
	case errors.Is(err, store.ErrUnusable):
	case err != nil:
		return err
	case !meant(t):
		return store.ErrUnknownTopic
	}
	// The topic first: positions in a topic that is known to be deleted are forgotten
	// at the next start.
	err = b.store.DeleteTopic(name)
	if errors.Is(err, store.ErrUnknownTopic) {
		err = nil
	}
	if err != nil && (t == nil || b.reopen(name)) {
		if t != nil {
			t.end() // another *Topic has its partitions now
		}
		return err
	}
	if t != nil {
		b.mu.Lock()
		delete(b.topics, name)
		delete(b.ids, t.ID)
		b.parts -= len(t.Partitions())
		b.mu.Unlock()
		b.delays.abandon(t.ID)
		t.end()
	}
	b.groups.DeleteAll(func(k group.Key) bool { return k.Topic == name })
	return errors.Join(err, b.AwaitPositions())
}

// reopen has a topic used again that the store could not delete, for its
// partitions have been closed. It reports false if the store has it no more.
func (b *Broker) reopen(name string) bool {
	for _, t := range b.store.Topics() {
		if t.Name == name {
			_, err := b.openTopic(t)
			return err == nil
		}
	}
	return false
}
