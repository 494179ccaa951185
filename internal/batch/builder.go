package batch

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// A Header is a key and value that travel with a record.
type Header struct {
	Key   string
	Value []byte // nil for null
}

// A Builder writes record batches, one after the other, into a buffer that it keeps. The zero
// value is ready. Callers keep a batch below 2 GiB; see OpenSize.
type Builder struct {
	buf       []byte
	start     int // of the open batch in buf
	count     int32
	lastDelta int32
	baseTime  int64
	maxTime   int64
}

// Grow makes room for n bytes of batches.
func (b *Builder) Grow(n int) { b.buf = slices.Grow(b.buf, n) }

// RecordOverhead is the largest size in bytes of a record without headers, beyond key and
// value: seven fields of the longest varints.
const RecordOverhead = 1 + 5 + 10 + 5 + 5 + 5 + 1

// Reset removes all batches and keeps the buffer.
func (b *Builder) Reset() {
	b.buf = b.buf[:0]
	b.start, b.count = 0, 0
}

// Add appends a record to the open batch, opening one if there is none.
// timestamp is in milliseconds since 1970; a nil key or value is null. The
// arguments are copied.
func (b *Builder) Add(timestamp int64, key, value []byte, headers ...Header) {
	if len(headers) == 0 { // the usual case
		b.add(b.count, timestamp, key, value, 0, 0)
		return
	}
	b.add(b.count, timestamp, key, value, len(headers), headersLen(headers))
	b.addHeaders(headers)
}

// headersLen is the size of headers in a record, in bytes.
func headersLen(headers []Header) (size int) {
	for i := range headers {
		size += varintLen(len(headers[i].Key)) + len(headers[i].Key) + fieldLen(headers[i].Value)
	}
	return size
}

func (b *Builder) addHeaders(headers []Header) {
	for i := range headers {
		b.buf = binary.AppendVarint(b.buf, int64(len(headers[i].Key)))
		b.buf = append(b.buf, headers[i].Key...)
		b.buf = appendField(b.buf, headers[i].Value)
	}
}

// AddRecord appends a copy of r, headers included, to the open batch, opening
// one if there is none. The copy has the next offset, not that of r.
func (b *Builder) AddRecord(r *Record) { b.addRecord(b.count, r) }

func (b *Builder) addRecord(delta int32, r *Record, more ...Header) {
	b.add(delta, r.Timestamp, r.Key, r.Value, r.headerCount+len(more), len(r.headers)+headersLen(more))
	b.buf = append(b.buf, r.headers...)
	b.addHeaders(more)
}

// add appends a record up to the number of its headers. The caller appends the headers, which
// have size bytes.
func (b *Builder) add(delta int32, timestamp int64, key, value []byte, headers, size int) {
	if b.count == 0 {
		b.open(timestamp)
	}
	b.count++
	b.lastDelta = delta
	b.maxTime = max(b.maxTime, timestamp)
	timeDelta := zigzag(timestamp - b.baseTime) // may overflow, and back when it is added to the base time
	size += 1 + uvarintLen(timeDelta) + varintLen(int(delta)) + fieldLen(key) + fieldLen(value) + varintLen(headers)

	i := len(b.buf)
	p := slices.Grow(b.buf, size+binary.MaxVarintLen32)
	p = p[:cap(p)]
	i = putUvarint(p, i, zigzag(int64(size)))
	p[i] = 0 // attributes
	i = putUvarint(p, i+1, timeDelta)
	i = putUvarint(p, i, zigzag(int64(delta)))
	i = putField(p, i, key)
	i = putField(p, i, value)
	i = putUvarint(p, i, zigzag(int64(headers)))
	b.buf = p[:i]
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
func (b *Builder) Close(base int64) { b.CloseFor(base, none) }

// CloseFor is Close for a batch of an idempotent producer.
func (b *Builder) CloseFor(base int64, p Producer) {
	if b.count == 0 {
		return
	}
	h := b.buf[b.start:]
	binary.BigEndian.PutUint64(h, uint64(base))
	binary.BigEndian.PutUint32(h[posLength:], uint32(len(h)-lengthEnd))
	h[posMagic] = magic
	binary.BigEndian.PutUint32(h[posLastDelta:], uint32(b.lastDelta))
	binary.BigEndian.PutUint64(h[posBaseTime:], uint64(b.baseTime))
	binary.BigEndian.PutUint64(h[posMaxTime:], uint64(b.maxTime))
	p.put(h)
	binary.BigEndian.PutUint32(h[posCount:], uint32(b.count))
	binary.BigEndian.PutUint32(h[posCRC:], crc32.Checksum(h[posAttributes:], castagnoli))
	b.count = 0
}

// Bytes are the finished batches, valid until the next Reset. Close comes
// first.
func (b *Builder) Bytes() []byte { return b.buf }

// Cap is the size of the buffer that the Builder keeps, in bytes.
func (b *Builder) Cap() int { return cap(b.buf) }
