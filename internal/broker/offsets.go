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

// ErrUnknownGroup says that nothing is kept of a group.
var ErrUnknownGroup = errors.New("there is no group")

// How a group may be used: by one protocol at a time, and by consumers of the
// line protocol, who add which topic, all with ordered, or all without.
var (
	UseLine    = group.Membership{Protocol: "line"}
	UseOrdered = group.Membership{Protocol: "line", Ordered: true}
	UseKafka   = group.Membership{Protocol: "kafka"}
	useAdmin   = group.Membership{Protocol: "admin"}
)

// Offsets are how far each group has come in each partition: in memory in groups, durable
// in the journal.
type offsets struct {
	topics    *catalog
	store     store.Store
	clock     *clock
	groups    *group.Groups
	journal   *journal
	log       *slog.Logger
	unusable  error           // why there is no journal, though there was one; set at the start
	losses    losses          // set at the start
	missing   map[string]int  // by topic: positions that were kept because it is missing; set at the start
	expected  map[string]bool // topics that are not there, and groups begin at their first message; guarded by the mu of topics
	retention time.Duration   // how long the positions of a group are kept without members and commits; 0 for ever
}

// newOffsets makes offsets without any; load reads those that are durable.
func newOffsets(b *Broker) *offsets {
	o := &offsets{topics: b.catalog, store: b.store, clock: b.clock, log: b.Log, expected: make(map[string]bool), retention: b.opts.OffsetsRetention}
	o.journal = newJournal(b)
	o.groups = group.New(o.write)
	o.groups.MaxBytes = b.Limits.MaxPositions
	o.groups.Now = func() int64 { return o.clock.wall().UnixMilli() }
	o.groups.NoteAgain = min(maxUseAge, o.retention/8).Milliseconds()
	return o
}

// write is the group.Write: it makes states durable.
func (o *offsets) write(entries []group.Entry) error { return o.journal.write(entries, o.entries) }

// entries yields what the journal must have: the losses that still count, and all
// positions, those in topics that are missing among them.
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

// UseGroup lets a member use a group until it calls release. The error is
// a *group.InUseError.
func (o *offsets) UseGroup(name string, u group.Membership) (release func(), err error) {
	return o.groups.Join(name, u)
}

// UseGroupUntil is UseGroup for a member that gives way, as group.Groups.JoinUntil says.
func (o *offsets) UseGroupUntil(name string, u group.Membership, yield func() bool) (release func(), err error) {
	return o.groups.JoinUntil(name, u, yield)
}

// Position is how far a group has come in a partition of a topic; of one that has
// been deleted meanwhile it is kept nowhere. One beyond the end of the log, where a
// Kafka client may have set it, is moved back to the end. The caller ends with its
// Close. The error is group.ErrTooMany, or wraps store.ErrUnusable.
func (o *offsets) Position(groupName string, t *Topic, partition int) (*group.Position, error) {
	p, err := o.position(groupName, t, partition)
	if err != nil {
		return nil, err
	}
	if all := t.Partitions(); partition < len(all) {
		_, end := all[partition].Offsets()
		if was, beyond := p.Clamp(end); beyond {
			o.warnBeyond(p.Key(), was, end)
		}
	}
	return p, nil
}

// StartAtEnd has a position that nothing is kept of yet begin at the end of its
// partition, or at its first message if it may have been lost, and keeps that.
func (o *offsets) StartAtEnd(p *group.Position, t *Topic, partition int) {
	start, end := t.Partitions()[partition].Offsets()
	if o.PositionsLost(t, partition) {
		end = start
	}
	p.Start(end, true)
}

// PositionsUnusable says why no group can be used, nor its positions looked at: what keeps
// them is damaged or missing. The error wraps store.ErrUnusable; it is nil most often.
func (o *offsets) PositionsUnusable() error { return o.unusable }

// position is Position wherever it lies.
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

// SyncPositions calls done once, when all positions are durable as they are now,
// or with the reason why they may not be. done must not block.
func (o *offsets) SyncPositions(done func(error)) { o.groups.Sync(done) }

