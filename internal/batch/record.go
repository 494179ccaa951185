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
			k, i = readField(r.headers, i)
			v, i = readField(r.headers, i)
			if !yield(k, v) {
				return
			}
		}
	}
}
