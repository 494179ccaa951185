package batch

import "math"

// Slice appends to dst, in which no batch may be open, one uncompressed batch
// of the records of b whose offsets are from or more but less than to. They
// keep their offsets, times, keys, values and headers, and the batch the leader
// epoch; it has no producer. If there are no such records nothing is appended.
// it is scratch space.
//
// If b cannot be read up to to, the error wraps ErrCorrupt or ErrTooLarge, and dst is
// unchanged.
func Slice(dst *Builder, it *Iterator, b Batch, from, to int64) error {
	if err := it.Reset(b); err != nil {
		return err
	}
	_, err := SliceSome(dst, it, b, from, to, math.MaxInt, nil)
	return err
}

// SliceSome is Slice for an iterator that is at the beginning of b, or where the previous call
// has left it. It ends after the record with which the slice has max bytes or more. more,
// unless nil, returns headers to append to those of the record at an offset. next is the offset
// after the last record of the slice, or to.
func SliceSome(dst *Builder, it *Iterator, b Batch, from, to int64, max int, more func(offset int64) []Header) (next int64, err error) {
	start := len(dst.buf)
	next = to
	var base int64 // offset delta of the first record taken
	for it.Next() {
		r := it.Record()
		if r.Offset >= to {
			break
		}
		if r.Offset < from {
			continue
		}
		if dst.count == 0 {
			base = it.delta
		}
		var headers []Header
		if more != nil {
			headers = more(r.Offset)
		}
		dst.addRecord(int32(it.delta-base), r, headers...)
		if dst.OpenSize() >= max {
			next = r.Offset + 1
			break
		}
	}
	if err := it.Err(); err != nil {
		dst.buf, dst.count = dst.buf[:start], 0
		return from, err
	}
	if dst.count > 0 {
		first := b.BaseOffset() + base
		dst.Close(first)
		Batch(dst.buf[start:]).Stamp(first, b.LeaderEpoch())
	}
	return next, nil
}
