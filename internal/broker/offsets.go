package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"mbus/internal/group"
	"mbus/internal/store"
)

// ErrUnknownGroup means that a group has no position.
var ErrUnknownGroup = errors.New("there is no group")

// How a group may be used: by one protocol at a time. Consumers of the line protocol add the
// topic; of one topic they all use ordered, or none does.
var (
	UseLine    = group.Membership{Protocol: "line"}
	UseOrdered = group.Membership{Protocol: "line", Ordered: true}
	UseKafka   = group.Membership{Protocol: "kafka"}
	useAdmin   = group.Membership{Protocol: "admin"}
)

// Offsets are the positions of groups in partitions: in memory in groups, durable in the
// positions log.
type offsets struct {
	topics    *catalog
	store     store.Store
	clock     *clock
	groups    *group.Groups
	positions *positionsLog
	log       *slog.Logger
	unusable  error           // why the positions log can't be used; set at the start
	losses    losses          // set at the start
	missing   map[string]int  // positions in missing topics, by topic; set at the start
	expected  map[string]bool // topics that do not exist, and groups begin at their first message; guarded by the mu of topics
	retention time.Duration   // of groups without members and commits; 0 for ever
}

// newOffsets makes offsets without positions; load reads the durable ones.
func newOffsets(b *Broker) *offsets {
	o := &offsets{topics: b.catalog, store: b.store, clock: b.keeper.clock, log: b.Log, expected: make(map[string]bool), retention: b.opts.OffsetsRetention}
	o.positions = newPositionsLog(b)
	o.groups = group.New(o.write)
	o.groups.MaxBytes = b.Limits.MaxPositions
	o.groups.Now = func() int64 { return o.clock.wall().UnixMilli() }
	o.groups.NoteAgain = min(maxUseAge, o.retention/8).Milliseconds()
	return o
}

// write is the group.Write: it makes states durable.
func (o *offsets) write(entries []group.Entry) error { return o.positions.write(entries, o.entries) }

// entries yields the contents of a compacted positions log: the losses that still count, and all
// positions, also those in missing topics.
func (o *offsets) entries(yield func(group.Entry) bool) {
	for _, e := range o.lossEntries() {
		if !yield(e) {
			return
		}
	}
	for _, g := range o.groups.List() {
		if !g.Kept {
			continue
		}
		for _, e := range o.groups.Of(g.Name) {
			if !yield(e) {
				return
			}
		}
	}
}

// Position is View.Position.
func (o *offsets) Position(groupName string, t *Topic, partition int) (*group.Position, error) {
	p, err := o.position(groupName, t, partition)
	if err != nil {
		return nil, err
	}
	if all := t.Partitions(); partition < len(all) && all[partition].Available() == nil {
		_, end := all[partition].Offsets()
		if was, beyond := p.Clamp(end); beyond {
			o.warnBeyond(p.Key(), was, end)
		}
	}
	return p, nil
}

// StartAtEnd is Broker.StartAtEnd.
func (o *offsets) StartAtEnd(p *group.Position, t *Topic, partition int) {
	start, end := t.Partitions()[partition].Offsets()
	if o.PositionsLost(t, partition) {
		end = start
	}
	p.Start(end, true)
}

// position is Position, also for one beyond the end of the log.
func (o *offsets) position(groupName string, t *Topic, partition int) (*group.Position, error) {
	if err := o.unusable; err != nil {
		return nil, err
	}
	o.topics.mu.RLock() // so that a deletion of the topic finds it
	defer o.topics.mu.RUnlock()
	if now := o.topics.byName[t.Name]; now == nil || now.ID != t.ID {
		return group.NewPosition(0), nil
	}
	return o.groups.Position(group.Key{Group: groupName, Topic: t.Name, Partition: partition}, t.ID)
}

// AwaitPositions is Broker.AwaitPositions.
func (o *offsets) AwaitPositions() error {
	done := make(chan error, 1)
	o.groups.Sync(func(err error) { done <- err })
	return <-done
}

