package store

import "slices"

// An EpochStart says that from a partition on the leader epochs of a topic are others: that of
// the partition is Epoch, that of the next one is one more, and so on.
type EpochStart struct {
	Partition int
	Epoch     int32
}

// PartitionEpoch is the leader epoch of a partition.
func (t *Topic) PartitionEpoch(partition int) int32 {
	of := EpochStart{0, t.Epoch}
	for _, s := range t.Epochs {
		if s.Partition > partition {
			break
		}
		of = s
	}
	return of.Epoch + int32(partition-of.Partition)
}

// EpochsEnd is above the epochs of all partitions.
func (t *Topic) EpochsEnd() int32 { return t.PartitionEpoch(t.Partitions-1) + 1 }

// Grow gives the topic partitions, so that it has total; epoch is that of the first
// of them, above all that it has.
func (t *Topic) Grow(total int, epoch int32) {
	if epoch != t.EpochsEnd() {
		t.Epochs = append(slices.Clip(t.Epochs), EpochStart{t.Partitions, epoch}) // a copy: others may have the old one
	}
	t.Partitions = total
}

// Shrink takes back that partitions were given to the topic, so that it has total again. It
// reports false, and does nothing, if that is not known of all of them.
func (t *Topic) Shrink(total int) bool {
	for i, s := range t.Epochs {
		if s.Partition >= total {
			if i == 0 && s.Partition > total {
				return false
			}
			t.Epochs, t.Partitions = t.Epochs[:i:i], total
			return true
		}
	}
	if len(t.Epochs) > 0 {
		t.Partitions = total
	}
	return len(t.Epochs) > 0
}

// Equal says whether two topics are the same in everything.
func (t *Topic) Equal(o *Topic) bool {
	return t.Name == o.Name && t.ID == o.ID && t.Partitions == o.Partitions && t.Epoch == o.Epoch &&
		slices.Equal(t.Epochs, o.Epochs) && t.Config == o.Config
}
