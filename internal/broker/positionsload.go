package broker

import (
	"errors"
	"fmt"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/store"
)

// A loading reads the positions log at the start. Unreadable records are reported and passed over:
// then an earlier record of the same position holds, so that messages come again; see losses
// for positions without one.
type loading struct {
	of     *offsets
	it     batch.Iterator
	states map[group.Key]group.State
	losses losses
	missed damagedPart
}

// load reads the positions log, and puts right positions that do not fit the topics: see judge. If
// the positions log as a whole can't be used no group can be, because without positions it would
// get all messages again, or skip some if it begins at the end.
func (o *offsets) load() error {
	t, err := o.topics.Topic(PositionsTopic)
	switch {
	case errors.Is(err, store.ErrUnknownTopic):
		return nil
	case err != nil: // everything else works
		o.unusable = err
		o.log.Error("the groups' positions can't be used: no group can consume or commit until their topic is put back", "topic", PositionsTopic, "reason", err)
		return nil
	}
	log := t.Partitions()[0]
	o.positions.log = log
	l := &loading{of: o, states: make(map[group.Key]group.State), losses: make(losses)}
	start, _ := log.Offsets()
	if err := walk(log, start, l.lost, l.replay); err != nil {
		return err
	}
	o.noteLosses(l.losses, l.missed)
	l.load()
	return nil
}

// lost reports damage or a gap of the positions log.
func (l *loading) lost(err error) error {
	next, _ := missingUntil(err)
	l.miss(next, "reason", err)
	return nil
}

// miss reports records up to next that can't be read.
func (l *loading) miss(next int64, args ...any) {
	l.missed.until = next
	l.missed.runs++
	l.of.log.Error("positions of groups can't be read: groups whose latest position is among them go on at an earlier one, and messages come again; "+
		"groups of which nothing else is kept begin at the first message, also those that would begin at the end",
		append(args, "topic", PositionsTopic, "until", next,
			"do", "copy the topic's directory to keep the damaged records: compaction removes them")...)
}

// replay reads the records of a batch.
func (l *loading) replay(bt batch.Batch) (goOn bool, err error) {
	l.of.positions.bytes += int64(len(bt))
	next := bt.BaseOffset()
	if err := l.it.Reset(bt); err != nil {
		l.miss(bt.NextOffset(), "first", next, "reason", err)
		return true, nil
	}
	for l.it.Next() {
		r := l.it.Record()
		next = r.Offset + 1
		l.of.positions.records++
		k, err := group.ParseKey(r.Key)
		if err != nil {
			l.miss(next, "first", r.Offset, "reason", fmt.Errorf("key: %w", err))
			continue
		}
		if err := l.set(k, r.Value); err != nil {
			l.miss(next, "first", r.Offset, "group", k.Group, "of", k.Topic, "partition", k.Partition, "reason", err)
		}
	}
	if err := l.it.Err(); err != nil {
		l.miss(bt.NextOffset(), "first", next, "reason", err)
	}
	return true, nil
}

// set sets the position of a key; without a value it deletes the position.
func (l *loading) set(k group.Key, value []byte) error {
	if value == nil {
		delete(l.states, k)
		return nil
	}
	s, err := group.ParseValue(value)
	switch {
	case err != nil:
		return err
	case k.Group == noGroup:
		l.losses[k] = s
	default:
		l.states[k] = s
	}
	return nil
}

// A verdict is what is done with a position at the start.
type verdict int

const (
	asItIs      verdict = iota
	clamped             // beyond the end of its log: it is set to the end
	noTopic             // its topic is missing: it is kept until the topic is back, or deleted
	noPartition         // its topic has fewer partitions: it is kept until there are as many
	orphan              // its topic was deleted: it is forgotten
	taken               // another topic has the name: it is forgotten
	expected            // its topic was still to be created
)

// judge decides about a position, and changes s accordingly. Positions are forgotten only if
// their topic was certainly deleted, or if another topic has its name: a directory that is
// missing may be put back.
func (o *offsets) judge(k group.Key, s *group.State) verdict {
	t, err := o.topics.Topic(k.Topic)
	older := s.TopicID == (group.ID{}) // of a version without ids
	switch {
	case s.TopicID == group.Early:
		return expected
	case err == nil && older:
		s.TopicID = t.ID
		return judgeIn(t, k.Partition, s)
	case err == nil && s.TopicID == t.ID:
		return judgeIn(t, k.Partition, s)
	case older && errors.Is(err, store.ErrUnknownTopic), !older && o.store.Deleted(s.TopicID):
		return orphan
	case err == nil:
		return taken
	}
	return noTopic
}

// judgeIn is judge for a position in an existing topic.
func judgeIn(t *Topic, partition int, s *group.State) verdict {
	all := t.Partitions()
	if partition >= len(all) {
		return noPartition
	}
	if all[partition].Available() != nil { // its end is not known
		return asItIs
	}
	if _, end := all[partition].Offsets(); s.Clamp(end) {
		return clamped
	}
	return asItIs
}

// load gives the positions to the groups, and forgets those whose topics were deleted.
func (l *loading) load() {
	o := l.of
	forget := make(map[group.Key]bool)
	counts := make(map[verdict]map[string]int) // by topic
	early := make(map[string]bool)             // topics
	var moved []*group.Position
	for k, s := range l.states {
		was := s.Offset
		v := o.judge(k, &s)
		p := o.groups.Load(k, s)
		switch v {
		case clamped:
			o.warnBeyond(k, was, s.Offset)
			moved = append(moved, p)
		case orphan, taken:
			forget[k] = true
		case expected:
			early[k.Topic] = true
		}
		if counts[v] == nil {
			counts[v] = make(map[string]int)
		}
		counts[v][k.Topic]++
	}
	o.warnPositions(counts[noTopic], "groups have positions in a topic that is missing or can't be used: they are kept until it is back, or is deleted")
	o.warnPositions(counts[noPartition], "groups have positions in partitions that the topic does not have: they are kept until its topic.json is as it was")
	o.warnPositions(counts[taken], "groups had positions in another topic of this name, which is missing: they are forgotten")
	o.missing = counts[noTopic]
	if len(forget) > 0 {
		o.groups.DeleteAll(func(k group.Key) bool { return forget[k] })
	}
	for _, p := range moved {
		p.Rewrite()
	}
	o.expectAgain(early)
}

// warnPositions reports positions by topic.
func (o *offsets) warnPositions(counts map[string]int, text string) {
	for topic, n := range counts {
		o.log.Warn(text, "topic", topic, "positions", n)
	}
}

// warnBeyond logs that a position was set back to the end of its log.
func (o *offsets) warnBeyond(k group.Key, was, end int64) {
	o.log.Warn("a position was beyond the end of its log, and is set to the end: the log has lost messages, or the position was set there",
		"group", k.Group, "topic", k.Topic, "partition", k.Partition, "position", was, "end", end)
}
