package batch

import "encoding/binary"

// NoTimestamp is the time of a record whose producer has given it none.
const NoTimestamp = -1

// SetMaxTimestamp makes ms, in milliseconds since 1970, what the header says of the
// latest time of the records, and computes the CRC again if that is new. A producer's
// claim is not believed: Kafka's clients leave it out (-1) or give the last record's,
// and what is too late or too early would mislead searches by time, and retention. A
// batch that has the time of a log stays as it is: there it is the time itself.
func (b Batch) SetMaxTimestamp(ms int64) {
	if b.LogAppendTime() || b.MaxTimestamp() == ms {
		return
	}
	binary.BigEndian.PutUint64(b[posMaxTime:], uint64(ms))
	binary.BigEndian.PutUint32(b[posCRC:], b.checksum())
}
