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
	err = walk(log, from, passOver, func(b batch.Batch) (goOn bool, err error) {
		if b.MaxTimestamp() < timestamp {
			return true, nil
		}
		err = Scan(func(it *batch.Iterator) error {
			if err := it.Reset(b); err != nil {
				return err
			}
			for it.Next() {
				if r := it.Record(); r.Timestamp >= timestamp {
					offset, at = r.Offset, r.Timestamp
					return nil
				}
			}
			goOn = true
			return it.Err()
		})
		return goOn, err
	})
	return offset, at, err
}
