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

// An opening is what a log was like when this broker opened it.
type opening struct {
	high, size int64
	known      bool // not for a log that was opened later
}

// tail is where the last size bytes of a partition begin, and their end, as far as others than this broker may have written them.
//
// With Limits.MaxTail they are the last ones of before this broker, and no more than that: of what it has written itself it
// knows what it has to. Without it they are the last ones of all.
func (p *Partition) tail(size int64) (from, high int64, err error) {
	_, high = p.Offsets()
	if most := p.broker.Limits.MaxTail; most > 0 && p.opened.known {
		size, high = min(size, most)+max(0, p.log.Size()-p.opened.size), p.opened.high
	}
	from, err = p.log.Tail(size)
	return from, high, err
}

// readTail calls f with each batch in the tail of a partition, and returns the first offset. missing is for walk. As many calls as maxTailReaders read at the same time. When
// quit is closed the error is store.ErrClosed.
func (p *Partition) readTail(size int64, quit <-chan struct{}, missing func(error) error, f func(batch.Batch)) (from int64, err error) {
	select {
	case tailReaders <- struct{}{}:
		defer func() { <-tailReaders }()
	case <-quit:
		return 0, store.ErrClosed
	}
	from, high, err := p.tail(size)
	if err != nil || from >= high {
		return from, err
	}
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
