package broker

import (
	"mbus/internal/batch"
	"mbus/internal/store"
)

// RecordAt finds the first record of a partition, in the order of the log, that is
// as late as timestamp, in milliseconds since 1970. offset is -1 if there is none.
// What is damaged is passed over.
func RecordAt(log store.Partition, timestamp int64) (offset, at int64, err error) {
	from, err := log.OffsetForTime(timestamp)
	if err != nil {
		return 0, 0, err
	}
	offset, at = -1, -1
	var it batch.Iterator
	err = walk(log, from, passOver, func(b batch.Batch) (bool, error) {
		if b.MaxTimestamp() < timestamp {
			return true, nil
		}
		if err := it.Reset(b); err != nil {
			return false, err
		}
		for it.Next() {
			if r := it.Record(); r.Timestamp >= timestamp {
				offset, at = r.Offset, r.Timestamp
				return false, nil
			}
		}
		return true, it.Err()
	})
	return offset, at, err
}
