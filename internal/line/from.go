package line

import (
	"fmt"
	"time"

	"mbus/internal/broker"
	"mbus/internal/units"
)

// A from is a place in a topic: what the option of that name says.
type from struct{ *units.Position }

// parseFrom reads a place. nil is that of the group, which kcat calls stored. A time
// that names no zone is UTC.
func parseFrom(value string, now time.Time) (*from, error) {
	if value == "stored" {
		return nil, nil
	}
	p, err := units.ParsePosition(value, now, time.UTC)
	if err != nil {
		return nil, fmt.Errorf("%w, not %q", err, value)
	}
	return &from{p}, nil
}

// fromEnd says whether the place is counted from the end.
func (f *from) fromEnd() bool {
	return f.Partitions == nil && !f.ByTime && f.Offset != units.Beginning && (f.Offset == units.End || f.Offset < 0)
}

// check says which partition is named that a topic of so many does not have: what is said
// of it was meant for another one, which would begin at its beginning.
func (f *from) check(partitions int) error {
	for i := range f.Partitions {
		if i >= partitions {
			return answer("BADREQUEST", "there is no partition %d: the topic has %d, counted from 0", i, partitions)
		}
	}
	return nil
}

// in is the offset of the place in a partition: the log's start or later, or
// below that if a place was named which the log has forgotten. Behind the end
// is an error.
func (f *from) in(partition int, log *broker.Partition) (int64, error) {
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
		return 0, answer("BADREQUEST", "offset %d of partition %d is behind the end, which is %d", at, partition, high)
	}
	return at, nil
}
