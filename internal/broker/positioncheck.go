package broker

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/store"
)

// A PositionCheck compares the groups' positions with the topics, in a data directory that no
// broker uses. It finds what the next start would report and put right.
type PositionCheck struct {
	states   map[group.Key]group.State
	findings []PositionFinding
}

// A PositionFinding is about positions in a partition, or in a topic with partition -1.
type PositionFinding struct {
	Topic       string
	Partition   int
	First, Next int64 // offsets from First up to but not including Next; equal for none
	Reason      error
}

// Batch reads a batch of PositionsTopic. Batches come in the log's order.
func (c *PositionCheck) Batch(b batch.Batch) {
	if c.states == nil {
		c.states = make(map[group.Key]group.State)
	}
	if err := Scan(func(it *batch.Iterator) error { return c.replay(b, it) }); err != nil {
		c.find(PositionFinding{PositionsTopic, 0, b.BaseOffset(), b.NextOffset(), err})
	}
}

func (c *PositionCheck) find(f PositionFinding) { c.findings = append(c.findings, f) }

func (c *PositionCheck) replay(b batch.Batch, it *batch.Iterator) error {
	if err := it.Reset(b); err != nil {
		return err
	}
	for it.Next() {
		r := it.Record()
		k, err := group.ParseKey(r.Key)
		var s group.State
		if err == nil && r.Value != nil {
			s, err = group.ParseValue(r.Value)
		}
		switch {
		case err != nil:
			c.find(PositionFinding{PositionsTopic, 0, r.Offset, r.Offset + 1, err})
		case r.Value == nil:
			delete(c.states, k)
		case k.Group != noGroup:
			c.states[k] = s
		}
	}
	return it.Err()
}

// Compare returns the findings by topic and partition. topics are the existing topics, and ends
// the ends of their logs by partition; nil for a topic that can't be used. deleted is as
// store.Store.Deleted.
func (c *PositionCheck) Compare(topics []store.Topic, ends [][]int64, deleted func(id [16]byte) bool) []PositionFinding {
	number := make(map[string]int, len(topics))
	for i, t := range topics {
		number[t.Name] = i
	}
	found := make(map[topicPartition]PositionFinding) // the position that is furthest
	for k, s := range c.states {
		var f PositionFinding
		var wrong bool
		if i, there := number[k.Topic]; there {
			f, wrong = compareIn(k, s, topics[i], ends[i], deleted)
		} else if s.TopicID != (group.ID{}) && s.TopicID != group.Early && !deleted(s.TopicID) {
			f, wrong = inMissing(k, s, "it is not there"), true
		}
		p := topicPartition{f.Topic, f.Partition}
		if before, twice := found[p]; wrong && (!twice || before.Next < f.Next) {
			found[p] = f
		}
	}
	for _, f := range found {
		c.find(f)
	}
	slices.SortStableFunc(c.findings, func(a, b PositionFinding) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.First, b.First))
	})
	return c.findings
}

// compareIn compares a position with a topic of its name.
func compareIn(k group.Key, s group.State, t store.Topic, ends []int64, deleted func(id [16]byte) bool) (f PositionFinding, wrong bool) {
	other := s.TopicID != (group.ID{}) && s.TopicID != t.ID
	switch {
	case ends == nil || s.TopicID == group.Early || other && deleted(s.TopicID):
		return f, false
	case other:
		return inMissing(k, s, "another topic has its name: the next start forgets them"), true
	case k.Partition >= len(ends):
		return PositionFinding{k.Topic, k.Partition, 0, 0, fmt.Errorf("group %q has a position in it, and the topic has %d partitions", k.Group, len(ends))}, true
	}
	end, furthest := ends[k.Partition], s.Offset
	for _, b := range s.AckedAhead {
		furthest = max(furthest, b.To)
	}
	if furthest <= end {
		return f, false
	}
	return PositionFinding{k.Topic, k.Partition, end, furthest, fmt.Errorf(
		"the position of group %q is beyond the end, which is %d: the log has lost messages, or the position was set there; the next start sets it to the end", k.Group, end)}, true
}

func inMissing(k group.Key, s group.State, how string) PositionFinding {
	return PositionFinding{k.Topic, -1, 0, 0, fmt.Errorf("group %q has a position in the topic with id %s, and %s", k.Group, hex.EncodeToString(s.TopicID[:]), how)}
}
