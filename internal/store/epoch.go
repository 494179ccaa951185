package store

import "slices"

// An EpochStart is the leader epoch of a partition that was added later; each next partition has one
// more.
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

// Grow adds partitions, so that the topic has total. epoch is the epoch of the first new one, above all
// others.
func (t *Topic) Grow(total int, epoch int32) {
	if epoch != t.EpochsEnd() {
		t.Epochs = append(slices.Clip(t.Epochs), EpochStart{t.Partitions, epoch}) // a copy, because others may have the old one
	}
	t.Partitions = total
}

// Shrink removes partitions that were added later, so that the topic has total again. It returns
// false, and does nothing, if it is not known that all of them were added later.
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

// Equal says whether two topics are equal.
func (t *Topic) Equal(o *Topic) bool {
	return t.Name == o.Name && t.ID == o.ID && t.Partitions == o.Partitions && t.Epoch == o.Epoch &&
		slices.Equal(t.Epochs, o.Epochs) && t.Config == o.Config
}
