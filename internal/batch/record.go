package batch

import "iter"

// A Record is one message as it lies in its batch, all numbers being varints:
//
//	+--------+-------+-------+--------+-----+-----+-------+-------+---------+---------
//	| length | attri-| time  | offset | key | key | value | value | number  | headers
//	| (rest) | butes | delta | delta  | len |     | len   |       | headers | …
//	+--------+-------+-------+--------+-----+-----+-------+-------+---------+---------
//
// A header is a key and a value, each after its length. A length of -1 is null;
// a header's key can't be. The attributes are one byte, unused. The slices alias the batch
// (or the iterator's buffer, when the batch is compressed) and are valid until
// the iterator moves to another batch.
type Record struct {
	Offset     int64
	Timestamp  int64  // milliseconds since 1970
	AppendTime bool   // Timestamp is the log's, not the producer's
	Key, Value []byte // nil for null, which is not the same as empty

	headers     []byte // as they lie in the batch
	headerCount int
}

// HeaderCount is the number of headers.
func (r *Record) HeaderCount() int { return r.headerCount }

// Headers yields keys and values in order; a null value is nil.
func (r *Record) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		i := 0
		for range r.headerCount {
			var k, v []byte
			if k, v, i = r.headerAt(i); !yield(k, v) {
				return
			}
		}
	}
}

// TakeHeader takes the last header with this key out of the record, not out of its
// batch, and returns its value. ok is false where there is none.
func (r *Record) TakeHeader(key string) (value []byte, ok bool) {
	var begin, end int
	for i, n := 0, 0; n < r.headerCount; n++ {
		k, v, next := r.headerAt(i)
		if string(k) == key {
			value, ok, begin, end = v, true, i, next
		}
		i = next
	}
	if ok {
		r.headers = append(r.headers[:begin:begin], r.headers[end:]...)
		r.headerCount--
	}
	return value, ok
}

// headerAt is the header that begins at i, and where the next one does.
func (r *Record) headerAt(i int) (key, value []byte, next int) {
	key, i = readField(r.headers, i)
	value, next = readField(r.headers, i)
	return key, value, next
}
