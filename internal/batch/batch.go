// Package batch has Kafka's record batch, version 2, as bytes: it reads the header, verifies,
// stamps and builds batches, and iterates over their records. It does no I/O and keeps no state.
//
// The format is that of KIP-98 and the "Record Batch" section of the Kafka
// protocol guide. All integers are big endian:
//
//	 0        8        12       16      17      21        23
//	+--------+--------+--------+-------+-------+---------+------------
//	| base   | length | leader | magic | CRC-  | attri-  | last
//	| offset | (rest) | epoch  |  = 2  |  32C  | butes   | offset delta
//	+--------+--------+--------+-------+-------+---------+------------
//	 27        35        43         51         53         57      61
//	+---------+---------+----------+----------+----------+-------+---------
//	| base    | max     | producer | producer | base     | count | records
//	| time    | time    | id       | epoch    | sequence |       | …
//	+---------+---------+----------+----------+----------+-------+---------
//
// The CRC covers everything from the attributes to the end, so base offset and
// leader epoch can be stamped without a new CRC.
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"mbus/internal/batch/codec"
)

// HeaderSize is the number of bytes before a batch's records; no batch is
// smaller.
const HeaderSize = 61

// lengthEnd is where the bytes begin that the length field counts.
const lengthEnd = 12

// Positions of the header's fields.
const (
	posLength         = 8
	posEpoch          = 12
	posMagic          = 16
	posCRC            = 17
	posAttributes     = 21
	posLastDelta      = 23
	posBaseTime       = 27
	posMaxTime        = 35
	posProducerID     = 43
	posProducerEpoch  = 51
	posBaseSequence   = 53
	posCount          = 57
	magic             = 2
	codecMask         = 0x07
	attrLogAppendTime = 0x08
	attrControl       = 0x20
)

// NoProducer is the producer id, producer epoch and base sequence of a batch
// whose producer is not idempotent.
const NoProducer = -1

// ErrCorrupt is what every error about a batch's bytes wraps.
var ErrCorrupt = errors.New("corrupt record batch")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Batch is the bytes of one record batch and nothing else. Its methods
// expect at least HeaderSize bytes, which Next and Verify check.
type Batch []byte

// Size returns the size in bytes of the batch at the start of p, which may be
// more than len(p). It needs HeaderSize bytes of p and checks only magic, and that the
// length is between HeaderSize and max.
func Size(p []byte, max int) (int, error) {
	if len(p) < HeaderSize {
		return 0, corrupt("%d bytes are less than a header", len(p))
	}
	if p[posMagic] != magic {
		return 0, corrupt("magic is %d, not %d", p[posMagic], magic)
	}
	n := int64(int32(binary.BigEndian.Uint32(p[posLength:]))) + lengthEnd
	if n < HeaderSize || n > int64(max) {
		return 0, corrupt("size is %d bytes, not %d to %d", n, HeaderSize, max)
	}
	return int(n), nil
}

// Next splits p after its first batch, which must be complete. The records are not read.
func Next(p []byte) (b Batch, rest []byte, err error) {
	n, err := Size(p, len(p))
	if err != nil {
		return nil, p, err
	}
	return Batch(p[:n:n]), p[n:], nil
}

// BaseOffset is the offset of the first record.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b)) }

// LastOffset is the offset of the last record.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset after the last record.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// LeaderEpoch is the leader epoch in which the batch was appended.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[posEpoch:])) }

// CRC is the checksum as stored; see CheckCRC.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[posCRC:]) }

// Attributes are the flags: bits 0 to 2 the codec, bit 3 log append time, bit
// 4 transactional, bit 5 control.
func (b Batch) Attributes() uint16 { return binary.BigEndian.Uint16(b[posAttributes:]) }

// Codec says how the records are compressed.
func (b Batch) Codec() codec.Codec { return codec.Codec(b.Attributes() & codecMask) }

// Compressed reports whether the records are compressed.
func (b Batch) Compressed() bool { return b.Codec() != codec.None }

// IsControl reports whether the records are the broker's own marks, not messages.
func (b Batch) IsControl() bool { return b.Attributes()&attrControl != 0 }

// LogAppendTime reports whether MaxTimestamp is the time of every record.
func (b Batch) LogAppendTime() bool { return b.Attributes()&attrLogAppendTime != 0 }

// LastOffsetDelta is the last record's offset less the base offset.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[posLastDelta:])) }

// BaseTimestamp is the time to which the records' time deltas are added, in milliseconds
// since 1970.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posBaseTime:])) }

// MaxTimestamp is the latest time of any record, in milliseconds since 1970.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[posMaxTime:])) }

// ProducerID is the id of an idempotent producer, or NoProducer.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[posProducerID:])) }

// ProducerEpoch is the idempotent producer's epoch, or NoProducer.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[posProducerEpoch:])) }

// BaseSequence is the idempotent producer's sequence number of the first record, or
// NoProducer.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[posBaseSequence:])) }

// Count is the number of records according to the header.
func (b Batch) Count() int { return int(int32(binary.BigEndian.Uint32(b[posCount:]))) }

// Stamp sets base offset and leader epoch, which the CRC does not cover.
func (b Batch) Stamp(base int64, epoch int32) {
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[posEpoch:], uint32(epoch))
}

// CheckCRC returns an error that wraps ErrCorrupt if the bytes do not have the checksum of the
// header.
func (b Batch) CheckCRC() error {
	if got := b.checksum(); got != b.CRC() {
		return corrupt("CRC-32C is %08x, the header says %08x", got, b.CRC())
	}
	return nil
}

func (b Batch) checksum() uint32 { return crc32.Checksum(b[posAttributes:], castagnoli) }

// Verify checks what a log relies on before it appends a batch: length, magic, CRC, codec,
// counts, and that the records are well formed and their offset deltas run from 0 without a
// gap. it is scratch space, so that verifying allocates nothing; it has the Times of the
// records afterwards. The latest time of the header is not checked: see SetMaxTimestamp.
// Errors wrap ErrCorrupt, or ErrTooLarge if the records or one of them exceed the limits of it.
func (b Batch) Verify(it *Iterator) error {
	n, err := Size(b, len(b))
	if err != nil {
		return err
	}
	switch {
	case n != len(b):
		return corrupt("%d bytes, the header says %d", len(b), n)
	case b.IsControl():
		return corrupt("control batches are the broker's to write")
	case b.Count() < 1:
		return corrupt("count is %d", b.Count())
	case int64(b.LastOffsetDelta()) != int64(b.Count())-1:
		return corrupt("last offset delta is %d with %d records", b.LastOffsetDelta(), b.Count())
	}
	if err := b.CheckCRC(); err != nil {
		return err
	}
	if err := it.Reset(b); err != nil {
		return err
	}
	at, earliest, latest := it.pos, int64(math.MaxInt64), int64(math.MinInt64)
	for it.Next() { // offset deltas ascend from 0 to count-1 at most, so there is no gap
		if n := it.pos - at; it.MaxRecord > 0 && n > it.MaxRecord {
			return fmt.Errorf("%w: a record has %d bytes, the limit is %d", ErrTooLarge, n, it.MaxRecord)
		}
		at = it.pos
		latest = max(latest, it.rec.Timestamp)
		if t := it.rec.Timestamp; t < earliest && t != NoTimestamp {
			earliest = t
		}
	}
	it.earliest, it.latest = min(earliest, latest), latest
	return it.Err()
}
