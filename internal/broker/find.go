package broker

import (
	"mbus/internal/batch"
)

// RecordAt finds the first record of a partition, in the order of the log, that is
// as late as timestamp, in milliseconds since 1970. offset is -1 if there is none.
// Damage is passed over, and so are the records below the log start in its batch.
func RecordAt(log *Partition, timestamp int64) (offset, at int64, err error) {
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
				if r := it.Record(); r.Offset >= from && r.Timestamp >= timestamp {
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

// LatestRecord finds the first of the records with the highest time; offset is -1 if
// there is no record.
func LatestRecord(log *Partition) (offset, at int64, err error) {
	start, high := log.Offsets()
	if start == high {
		return -1, -1, nil
	}
	lo, hi := int64(0), int64(1)<<62 // the highest time is at least lo, and less than hi
	for lo+1 < hi {
		middle := lo + (hi-lo)/2
		from, err := log.OffsetForTime(middle)
		if err != nil {
			return 0, 0, err
		}
		if from < high {
			lo = middle
		} else {
			hi = middle
		}
	}
	if offset, at, err = RecordAt(log, lo); offset >= 0 || err != nil {
		return offset, at, err
	}
	return latestFrom(log, start)
}

// latestFrom is LatestRecord for a log whose highest time is that of a record below the log
// start, in the batch that holds it: all of the log is read.
func latestFrom(log *Partition, start int64) (offset, at int64, err error) {
	offset, at = -1, -1
	err = walk(log, start, passOver, func(b batch.Batch) (goOn bool, err error) {
		if b.MaxTimestamp() <= at {
			return true, nil
		}
		return true, Scan(func(it *batch.Iterator) error {
			if err := it.Reset(b); err != nil {
				return err
			}
			for it.Next() {
				if r := it.Record(); r.Offset >= start && r.Timestamp > at {
					offset, at = r.Offset, r.Timestamp
				}
			}
			return it.Err()
		})
	})
	return offset, at, err
}
