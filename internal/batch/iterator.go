package batch

import (
	"iter"
)

// A Record is one message as it lies in its batch. The slices alias the batch
// (or the iterator's buffer, when the batch is compressed) and are valid until
// the iterator moves to another batch.
type Record struct {
	Offset     int64
	Timestamp  int64  // milliseconds since 1970
	Key, Value []byte // nil for null, which is not the same as empty

	headers     []byte
	headerCount int
}

// HeaderCount is the number of headers.
func (r *Record) HeaderCount() int { return r.headerCount }

// Headers yields keys and values in order; a null value is nil.
func (r *Record) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		var k, v []byte
		for range r.headerCount {
			i := 0
			k, i = field32(r.headers, i)
			v, i = field32(r.headers, i)
			if !yield(k, v) {
				return
			}
		}
	}
}

// An Iterator walks the records of one batch after another without allocating
// for each record. Its zero value is ready; it must not be copied after use.
type Iterator struct {
	// MaxExpanded bounds what a compressed batch's records may expand to, in
	// bytes; 0 means DefaultMaxExpanded.
	MaxExpanded int

	p             []byte
	pos           int
	left          int
	base          int64
	baseTime      int64
	appendTime    int64 // overrides every record's own time when logAppendTime
	logAppendTime bool
	delta         int64
	rec           Record
	err           error
	dec           decompressor
}

// Reset points the iterator at the records of b, which is a batch as Next
// returns it, decompressing them first where they are compressed. The CRC is
// not checked.
func (it *Iterator) Reset(b Batch) error {
	it.err = nil
	it.left = b.Count()
	it.base, it.baseTime = b.BaseOffset(), b.BaseTimestamp()
	it.logAppendTime, it.appendTime = b.LogAppendTime(), b.MaxTimestamp()
	it.p, it.pos = b[HeaderSize:], 0
	if codec := b.Codec(); codec != None {
		p, err := it.dec.decompress(codec, b[HeaderSize:], it.maxExpanded())
		if err != nil {
			it.left, it.err = 0, err
			return err
		}
		it.p = p
	}
	return nil
}

func (it *Iterator) maxExpanded() int {
	if it.MaxExpanded > 0 {
		return it.MaxExpanded
	}
	return DefaultMaxExpanded
}

// Next moves to the next record and reports whether there is one. After false,
// Err says whether the batch ended as its header promised.
func (it *Iterator) Next() bool {
	if it.left <= 0 {
		return it.end()
	}
	it.left--
	if it.quick() {
		return true
	}
	size, i := varint32(it.p, it.pos)
	if size < 0 || size > int64(len(it.p)-i) {
		return it.fail("a record's length is wrong")
	}
	it.pos = i + int(size)
	if !it.parse(it.p[i:it.pos:it.pos]) {
		return it.fail("a record's fields do not fit its length")
	}
	return true
}

// end reports false, and an error unless the records end where they should.
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

func (it *Iterator) quick() bool {
	p := it.p
	size, i := shortVarint(p, it.pos)
	end := i + size>>1
	timeDelta, i := shortVarint(p, i+1)
	delta, i := shortVarint(p, i)
	keyLen, key := shortVarint(p, i)
	valueLen, value := shortVarint(p, key+keyLen>>1)
	headers, i := shortVarint(p, value+valueLen>>1)
	if i != end || end > len(p) || (size|delta)&1|headers != 0 || keyLen&1 > 0 && keyLen > 1 || valueLen&1 > 0 && valueLen > 1 {
		return false
	}
	it.pos = end
	it.delta = int64(delta >> 1)
	r := &it.rec
	r.Offset = it.base + int64(delta>>1)
	r.Timestamp = it.appendTime
	if !it.logAppendTime {
		r.Timestamp = it.baseTime + unzigzag(uint64(timeDelta))
	}
	r.Key, r.Value = sub(p, key, keyLen), sub(p, value, valueLen)
	r.headers, r.headerCount = nil, 0
	return true
}

func sub(p []byte, i, u int) []byte {
	if u == 1 {
		return nil
	}
	u >>= 1
	return p[i : i+u : i+u]
}

// parse reads the fields of one record into it.rec and reports whether they
// fill p.
func (it *Iterator) parse(p []byte) bool {
	r := &it.rec
	timeDelta, i := varint64(p, 1) // after the attributes, which are unused
	delta, i := varint32(p, i)
	r.Key, i = field32(p, i)
	r.Value, i = field32(p, i)
	n, i := varint32(p, i)
	if n < 0 || i > len(p) {
		return false
	}
	r.Offset, r.Timestamp = it.base+delta, it.baseTime+timeDelta
	if it.logAppendTime {
		r.Timestamp = it.appendTime
	}
	it.delta = delta
	r.headers, r.headerCount = p[i:], int(n)
	return skipHeaders(p, i, n) == len(p)
}

// skipHeaders is the position after n headers.
func skipHeaders(p []byte, i int, n int64) int {
	for ; n > 0 && i < len(p); n-- {
		var key []byte
		if key, i = field32(p, i); key == nil {
			return past
		}
		_, i = field32(p, i)
	}
	if n > 0 {
		return past
	}
	return i
}

// Record is the record Next moved to.
func (it *Iterator) Record() *Record { return &it.rec }

// Err is why Next returned false, or nil at the end of a sound batch. It wraps
// ErrCorrupt or ErrTooLarge.
func (it *Iterator) Err() error { return it.err }