// AwaitPositions is SyncPositions for those who can wait.
func (o *offsets) AwaitPositions() error {
	done := make(chan error, 1)
	o.groups.Sync(func(err error) { done <- err })
	return <-done
}

// CommitOffsets sets positions of a group, in any direction, and calls done when
// they are durable, with what has become of each: nil, group.ErrTooMany, or the
// reason why it may not be. Positions move when that is durable, not before. What
// is committed in a topic that is deleted meanwhile goes with it. The caller has
// seen to it that no one else uses the group; done must not block, and keeps its
// argument.
func (o *offsets) CommitOffsets(groupName string, commits []group.Commit, done func([]error)) {
	_ = o.CommitOffsetsIn(groupName, commits, func(queue func()) error { queue(); return nil }, done)
}

// CommitOffsetsIn is CommitOffsets for commits whose order matters: within has queue called
// where they have their turn, or says why they may not be. Then done is not called.
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

// closeAll is for positions that are not set after all.
func closeAll(sets []group.Set) {
	for _, s := range sets {
		s.Position.Close()
	}
}

// toCommit is the position to be set, with room for what is kept of it; nil if
// there is no such topic.
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

// ResetOffsets sets the positions in a topic, by partition, of a group that nobody may
// be using, and waits until they are durable. They stay of the kind that they are, of a
// member that leases messages or has partitions assigned. Meanwhile nobody can join the
// group. Of a topic that is deleted meanwhile nothing is kept. The error is a
// *group.InUseError, group.ErrTooMany with no position set, or says why they may not be
// durable.
func (o *offsets) ResetOffsets(groupName string, t *Topic, offsets []int64) error {
	leave, err := o.groups.Join(groupName, useAdmin)
	if err != nil {
		return err
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

// AwaitCommits calls done once, when the commits of these groups that were made before are
// durable, or have failed. It reports false, and does not call done, if there are none.
// done must not block.
func (o *offsets) AwaitCommits(groupNames []string, done func()) bool {
	for _, name := range groupNames {
		if o.groups.AwaitCommits(name, done) { // which waits for those of all groups
			return true
		}
	}
	return false
}

// CheckUnused says whether a group has members, as ResetOffsets and DeleteOffsets refuse
// it: the error is a *group.InUseError.
func (o *offsets) CheckUnused(groupName string) error {
	if n, by := o.groups.Members(groupName); n > 0 {
		return &group.InUseError{Group: groupName, By: by}
	}
	return nil
}

// DeleteOffsets forgets positions of a group, which nobody may be using, for
// good: those of the partitions named, or all if topics is nil. The error is a
// *group.InUseError, ErrUnknownGroup, or says why the positions may come back.
func (o *offsets) DeleteOffsets(groupName string, topics map[string][]int) error {
	if topics == nil {
		kept, err := o.groups.DeleteUnused(groupName)
		switch {
		case err != nil:
			return err
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

// deleteIn forgets all positions in a topic, which has been deleted, and waits until that
// is durable.
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

// has says whether a group has a durable position.
func (o *offsets) has(k group.Key) bool {
	_, ok := o.groups.Committed(k)
	return ok
}

// awaitDurable waits until the positions that have been written are durable: what groups
// have consumed by them may go, and they must not come back for it. Where that fails their log
// has failed, which the store reports.
func (o *offsets) awaitDurable() {
	t, err := o.topics.Topic(PositionsTopic)
	if err != nil {
		return // there are none
	}
	done := make(chan struct{})
	t.Partitions()[0].Sync(func(error) { close(done) })
	<-done
}

// lose counts messages that a group has lost. If it had no position in the partition it
// gets one, so that it is told: it would begin at the log start.
func (o *offsets) lose(t *Topic, u group.Unread, from, next int64) {
	p, err := o.position(u.Group, t, u.Partition)
	if err != nil {
		return // there is no room for one
	}
	defer p.Close()
	p.Start(from, true)
	o.groups.Lose(u.Key, next-from)
}

// begin has the groups that have a position in the topic begin at the first
// message of the partitions from first on, whatever is kept of them, before there is one:
// those that begin at the end where they have no position would miss what comes before
// they look. First commits that are under way count, too.
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
