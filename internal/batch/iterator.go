package batch

import (
	"errors"

	"mbus/internal/batch/codec"
)

// DefaultMaxExpanded is the default limit for the size of a batch's expanded records: 64 MiB,
// far above an honest batch of 1 MiB and far below a decompression bomb.
const DefaultMaxExpanded = 64 << 20

// ErrTooLarge is the error for a batch whose records, or one of them, would expand
// beyond the limit.
var ErrTooLarge = codec.ErrTooLarge

// An Iterator walks the records of one batch after another without allocating
// for each record. Its zero value is ready; it must not be copied after use.
//
// From one compressed batch to the next it keeps the decoder, which takes up to
// half a MiB (zstd), and the buffer. There is nothing to close; assign Iterator{} to
// release both.
type Iterator struct {
	// MaxExpanded is the limit for the size of a compressed batch's expanded records, in
	// bytes; 0 means DefaultMaxExpanded.
	MaxExpanded int

	// MaxRecord is the limit for the size of a record in a batch that Verify accepts, in
	// bytes; 0 means no limit.
	MaxRecord int

	p             []byte // the records, expanded
	pos           int    // of the next one
	left          int    // records to come
	base          int64
	baseTime      int64
	appendTime    int64 // overrides every record's own time when logAppendTime
	logAppendTime bool
	delta         int64 // offset delta of the current record, -1 before the first
	lastDelta     int64 // of the last record, from the header
	rec           Record
	earliest      int64 // of the batch that Verify has accepted
	latest        int64
	err           error
	dec           codec.Decoder
}

// Reset points the iterator at the records of b, which is a batch as Next
// returns it, decompressing them first where they are compressed. The CRC is
// not checked.
func (it *Iterator) Reset(b Batch) error {
	it.err = nil
	it.left = b.Count()
	it.base, it.baseTime = b.BaseOffset(), b.BaseTimestamp()
	it.logAppendTime, it.appendTime = b.LogAppendTime(), b.MaxTimestamp()
	it.delta, it.lastDelta = -1, int64(b.LastOffsetDelta())
	it.rec = Record{AppendTime: it.logAppendTime}
	it.p, it.pos = b[HeaderSize:], 0
	it.dec.Trim()
	if b.Compressed() {
		p, err := it.dec.Expand(b.Codec(), b[HeaderSize:], it.maxExpanded())
		if err != nil && !errors.Is(err, ErrTooLarge) {
			err = corrupt("%v", err)
		}
		if err != nil {
			it.left, it.err = 0, err
			return err
		}
		it.p = p
	}
	return nil
}

// Records are the batch's records as bytes, expanded where they were compressed. They
// are valid as long as the iterator's Record is.
func (it *Iterator) Records() []byte { return it.p }

// Times are the earliest and the latest time of the records of the batch that Verify has
// accepted, in milliseconds since 1970. A record without a time (NoTimestamp) counts as
// the earliest only if all are without.
func (it *Iterator) Times() (earliest, latest int64) { return it.earliest, it.latest }

// Expanded is the size in bytes of the buffer for expanded records, which is kept for the
// next batch.
func (it *Iterator) Expanded() int { return it.dec.Size() }

func (it *Iterator) maxExpanded() int {
	if it.MaxExpanded > 0 {
		return it.MaxExpanded
	}
	return DefaultMaxExpanded
}

// Next moves to the next record and reports whether there is one. After false,
// Err says whether the batch is as its header says. The offsets of a batch ascend and
// are at most its LastOffset.
func (it *Iterator) Next() bool {
	if it.left <= 0 {
		return it.end()
	}
	it.left--
	return it.nextPlain() || it.next()
}

// end reports false. It is an error if bytes follow the last record.
func (it *Iterator) end() bool {
	if n := len(it.p) - it.pos; n > 0 && it.err == nil {
		it.fail("%d bytes after the last record", n)
	}
	return false
}

func (it *Iterator) fail(format string, args ...any) bool {
	it.left, it.err = 0, corrupt(format, args...)
	return false
}

// nextPlain is a fast next for the usual records, without headers and with short varints. For
// other records, and for damaged ones, it does nothing and reports false.
func (it *Iterator) nextPlain() bool {
	p := it.p
	size, i := shortVarint(p, it.pos)
	end := i + size>>1
	timeDelta, i := shortVarint(p, i+1) // after the attributes, which are unused
	delta, i := shortVarint(p, i)
	keyLen, key := shortVarint(p, i)
	valueLen, value := shortVarint(p, key+keyLen>>1)
	headers, i := shortVarint(p, value+valueLen>>1)
	if i != end || end > len(p) || (size|delta)&1 != 0 || headers != 0 || !plainLen(keyLen) || !plainLen(valueLen) {
		return false
	}
	if d := int64(delta >> 1); d <= it.delta || d > it.lastDelta {
		return false
	}
	it.pos = end
	it.set(int64(delta>>1), unzigzag(uint64(timeDelta)))
	it.rec.Key, it.rec.Value = plainField(p, key, keyLen), plainField(p, value, valueLen)
	it.rec.headers, it.rec.headerCount = nil, 0
	return true
}

// next reads the next record of any form.
func (it *Iterator) next() bool {
	size, i := varint32(it.p, it.pos)
	if size < 0 || size > int64(len(it.p)-i) {
		return it.fail("a record's length is wrong")
	}
	it.pos = i + int(size)
	p := it.p[i:it.pos:it.pos]
	timeDelta, i := varint64(p, 1)
	delta, i := varint32(p, i)
	r := &it.rec
	r.Key, i = readField(p, i)
	r.Value, i = readField(p, i)
	headers, i := varint32(p, i)
	if i > len(p) || skipHeaders(p, i, headers) != len(p) {
		return it.fail("a record's fields do not fit its length")
	}
	if delta <= it.delta || delta > it.lastDelta {
		return it.fail("offset delta %d after %d, the last being %d", delta, it.delta, it.lastDelta)
	}
	it.set(delta, timeDelta)
	r.headers, r.headerCount = p[i:], int(headers)
	return true
}

// set sets the offset and time of the current record. The sums may overflow, as in Kafka's
// clients; nothing else depends on them.
func (it *Iterator) set(delta, timeDelta int64) {
	it.delta = delta
	it.rec.Offset = it.base + delta
	it.rec.Timestamp = it.appendTime
	if !it.logAppendTime {
		it.rec.Timestamp = it.baseTime + timeDelta
	}
}

// skipHeaders is the position after n headers, each of which has a key.
func skipHeaders(p []byte, i int, n int64) int {
	if n < 0 || n > int64(len(p)-i) {
		return past
	}
	for range n {
		var key []byte
		if key, i = readField(p, i); key == nil {
			return past
		}
		_, i = readField(p, i)
	}
	return i
}

// Record is the record Next moved to.
func (it *Iterator) Record() *Record { return &it.rec }

// Err is the reason why Next returned false, nil at the end of a well-formed batch. It wraps
// ErrCorrupt or ErrTooLarge.
func (it *Iterator) Err() error { return it.err }
