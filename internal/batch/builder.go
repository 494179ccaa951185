package batch

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// A Header is a key and value that travel with a record.
type Header struct {
	Key   string
	Value []byte // nil for null
}

// A Builder writes record batches, one after the other, into one buffer that it
// keeps from use to use. The zero value is ready.
type Builder struct {
	buf      []byte
	start    int // of the open batch in buf
	count    int32
	baseTime int64
	maxTime  int64
}

// Reset forgets everything but the buffer.
func (b *Builder) Reset() {
	b.buf = b.buf[:0]
	b.start, b.count = 0, 0
}

// Add appends a record to the open batch, opening one if there is none.
// timestamp is in milliseconds since 1970; a nil key or value is null. The
// arguments are copied.
func (b *Builder) Add(timestamp int64, key, value []byte, headers ...Header) {
	if b.count == 0 {
		b.open(timestamp)
	}
	b.maxTime = max(b.maxTime, timestamp)
	timeDelta, delta := timestamp-b.baseTime, int64(b.count)
	size := 1 + varintLen(timeDelta) + varintLen(delta) + bytesLen(key) + bytesLen(value) + varintLen(int64(len(headers)))
	for i := range headers {
		size += varintLen(int64(len(headers[i].Key))) + len(headers[i].Key) + bytesLen(headers[i].Value)
	}
	p := binary.AppendVarint(b.buf, int64(size))
	p = append(p, 0)
	p = binary.AppendVarint(p, timeDelta)
	p = binary.AppendVarint(p, delta)
	p = appendBytes(p, key)
	p = appendBytes(p, value)
	p = binary.AppendVarint(p, int64(len(headers)))
	for i := range headers {
		p = binary.AppendVarint(p, int64(len(headers[i].Key)))
		p = append(p, headers[i].Key...)
		p = appendBytes(p, headers[i].Value)
	}
	b.buf = p
	b.count++
}

func (b *Builder) open(timestamp int64) {
	b.start = len(b.buf)
	var zero [HeaderSize]byte
	b.buf = append(b.buf, zero[:]...)
	b.baseTime, b.maxTime = timestamp, timestamp
}

// Count is the number of records in the open batch.
func (b *Builder) Count() int { return int(b.count) }

// OpenSize is the size of the open batch so far in bytes, 0 if none is open.
func (b *Builder) OpenSize() int {
	if b.count == 0 {
		return 0
	}
	return len(b.buf) - b.start
}

// Close finishes the open batch, if there is one, with base as its base offset.
func (b *Builder) Close(base int64) {
	if b.count == 0 {
		return
	}
	h := b.buf[b.start:]
	binary.BigEndian.PutUint64(h, uint64(base))
	binary.BigEndian.PutUint32(h[posLength:], uint32(len(h)-lengthEnd))
	h[posMagic] = magic
	binary.BigEndian.PutUint32(h[posLastDelta:], uint32(b.count-1))
	binary.BigEndian.PutUint64(h[posBaseTime:], uint64(b.baseTime))
	binary.BigEndian.PutUint64(h[posMaxTime:], uint64(b.maxTime))
	for i := posProducerID; i < posCount; i++ {
		h[i] = 0xff // NoProducer in id, epoch and sequence
	}
	binary.BigEndian.PutUint32(h[posCount:], uint32(b.count))
	binary.BigEndian.PutUint32(h[posCRC:], crc32.Checksum(h[posAttributes:], castagnoli))
	b.count = 0
}

// Bytes are the finished batches, valid until the next Reset. Close comes
// first.
func (b *Builder) Bytes() []byte { return b.buf }

// Cap is the size of the buffer that the Builder keeps, in bytes.
func (b *Builder) Cap() int { return cap(b.buf) }

// RecordOverhead bounds what a record without headers takes in a batch beyond
// its key and value, in bytes: seven fields, none longer than a varint may be.
const RecordOverhead = 1 + 5 + 10 + 5 + 5 + 5 + 1

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

func bytesLen(p []byte) int {
	if p == nil {
		return 1
	}
	return varintLen(int64(len(p))) + len(p)
}

func appendBytes(dst, p []byte) []byte {
	if p == nil {
		return append(dst, 1) // -1, zigzag
	}
	dst = binary.AppendVarint(dst, int64(len(p)))
	return append(dst, p...)
}
