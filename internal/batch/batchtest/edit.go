package batchtest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/codec"
	"mbus/internal/batch/codec/codectest"
)

// Positions of fields in the header of a batch, in bytes: see FORMAT.md.
const (
	PosLength          = 8
	PosMagic           = 16
	PosCRC             = 17
	PosAttributes      = 21
	PosLastOffsetDelta = 23
	PosMaxTimestamp    = 35
	PosProducerID      = 43
	PosProducerEpoch   = 51
	PosBaseSequence    = 53
	PosCount           = 57
)

// Codecs are all codecs.
var Codecs = []codec.Codec{codec.None, codec.Gzip, codec.Snappy, codec.LZ4, codec.Zstd}

// Values is a batch of records without keys, at the times 1000, 1001 and so on.
func Values(values ...string) batch.Batch {
	var b batch.Builder
	for i, v := range values {
		b.Add(1000+int64(i), nil, []byte(v))
	}
	b.Close(0)
	return bytes.Clone(b.Bytes())
}

// Times is a batch of records with these times, in milliseconds since 1970.
func Times(times ...int64) batch.Batch {
	var b batch.Builder
	for _, t := range times {
		b.Add(t, nil, []byte("x"))
	}
	b.Close(0)
	return bytes.Clone(b.Bytes())
}

// Seal corrects the length and the CRC of b, and returns it.
func Seal(b []byte) batch.Batch {
	binary.BigEndian.PutUint32(b[PosLength:], uint32(len(b)-PosLength-4))
	binary.BigEndian.PutUint32(b[PosCRC:], crc32.Checksum(b[PosAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// Edit is a copy of b with other bytes at a position, sealed.
func Edit(b []byte, pos int, with ...byte) batch.Batch {
	b = bytes.Clone(b)
	copy(b[pos:], with)
	return Seal(b)
}

// Idempotent is a copy of b that an idempotent producer could send.
func Idempotent(b []byte, producer int64, epoch int16, sequence int32) batch.Batch {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint64(b[PosProducerID:], uint64(producer))
	binary.BigEndian.PutUint16(b[PosProducerEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(b[PosBaseSequence:], uint32(sequence))
	return Seal(b)
}

// Compress is a copy of b with its records compressed.
func Compress(t testing.TB, c codec.Codec, b batch.Batch) batch.Batch {
	t.Helper()
	records := b[batch.HeaderSize:]
	if i := slices.IndexFunc(codectest.Packings, func(p codectest.Packing) bool { return p.Codec == c }); i >= 0 {
		records = codectest.Packings[i].Pack(t, records)
	}
	return Edit(slices.Concat(b[:batch.HeaderSize], records), PosAttributes+1, b[PosAttributes+1]&^7|byte(c))
}
