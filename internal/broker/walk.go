package broker

import (
	"errors"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// How much of a log walk reads at once, in bytes: little at first, for one who
// soon finds what it looks for.
const (
	firstWalk = 64 << 10
	lastWalk  = 1 << 20
)

// walk calls f with each batch of a log from the one that holds offset on, until
// it returns false. What can't be read, be it damage or a gap, is passed over if
// missing returns nil for it.
func walk(log *Partition, offset int64, missing func(error) error, f func(batch.Batch) (bool, error)) error {
	var c store.Chunk
	defer c.Release()
	var buf []byte
	for size := firstWalk; ; size = min(2*size, lastWalk) {
		err := log.Fetch(offset, size, &c)
		if err == nil && c.Len() == 0 {
			return nil
		}
		if err == nil {
			buf, err = c.Load(buf)
		}
		if next, lacks := missingUntil(err); lacks && missing(err) == nil {
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

// passOver and stopAt are what walk does with what can't be read.
func passOver(error) error   { return nil }
func stopAt(err error) error { return err }

// missingUntil is where a log goes on after an error that says what it lacks.
func missingUntil(err error) (next int64, missing bool) {
	var gap *store.GapError
	var damage *store.DamageError
	switch {
	case errors.As(err, &gap):
		return gap.Next, true
	case errors.As(err, &damage):
		return damage.Next, true
	}
	return 0, false
}
