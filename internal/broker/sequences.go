package broker

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// Limits of what is remembered of idempotent producers.
const (
	// remembered batches of a producer: as many as Kafka's clients have on
	// their way at most, and so the most that one may send again.
	remembered = 5

	// maxProducers of a partition, at about 400 bytes each. When there are
	// more, those that have been silent longest are forgotten.
	maxProducers = 10_000

	// producerExpires after so long without a batch, as in Kafka. One that comes
	// back then may begin with any number.
	producerExpires = 24 * time.Hour

	// producerTail is how many bytes at the end of a partition are read, once
	// after a start, to learn what producers had written before: far more than
	// what clients send again.
	producerTail = 64 << 20
)

// idempotence is what a topic knows of its idempotent producers.
type idempotence struct {
	mu         sync.Mutex
	partitions []*sequences // up to the last that has had one
}

func (i *idempotence) of(partition int) *sequences {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.partitions) <= partition {
		i.partitions = append(i.partitions, new(sequences))
	}
	return i.partitions[partition]
}

// Sequences are the last batches of each producer in one partition. It is decided
// and appended under one lock, so that the order of the numbers is that of the
// log. It is not stored: after a start it is read back from the batches at the
// log's end.
type sequences struct {
	mu        sync.Mutex
	loaded    bool
	producers map[int64]*sequence
}

// A sequence is what one producer has appended last.
type sequence struct {
	epoch int16
	last  []*appended // at most remembered, the latest last; never empty
	used  time.Time
}

// Appended is one batch.
type appended struct {
	first, final int32 // sequence numbers
	at           int64 // the time that the log has given it, or -1; guarded by the sequences' mu

	mu      sync.Mutex // guards what follows
	settled bool
	base    int64
	err     error
	waiting []func(int64, error)
}

// settle tells all who wait. It may run while the append has not returned.
func (a *appended) settle(base int64, err error) {
	a.mu.Lock()
	a.settled, a.base, a.err = true, base, err
	waiting := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	for _, done := range waiting {
		done(base, err)
	}
}

// wait calls done when the batch is settled, at once if it is.
func (a *appended) wait(done func(int64, error)) {
	a.mu.Lock()
	settled := a.settled
	if !settled {
		a.waiting = append(a.waiting, done)
	}
	a.mu.Unlock()
	if settled {
		done(a.base, a.err)
	}
}

// produce appends p unless that has been done, or its numbers forbid it. at is the
// time that the log has given it, -1 for none.
func (s *sequences) produce(b *Broker, log store.Partition, p batch.Batch, done func(int64, error)) (at int64, lead store.Lead, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(b, log); err != nil {
		return -1, lead, err
	}
	before, err := s.judge(p)
	if err != nil {
		return -1, lead, err
	}
	if before != nil {
		before.wait(done)
		return before.at, lead, nil
	}
	a := &appended{first: p.BaseSequence(), final: finalSequence(p), waiting: []func(int64, error){done}}
	if lead, err = log.Write(p, a.settle); err != nil {
		return -1, lead, err
	}
	a.at = stampedAt(p)
	s.remember(p, a)
	return a.at, lead, nil
}

// finalSequence is the number of a batch's last record: after the highest comes 0.
func finalSequence(p batch.Batch) int32 {
	return int32((int64(p.BaseSequence()) + int64(p.LastOffsetDelta())) & 0x7fffffff)
}

// judge finds the time that p was appended before, if it was, or says why it may
// not be appended now.
func (s *sequences) judge(p batch.Batch) (*appended, error) {
	known := s.producers[p.ProducerID()]
	if known == nil || time.Since(known.used) > producerExpires {
		return nil, nil // it may have been forgotten, so any number will do, as in Kafka (KIP-360)
	}
	first, final := p.BaseSequence(), finalSequence(p)
	latest := known.last[len(known.last)-1]
	switch {
	case p.ProducerEpoch() < known.epoch:
		return nil, fmt.Errorf("%w: producer %d has epoch %d, not %d", ErrFenced, p.ProducerID(), known.epoch, p.ProducerEpoch())
	case p.ProducerEpoch() > known.epoch && first != 0:
		return nil, outOfOrder(p, 0)
	case p.ProducerEpoch() > known.epoch:
		return nil, nil
	}
	for _, a := range known.last {
		if a.first == first && a.final == final {
			return a, nil
		}
	}
	if next := int32((int64(latest.final) + 1) & 0x7fffffff); first != next {
		return nil, outOfOrder(p, next)
	}
	return nil, nil
}

func outOfOrder(p batch.Batch, want int32) error {
	return fmt.Errorf("%w: producer %d goes on with %d, not %d", ErrOutOfOrder, p.ProducerID(), p.BaseSequence(), want)
}

func (s *sequences) remember(p batch.Batch, a *appended) {
	if s.producers == nil {
		s.producers = make(map[int64]*sequence)
	}
	known := s.producers[p.ProducerID()]
	if known == nil || known.epoch != p.ProducerEpoch() {
		if known == nil && len(s.producers) >= maxProducers {
			s.forget()
		}
		known = &sequence{epoch: p.ProducerEpoch()}
		s.producers[p.ProducerID()] = known
	}
	known.used = time.Now()
	if len(known.last) == remembered {
		known.last = append(known.last[:0], known.last[1:]...)
	}
	known.last = append(known.last, a)
}

// forget drops the tenth of the producers that has been silent longest.
func (s *sequences) forget() {
	times := make([]time.Time, 0, len(s.producers))
	for _, known := range s.producers {
		times = append(times, known.used)
	}
	slices.SortFunc(times, time.Time.Compare)
	until := times[len(times)/10]
	for id, known := range s.producers {
		if !known.used.After(until) {
			delete(s.producers, id)
		}
	}
}

// load reads back, once, what is at the end of the log.
func (s *sequences) load(b *Broker, log store.Partition) error {
	if s.loaded {
		return nil
	}
	at, high, err := tail(log, producerTail)
	if err != nil {
		return err
	}
	if at >= high {
		s.loaded = true
		return nil
	}
	missing := func(err error) error {
		b.Log.Warn("idempotent producers' batches may be missing", "reason", err)
		return nil
	}
	if err := walk(log, at, missing, s.replay); err != nil {
		return err
	}
	s.loaded = true
	return nil
}

// tail finds an offset from which the log has n bytes or less to its end.
func tail(log store.Partition, n int64) (at, high int64, err error) {
	var c store.Chunk
	defer c.Release()
	at, high = log.Offsets()
	for rest := log.Size(); rest > n && at < high; {
		err := log.Read(at, int(rest-n), &c)
		if next, missing := missingUntil(err); missing {
			at = next
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		rest -= int64(c.Len())
		at = c.Next
	}
	return at, high, nil
}

// replay remembers a batch as stored.
func (s *sequences) replay(b batch.Batch) (goOn bool, err error) {
	if b.ProducerID() >= 0 {
		s.remember(b, &appended{first: b.BaseSequence(), final: finalSequence(b), at: stampedAt(b), settled: true, base: b.BaseOffset()})
	}
	return true, nil
}
