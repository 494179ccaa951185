package broker

import (
	"mbus/internal/batch"
	"mbus/internal/store"
)

// walk calls f with each batch of a partition: see store.Walk.
func walk(p *Partition, offset int64, missing func(error) error, f func(batch.Batch) (bool, error)) error {
	return store.Walk(p.log, offset, missing, f)
}

// passOver and stopAt are for walk: whether it goes on behind batches that can't be read.
func passOver(error) error   { return nil }
func stopAt(err error) error { return err }

// missingUntil is where a log goes on behind damage or a gap.
func missingUntil(err error) (next int64, missing bool) {
	_, next, missing = store.Missing(err)
	return next, missing
}
