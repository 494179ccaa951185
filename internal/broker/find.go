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
	err = walkBatches(log, from, func(b batch.Batch, it *batch.Iterator) (bool, error) {
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

// walkPiece is how much of a log is read at once, in bytes.
const walkPiece = 64 << 10

// walkBatches calls f with each batch from the one that holds offset on, until it
// returns false. Damage is passed over.
func walkBatches(log store.Partition, offset int64, f func(batch.Batch, *batch.Iterator) (bool, error)) error {
	var c store.Chunk
	var it batch.Iterator
	defer c.Release()
	var buf []byte
	for {
		err := log.Read(offset, walkPiece, &c)
		if err == nil && c.Len() == 0 {
			return nil
		}
		if err == nil {
			buf, err = c.Load(buf)
		}
		if next, missing := missingUntil(err); missing {
			offset = next
			continue
		}
		if err != nil {
			return err
		}
		for p := buf; len(p) > 0; {
			b, rest, err := batch.Next(p)
			if err != nil {
				return err
			}
			goOn, err := f(b, &it)
			if err != nil || !goOn {
				return err
			}
			offset, p = b.NextOffset(), rest
		}
	}
}
