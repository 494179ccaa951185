package delivery

import (
	"mbus/internal/broker"
	"mbus/internal/units"
)

// A Reset sets the positions of a group in a topic.
type Reset struct {
	Moves []Move // by partition

	view  *broker.View
	group string
	topic *broker.Topic
}

// A Move is that of a position in one partition.
type Move struct {
	From int64 // 0 where no position is kept
	Kept bool
	To   int64
}

// PlanReset says where a reset takes the positions of a group. It changes nothing. The error is a
// *broker.DeniedError, ErrPosition, or that of reading the log.
func PlanReset(v *broker.View, groupName string, t *broker.Topic, to *units.Position) (*Reset, error) {
	if err := v.Allow(broker.Read, broker.GroupResource, groupName); err != nil {
		return nil, err
	}
	logs := t.Partitions()
	if err := CheckFrom(to, len(logs)); err != nil {
		return nil, err
	}
	r := &Reset{Moves: make([]Move, len(logs)), view: v, group: groupName, topic: t}
	for i, log := range logs {
		offset, err := OffsetFrom(to, i, log)
		if err != nil {
			return nil, err
		}
		r.Moves[i].To = offset
	}
	for _, n := range v.Positions(groupName) {
		if n.Topic == t.Name && n.Partition < len(logs) {
			m := &r.Moves[n.Partition]
			m.From, m.Kept = n.Committed, true
		}
	}
	return r, nil
}

// Execute sets the positions. The error is that of View.ResetOffsets.
func (r *Reset) Execute() error {
	offsets := make([]int64, len(r.Moves))
	for i, m := range r.Moves {
		offsets[i] = m.To
	}
	return r.view.ResetOffsets(r.group, r.topic, offsets)
}
