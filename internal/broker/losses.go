package broker

import (
	"mbus/internal/group"
)

// Losses are the positions that damage in the positions log may have cost. Any group may have had a
// position of which nothing is left, and a group that begins at the end (start=end, or
// Kafka's auto.offset.reset=latest) would skip messages. So a group without a position begins
// at the first message of each partition that had messages when the damage was found, until
// these are removed. The positions log keeps losses as positions of noGroup: the end that the
// partition had then.
type losses map[group.Key]group.State

// noGroup is the name under which losses are kept.
const noGroup = ""

// lostGroup is retention's name for a group of which nothing is left: it may have leased
// messages, and unconsumed messages are kept longer for such groups.
const lostGroup = "(one whose position is lost)"

// A damagedPart is the part of the positions log that can't be read.
type damagedPart struct {
	until int64 // offset after the last unreadable record
	runs  int32 // of unreadable records
}

// lossesOf is the key under which the losses' damagedPart is kept.
var lossesOf = group.Key{Group: noGroup, Topic: PositionsTopic}

// noteLosses adds losses if the positions log has damage that the kept ones do not cover. It is for
// the start, before the positions log is written.
func (o *offsets) noteLosses(kept losses, missed damagedPart) {
	o.losses, o.positions.damaged = kept, missed.runs > 0
	of := kept[lossesOf]
	if missed.runs == 0 || of.Offset == missed.until && of.Epoch == missed.runs {
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
	entries = append(entries, group.Entry{Key: lossesOf, State: group.State{Offset: missed.until, Epoch: missed.runs}}) // last: with it the others are complete
	for _, e := range entries {
		kept[e.Key] = e.State
	}
	if _, err := o.positions.append(entries); err != nil {
		o.log.Error("what damage to the groups' positions means could not be kept: it holds until the broker ends", "topic", PositionsTopic, "until", missed.until, "reason", err)
	}
}

// PositionsLost reports whether damage in the positions log may have cost a position in a partition:
// then a group without one begins at the first message.
func (o *offsets) PositionsLost(t *Topic, partition int) bool {
	s, ok := o.losses[group.Key{Group: noGroup, Topic: t.Name, Partition: partition}]
	if !ok || s.TopicID != t.ID {
		return false
	}
	start, _ := t.Partitions()[partition].Offsets()
	return start < s.Offset
}

// lossEntries are the losses whose partitions still have messages of that time.
func (o *offsets) lossEntries() (all []group.Entry) {
	for k, s := range o.losses {
		if t, err := o.topics.Topic(k.Topic); err == nil && k.Partition < len(t.Partitions()) && o.PositionsLost(t, k.Partition) {
			all = append(all, group.Entry{Key: k, State: s})
		}
	}
	return all
}
