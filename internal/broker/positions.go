package broker

import "mbus/internal/group"

// PositionsUnusable says why no group can be used, nor its positions looked at: what keeps
// them is damaged or missing. The error wraps store.ErrUnusable; it is nil most often.
func (b *Broker) PositionsUnusable() error { return b.offsets.unusable }

// PositionsLost says whether a group of which nothing is kept may have had a position in
// a partition that was lost with damage in the positions log: it begins at the first message.
func (b *Broker) PositionsLost(t *Topic, partition int) bool {
	return b.offsets.PositionsLost(t, partition)
}

// StartAtEnd has a position that nothing is kept of yet begin at the end of its
// partition, or at its first message if it may have been lost, and keeps that.
func (b *Broker) StartAtEnd(p *group.Position, t *Topic, partition int) {
	b.offsets.StartAtEnd(p, t, partition)
}

// SyncPositions calls done once, when all positions are durable as they are now,
// or with the reason why they may not be. done must not block.
func (b *Broker) SyncPositions(done func(error)) { b.offsets.groups.Sync(done) }

// AwaitPositions waits until all positions are durable as they are now, or returns the
// reason why they may not be.
func (b *Broker) AwaitPositions() error { return b.offsets.AwaitPositions() }

// AwaitCommits calls done once, when the commits of these groups that were made before are
// durable, or have failed. It reports false, and does not call done, if there are none.
// done must not block.
func (b *Broker) AwaitCommits(groupNames []string, done func()) bool {
	return b.offsets.AwaitCommits(groupNames, done)
}
