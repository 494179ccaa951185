package batch

import "encoding/binary"

// NoTimestamp is the time of a record without a time.
const NoTimestamp = -1

// SetMaxTimestamp sets the header's latest time of the records to ms, in milliseconds since
// 1970, and the CRC. The producer's value is not used, because Kafka's clients leave it out (-1)
// or send the time of the last record, and a wrong value would mislead searches by time and
// retention. A batch with LogAppendTime is unchanged, because the field is the time of its
// records.
func (b Batch) SetMaxTimestamp(ms int64) {
	if b.LogAppendTime() || b.MaxTimestamp() == ms {
		return
	}
	binary.BigEndian.PutUint64(b[posMaxTime:], uint64(ms))
	binary.BigEndian.PutUint32(b[posCRC:], b.checksum())
}
