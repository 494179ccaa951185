package batchtest

import (
	"encoding/binary"
	"hash/crc32"

	"mbus/internal/batch"
)

const (
	lengthEnd   = 12   // the length counts what follows
	attrControl = 0x20 // of the attributes
)

// A Record stands at an offset of a batch, counted from its base offset.
type Record struct {
	Delta      int
	Key, Value []byte
}

// Sparse makes a batch as compaction leaves it: it takes span offsets, of which only some have records, in ascending
// order.
func Sparse(span int, records ...Record) batch.Batch { return build(span, 0, records) }

// Empty makes a batch that stands for span removed records.
func Empty(span int) batch.Batch { return build(span, 0, nil) }

// Control makes a control batch of n records, as transactions leave them.
func Control(n int) batch.Batch {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{i, []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 0}} // a commit, see KIP-98
	}
	return build(n, attrControl, records)
}

func build(span int, attributes uint16, records []Record) batch.Batch {
	b := make([]byte, batch.HeaderSize)
	b[PosMagic] = 2
	binary.BigEndian.PutUint16(b[PosAttributes:], attributes)
	binary.BigEndian.PutUint32(b[PosLastOffsetDelta:], uint32(span-1))
	binary.BigEndian.PutUint32(b[PosCount:], uint32(len(records)))
	for i := range 14 {
		b[PosProducerID+i] = 0xff // no id, epoch and base sequence
	}
	for _, r := range records {
		p := []byte{0, 0} // attributes, and the same time as the first
		p = binary.AppendVarint(p, int64(r.Delta))
		for _, field := range [][]byte{r.Key, r.Value} {
			if field == nil {
				p = binary.AppendVarint(p, -1)
				continue
			}
			p = append(binary.AppendVarint(p, int64(len(field))), field...)
		}
		p = append(p, 0) // headers
		b = append(binary.AppendVarint(b, int64(len(p))), p...)
	}
	binary.BigEndian.PutUint32(b[PosLength:], uint32(len(b)-lengthEnd))
	binary.BigEndian.PutUint32(b[PosCRC:], crc32.Checksum(b[PosAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}
