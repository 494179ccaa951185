package broker

import (
	"mbus/internal/batch"
	"mbus/internal/store"
)

// walk calls f with each batch of a partition: see store.Walk.
func walk(p *Partition, offset int64, missing func(error) error, f func(batch.Batch) (bool, error)) error {
	return store.Walk(p.log, offset, missing, f)
}

// tailReaders has an element for each call of readTail that reads.
var tailReaders = make(chan struct{}, maxTailReaders)

// readTail calls f with each batch in the last size bytes of a partition, up to its present end, and
// returns the first offset. missing is for walk. As many calls as maxTailReaders read at the same time. When
// quit is closed the error is store.ErrClosed.
func (p *Partition) readTail(size int64, quit <-chan struct{}, missing func(error) error, f func(batch.Batch)) (from int64, err error) {
	select {
	case tailReaders <- struct{}{}:
		defer func() { <-tailReaders }()
	case <-quit:
		return 0, store.ErrClosed
	}
	if from, err = p.log.Tail(size); err != nil {
		return 0, err
	}
	_, high := p.Offsets()
	return from, walk(p, from, missing, func(b batch.Batch) (goOn bool, err error) {
		select {
		case <-quit:
			return false, store.ErrClosed
		default:
		}
		f(b)
		return b.NextOffset() < high, nil
	})
}

// passOver and stopAt are for walk: whether it goes on behind batches that can't be read.
func passOver(error) error   { return nil }
func stopAt(err error) error { return err }

// missingUntil is where a log goes on behind damage or a gap.
func missingUntil(err error) (next int64, missing bool) {
	_, next, missing = store.Missing(err)
	return next, missing
}
