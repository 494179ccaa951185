package broker

import (
	"errors"
	"fmt"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// What an idempotent producer may be told, beside the errors of Check and of the
// store. Nothing was stored then.
var (
	ErrFenced     = errors.New("a newer epoch of this producer has written")
	ErrOutOfOrder = errors.New("sequence numbers are out of order")
)

// Produce checks one batch that a client made and appends it to a partition of t,
// as store.Partition.Write does: done is called once if it returns nil, with the
// first record's offset when the batch is durable, and the caller does what Lead says.
//
// A batch with a producer id is stored once however often it is sent: one that is
// among the last five of its producer in this partition is not appended again, and
// done gets the offset of the first time, not before that one is durable. Others
// must follow on each other by their sequence numbers. See sequences for how long
// that is remembered.
//
// at is the time that the log has given the batch, in milliseconds since 1970, or -1
// if those of its messages hold.
func (b *Broker) Produce(t *Topic, partition int, p batch.Batch, done func(base int64, err error)) (at int64, lead store.Lead, err error) {
	partitions := t.Partitions()
	if partition < 0 || partition >= len(partitions) {
		return -1, lead, store.ErrUnknownTopic
	}
	log := partitions[partition]
	if limit := t.MaxBatch(); len(p) > limit {
		return -1, lead, fmt.Errorf("%w: the batch has %d bytes, the limit of topic %q is %d", ErrTooLarge, len(p), t.Name, limit)
	}
	mayWait, err := b.check(t, p)
	if err != nil {
		return -1, lead, err
	}
	if d, ok := log.(*delaying); ok && !mayWait {
		log = prompt{d}
	}
	if p.ProducerID() < 0 {
		lead, err = log.Write(p, done)
		return stampedAt(p), lead, err
	}
	if p.ProducerEpoch() < 0 || p.BaseSequence() < 0 {
		return -1, lead, fmt.Errorf("%w: producer %d with epoch %d and sequence %d",
			batch.ErrCorrupt, p.ProducerID(), p.ProducerEpoch(), p.BaseSequence())
	}
	return t.idempotent.of(partition).produce(b, log, p, done)
}

// leadBytes is up to how many bytes of messages the connection that brought them commits
// them itself: more than that takes some time to come, and the connection takes what
// follows meanwhile.
const leadBytes = 16 << 10

// Lead does what a Lead says for a connection that has just written so many bytes and
// has read no more.
func Lead(lead store.Lead, size int) {
	if size <= leadBytes {
		lead.Commit()
	} else {
		lead.Go()
	}
}
