package batch

import (
	"encoding/binary"
	"math"
)

// MendMaxTimestamp sets the batch's latest time, where its producer has left it
// out, to that of its records, and its CRC with it: retention would take such a
// batch for one that is ancient. It has been left out if it is before the first
// record's; any other value is taken as it is. The batch has been verified. it is
// scratch space.
func (b Batch) MendMaxTimestamp(it *Iterator) error {
	if b.LogAppendTime() || b.MaxTimestamp() >= b.BaseTimestamp() {
		return nil
	}
	if err := it.Reset(b); err != nil {
		return err
	}
	latest := int64(math.MinInt64)
	for it.Next() {
		latest = max(latest, it.rec.Timestamp)
	}
	binary.BigEndian.PutUint64(b[posMaxTime:], uint64(latest))
	binary.BigEndian.PutUint32(b[posCRC:], b.checksum())
	return it.Err()
}
