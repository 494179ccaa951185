package delivery

import (
	"mbus/internal/broker"
	"mbus/internal/units"
)

// fromEnd says whether a position is counted from the end.
func fromEnd(f *units.Position) bool {
	return f.Partitions == nil && !f.ByTime && f.Offset != units.Beginning && (f.Offset == units.End || f.Offset < 0)
}

// CheckFrom refuses a position that names a partition that a topic of so many does not have:
// it was meant for another topic, and partitions that are not named begin at their beginning.
func CheckFrom(f *units.Position, partitions int) error {
	for i := range f.Partitions {
		if i >= partitions {
			return noPartition(i, partitions)
		}
	}
	return nil
}

func noPartition(number, partitions int) error {
	return errorf(ErrPosition, "there is no partition %d: the topic has %d, counted from 0", number, partitions)
}

// OffsetFrom is the offset of a position in a partition: the log's start or later, or
// below that if an offset was named which the log has forgotten. Behind the end
// is an error.
func OffsetFrom(f *units.Position, partition int, log *broker.Partition) (int64, error) {
	start, high := log.Offsets()
	at := f.Offset
	if f.Partitions != nil {
		var named bool
		if at, named = f.Partitions[partition]; !named {
			at = units.Beginning
		}
	}
	switch {
	case f.ByTime:
		offset, _, err := broker.RecordAt(log, f.Time)
		if offset < 0 {
			offset = high
		}
		return offset, err
	case at == units.Beginning:
		return start, nil
	case at == units.End:
		return high, nil
	case at < 0:
		return max(start, high+at), nil
	case at > high:
		return 0, errorf(ErrPosition, "offset %d of partition %d is behind the end, which is %d", at, partition, high)
	}
	return at, nil
}
