package store

import (
	"errors"
	"fmt"

	"mbus/internal/batch"
)

// Walk reads firstWalk bytes of a log first, because the batch that is searched is often near, and up
// to lastWalk bytes at a time later.
const (
	firstWalk = 64 << 10
	lastWalk  = 1 << 20
)

// Walk calls f with each batch of a log, from the one with the offset on, until f returns false. It
// skips damage and gaps if missing returns nil for them. A log that gives nothing below the high
// watermark has not ended: the error says so, for what is rebuilt from a part of a log is wrong.
func Walk(log Partition, offset int64, missing func(error) error, f func(batch.Batch) (bool, error)) error {
	var c Chunk
	defer c.Release()
	var buf []byte
	for size := firstWalk; ; size = min(2*size, lastWalk) {
		_, high := log.Offsets()
		err := log.Read(offset, size, &c)
		if err == nil && c.Len() == 0 {
			if offset < high {
				return fmt.Errorf("the log gave nothing at offset %d, below its high watermark %d", offset, high)
			}
			return nil
		}
		if err == nil {
			buf, err = c.Load(buf)
		}
		if _, next, lacks := Missing(err); lacks && missing(err) == nil {
			offset = next
			continue
		}
		if err != nil {
			return err
		}
		for p := buf; len(p) > 0; {
			b, rest, err := batch.Next(p)
			if err != nil {
				return err
			}
			if goOn, err := f(b); err != nil || !goOn {
				return err
			}
			offset, p = b.NextOffset(), rest
		}
	}
}

// Missing returns the offsets of a *GapError or a *DamageError, from first up to but not including
// next; ok is false for other errors.
func Missing(err error) (first, next int64, ok bool) {
	var gap *GapError
	var damage *DamageError
	switch {
	case errors.As(err, &gap):
		return gap.First, gap.Next, true
	case errors.As(err, &damage):
		return damage.First, damage.Next, true
	}
	return 0, 0, false
}
