package broker

import (
	"errors"
	"fmt"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// IsMissing reports whether an error means that a log does not have a message any more, or
// can't read it.
func IsMissing(err error) bool {
	_, missing := missingUntil(err)
	return missing || errors.Is(err, store.ErrOutOfRange)
}

// A HoleError says that a log has no message at an offset: the record was removed, or is
// the broker's own. There is none below Next.
type HoleError struct{ Offset, Next int64 }

func (e *HoleError) Error() string { return fmt.Sprintf("there is no message at offset %d", e.Offset) }

// WithRecord calls f with a copy of the record at offset of a partition; it is
// valid until f returns. The error is a *HoleError if there is none.
func WithRecord(log *Partition, offset int64, f func(*batch.Record) error) error {
	var c store.Chunk
	defer c.Release()
	if err := log.Fetch(offset, 1, &c); err != nil {
		return err
	}
	p, err := c.Load(nil)
	if err != nil {
		return err
	}
	b, _, err := batch.Next(p)
	if err != nil {
		return err
	}
	if b.Count() == 0 || b.IsControl() {
		return &HoleError{offset, b.NextOffset()}
	}
	var one batch.Builder
	if err := Scan(func(it *batch.Iterator) error { return batch.Slice(&one, it, b, offset, offset+1) }); err != nil {
		return err
	}
	var it batch.Iterator
	if len(one.Bytes()) == 0 {
		return &HoleError{offset, offset + 1}
	}
	if err := it.Reset(one.Bytes()); err != nil {
		return err
	}
	if !it.Next() {
		return it.Err()
	}
	return f(it.Record())
}
