package broker

import (
	"mbus/internal/group"
)

// Losses are what damage in the journal may have cost: any group may have had a position
// of which nothing is left, and one that begins at the end (start=end, or Kafka's
// auto.offset.reset=latest) would skip what it has not consumed. So a group of which
// nothing is kept begins at the first message of each partition that had any when the
// damage was found, until these are gone. The journal keeps that as positions of no group:
// the end that the partition had then.
type losses map[group.Key]group.State

// noGroup is the name under which losses are kept.
const noGroup = ""

// lostGroup is what retention calls a group of which nothing is left: it may have been one
// that leases messages, and what it has not consumed is kept longer.
const lostGroup = "(one whose position is lost)"

// A damagedPart is what of the journal can't be read: so many pieces, the last one up to
// an offset.
type damagedPart struct {
	until  int64
	pieces int32
}

// found is the key of the part of the journal that the losses are of.
var found = group.Key{Group: noGroup, Topic: PositionsTopic}

// noteLosses keeps losses if the journal has damage that they are not of yet, and has
// those count that were kept before. It is for the start, before the journal is written.
func (o *offsets) noteLosses(kept losses, missed damagedPart) {
	o.losses, o.journal.damaged = kept, missed.pieces > 0
	of := kept[found]
	if missed.pieces == 0 || of.Offset == missed.until && of.Epoch == missed.pieces {
		return
	}
	var entries []group.Entry
	for _, t := range o.topics.Topics() {
		for i, log := range t.Partitions() {
			if start, end := log.Offsets(); start < end && !Internal(t.Name) {
				k := group.Key{Group: noGroup, Topic: t.Name, Partition: i}
				entries = append(entries, group.Entry{Key: k, State: group.State{TopicID: t.ID, Offset: end, Epoch: group.NoEpoch}})
			}
		}
	}
	entries = append(entries, group.Entry{Key: found, State: group.State{Offset: missed.until, Epoch: missed.pieces}}) // the last: all are there
	for _, e := range entries {
		kept[e.Key] = e.State
	}
	if _, err := o.journal.append(entries); err != nil {
		o.log.Error("what damage to the groups' positions means could not be kept: it holds until the broker ends", "reason", err)
	}
}

// PositionsLost says whether a group of which nothing is kept may have had a position in
// a partition that was lost with damage in the journal: it begins at the first message.
func (o *offsets) PositionsLost(t *Topic, partition int) bool {
	s, ok := o.losses[group.Key{Group: noGroup, Topic: t.Name, Partition: partition}]
	if !ok || s.TopicID != t.ID {
		return false
	}
	start, _ := t.Partitions()[partition].Offsets()
	return start < s.Offset
}

// lossEntries are the losses that still count.
func (o *offsets) lossEntries() (all []group.Entry) {
	for k, s := range o.losses {
		if t, err := o.topics.Topic(k.Topic); err == nil && k.Partition < len(t.Partitions()) && o.PositionsLost(t, k.Partition) {
			all = append(all, group.Entry{Key: k, State: s})
		}
	}
	return all
}
