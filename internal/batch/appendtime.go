package batch

import "encoding/binary"

// SetAppendTime makes ms, in milliseconds since 1970, the time of every record, as Kafka does
// if message.timestamp.type is LogAppendTime: it sets the attribute, MaxTimestamp and the CRC.
// The records are unchanged.
func (b Batch) SetAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[posAttributes:], b.Attributes()|attrLogAppendTime)
	binary.BigEndian.PutUint64(b[posMaxTime:], uint64(ms))
	binary.BigEndian.PutUint32(b[posCRC:], b.checksum())
}