// CommitOffsetsIn is View.CommitOffsets.
func (o *offsets) CommitOffsetsIn(groupName string, commits []group.Commit, within func(queue func()) error, done func([]error)) error {
	errs := make([]error, len(commits))
	sets := make([]group.Set, 0, len(commits))
	for i, c := range commits {
		p, err := o.toCommit(groupName, c)
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
	err := within(func() { o.groups.Commit(sets, settled) })
	if err != nil {
		closeAll(sets)
	}
	return err
}

// closeAll closes positions that are not set after all.
func closeAll(sets []group.Set) {
	for _, s := range sets {
		s.Position.Close()
	}
}

// toCommit is the position to be set, with memory reserved for it; nil if there is no such
// topic.
func (o *offsets) toCommit(groupName string, c group.Commit) (*group.Position, error) {
	t, err := o.topics.Topic(c.Topic)
	if errors.Is(err, store.ErrUnusable) {
		return nil, err
	}
	if err != nil {
		return nil, nil
	}
	p, err := o.position(groupName, t, c.Partition)
	if err != nil {
		return nil, err
	}
	if err := p.Reserve(len(c.Metadata)); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// ResetOffsets is View.ResetOffsets.
func (o *offsets) ResetOffsets(groupName string, t *Topic, offsets []int64) error {
	leave, err := o.groups.Join(groupName, useAdmin)
	if err != nil {
		return stopFirst(err)
	}
	defer leave()
	sets := make([]group.Set, 0, len(offsets))
	for i, offset := range offsets {
		p, err := o.position(groupName, t, i)
		if err != nil {
			closeAll(sets)
			return err
		}
		sets = append(sets, group.Set{Position: p, State: p.KeepKind(group.State{Offset: offset, Epoch: group.NoEpoch})})
	}
	done := make(chan error, 1)
	o.groups.Commit(sets, func(err error) { done <- err })
	return <-done
}

// AwaitCommits is Broker.AwaitCommits.
func (o *offsets) AwaitCommits(groupNames []string, done func()) bool {
	for _, name := range groupNames {
		if o.groups.AwaitCommits(name, done) { // this waits for the commits of all groups
			return true
		}
	}
	return false
}

// CheckUnused is View.CheckUnused.
func (o *offsets) CheckUnused(groupName string) error {
	if n, by := o.groups.Members(groupName); n > 0 {
		return stopFirst(&group.InUseError{Group: groupName, By: by})
	}
	return nil
}

// stopFirst adds to an error what to do about a group that is in use.
func stopFirst(err error) error {
	var inUse *group.InUseError
	if errors.As(err, &inUse) {
		return fmt.Errorf("%w: stop them first", err)
	}
	return err
}

// DeleteOffsets is View.DeleteOffsets.
func (o *offsets) DeleteOffsets(groupName string, topics map[string][]int) error {
	if topics == nil {
		kept, err := o.groups.DeleteUnused(groupName)
		switch {
		case err != nil:
			return stopFirst(err)
		case !kept:
			return fmt.Errorf("%w %q", ErrUnknownGroup, groupName)
		}
		return o.AwaitPositions()
	}
	if !o.groups.Keeps(groupName) {
		return fmt.Errorf("%w %q", ErrUnknownGroup, groupName)
	}
	o.groups.Delete(groupName, func(k group.Key) bool { return slices.Contains(topics[k.Topic], k.Partition) })
	return o.AwaitPositions()
}

// deleteIn deletes all positions in a deleted topic, and waits until that is durable.
func (o *offsets) deleteIn(topic string) error {
	o.groups.DeleteAll(func(k group.Key) bool { return k.Topic == topic })
	return o.AwaitPositions()
}

// forgetOthers forgets the positions in another topic of this name, which was missing at the
// start.
func (o *offsets) forgetOthers(t *Topic) {
	if o.missing[t.Name] == 0 {
		return
	}
	if n := o.groups.DeleteOthers(t.Name, t.ID); n > 0 {
		o.log.Warn("groups had positions in another topic of this name, which was missing: they are forgotten", "topic", t.Name, "positions", n)
	}
}

// has reports whether a group has a durable position.
func (o *offsets) has(k group.Key) bool {
	_, ok := o.groups.Committed(k)
	return ok
}

// awaitDurable waits until the written positions are durable. Retention may remove messages
// that these positions have consumed, so that a crash must not take them back. The store
// reports an error of the sync.
func (o *offsets) awaitDurable() {
	t, err := o.topics.Topic(PositionsTopic)
	if err != nil {
		return // there are none
	}
	done := make(chan struct{})
	t.Partitions()[0].Sync(func(error) { close(done) })
	<-done
}

// lose counts messages that retention has removed before a group consumed them. A group
// without a position in the partition gets one: without, it would begin at the log start and
// never get -GAP.
func (o *offsets) lose(t *Topic, u group.Unread, from, next int64) {
	p, err := o.position(u.Group, t, u.Partition)
	if err != nil {
		return // there is no room for one
	}
	defer p.Close()
	p.Start(from, true)
	o.groups.Lose(u.Key, next-from)
}

// begin has the groups with a position in the topic begin at the first message of its new
// partitions, from first on, before there is one: a group that begins at the end would miss
// the messages before its first fetch. Commits that are being written count, too.
func (o *offsets) begin(t *Topic, first, total int) error {
	if err := o.AwaitPositions(); err != nil {
		return err
	}
	for _, g := range o.groups.List() {
		in := func(e group.Entry) bool { return e.Topic == t.Name }
		has := o.groups.Of(g.Name)
		at := slices.IndexFunc(has, in)
		if at < 0 {
			continue
		}
		for i := first; i < total; i++ {
			p, err := o.Position(g.Name, t, i)
			if err != nil {
				return err
			}
			p.SetAssigned(has[at].Assigned)
			p.Start(0, true)
			p.Clamp(0)
			p.Close()
		}
	}
	return o.AwaitPositions()
}
