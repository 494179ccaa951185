package store

import (
	"fmt"
	"strings"
)

// PartitionEpoch is the leader epoch of a partition.
func (t *Topic) PartitionEpoch(partition int) int32 {
	first, epoch := 0, t.Epoch
	for word := range strings.FieldsSeq(t.Grown) {
		from, at := parseGrown(word)
		if from > partition {
			break
		}
		first, epoch = from, at
	}
	return epoch + int32(partition-first)
}

// EpochsEnd is above the epochs of all partitions.
func (t *Topic) EpochsEnd() int32 { return t.PartitionEpoch(t.Partitions-1) + 1 }

// Grow gives the topic partitions, so that it has total; epoch is that of the first
// of them, above all that it has.
func (t *Topic) Grow(total int, epoch int32) {
	if epoch != t.EpochsEnd() {
		t.Grown = strings.TrimSpace(fmt.Sprintf("%s %d:%d", t.Grown, t.Partitions, epoch))
	}
	t.Partitions = total
}

// Shrink takes back that partitions were given to the topic, so that it has total again. It
// reports false, and does nothing, if that is not known of all of them.
func (t *Topic) Shrink(total int) bool {
	words := strings.Fields(t.Grown)
	for i, word := range words {
		if from, _ := parseGrown(word); from >= total {
			if i == 0 && from > total {
				return false
			}
			t.Grown, t.Partitions = strings.Join(words[:i], " "), total
			return true
		}
	}
	if len(words) > 0 {
		t.Partitions = total
	}
	return len(words) > 0
}

// parseGrown reads one word of Grown.
func parseGrown(word string) (from int, epoch int32) {
	_, _ = fmt.Sscanf(word, "%d:%d", &from, &epoch) // written by Grow
	return from, epoch
}
