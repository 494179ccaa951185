package broker

import "mbus/internal/group"

// HeldBy lists what the members of a group hold and have not settled, by topic, partition and offset;
// max spans at the most.
func HeldBy(v *View, groupName string, max int) []group.Held {
	if v.group(Describe, groupName) != nil {
		return nil
	}
	all := v.broker.offsets.groups.Held(groupName, max)
	kept := all[:0]
	for _, h := range all {
		if v.topic(Describe, h.Topic) == nil {
			kept = append(kept, h)
		}
	}
	return kept
}

// TimeAt is the time of the first message of a partition from an offset on, in milliseconds since 1970;
// false if none can be read.
func (p *Partition) TimeAt(offset int64) (ms int64, ok bool) { return p.broker.ages.timeAt(p, offset) }

// IsConsumed reports whether a group has consumed the message at an offset.
func IsConsumed(v *View, groupName, topic string, partition int, offset int64) bool {
	if v.group(Describe, groupName) != nil || v.topic(Describe, topic) != nil {
		return false
	}
	return v.broker.offsets.groups.IsConsumed(group.Key{Group: groupName, Topic: topic, Partition: partition}, offset)
}
