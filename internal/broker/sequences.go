package broker

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// Sequences are the last batches of each idempotent producer in one partition. One lock is
// held over the check and the write, so that the order of the numbers is that of the log. They
// are not stored: after a start they are read from the batches at the end of the log.
type sequences struct {
	mu        sync.Mutex
	loaded    bool
	producers map[int64]*sequence
}

// A sequence is what one producer has appended last.
type sequence struct {
	epoch int16
	last  []*appended // at most rememberedBatches, the latest last; never empty
	used  time.Time

	// readBack is set until the first batch after a start. last lacks the batches that wait
	// to be delivered, or waited.
	readBack bool
}

// An appended is one batch.
type appended struct {
	first, final int32       // sequence numbers
	at           int64       // LogAppendTime, or -1; guarded by the sequences' mu
	failed       atomic.Bool // it is not stored: it may be sent again, and no batch may follow before

	mu      sync.Mutex // guards what follows
	settled bool
	base    int64
	err     error
	waiting []func(int64, error)
}

// complete calls back all that wait. It may run before the append returns.
func (a *appended) complete(base int64, err error) {
	a.mu.Lock()
	a.failed.Store(err != nil)
	a.settled, a.base, a.err = true, base, err
	waiting := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	for _, done := range waiting {
		done(base, err)
	}
}

// wait calls done when the batch is complete, at once if it is.
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

// append appends b to p, unless it is a repeat or its numbers are out of order. A repeat gets
// the LogAppendTime of the first one.
func (s *sequences) append(p *Partition, b batch.Batch, mayWait bool, done func(int64, error)) (lead store.Lead, repeated bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(p); err != nil {
		return lead, false, err
	}
	before, failed, err := s.judge(b, p.broker.schedule.Used())
	if err != nil {
		return lead, false, err
	}
	if before != nil {
		if before.at >= 0 {
			b.SetAppendTime(before.at)
		}
		before.wait(done)
		return lead, true, nil
	}
	a := &appended{first: b.BaseSequence(), final: finalSequence(b), at: -1, waiting: []func(int64, error){done}}
	if lead, err = p.write(b, mayWait, a.complete); err != nil {
		if known := s.producers[b.ProducerID()]; known != nil { // the expected number stays
			known.readBack = false
		} else {
			a.failed.Store(true)
			s.remember(b, a, nil)
		}
		return lead, false, err
	}
	a.at = stampedAt(b)
	s.remember(b, a, failed)
	return lead, false, nil
}

// finalSequence is the number of a batch's last record: after the highest comes 0.
func finalSequence(p batch.Batch) int32 {
	return int32((int64(p.BaseSequence()) + int64(p.LastOffsetDelta())) & 0x7fffffff)
}

// judge finds the earlier append of p, if p is a repeat. The error says why p may not be
// appended now. failed is the failed append that p replaces, nil for none. waits says that
// unknown messages may have waited.
func (s *sequences) judge(p batch.Batch, waits bool) (before, failed *appended, err error) {
	known := s.producers[p.ProducerID()]
	if known == nil || time.Since(known.used) > producerExpires {
		return nil, nil, nil // it may have been forgotten, so any number will do, as in Kafka (KIP-360)
	}
	first, final := p.BaseSequence(), finalSequence(p)
	switch {
	case p.ProducerEpoch() < known.epoch:
		return nil, nil, fmt.Errorf("%w: producer %d has epoch %d, not %d", ErrFenced, p.ProducerID(), known.epoch, p.ProducerEpoch())
	case p.ProducerEpoch() > known.epoch && first != 0:
		return nil, nil, outOfOrder(p, 0)
	case p.ProducerEpoch() > known.epoch:
		return nil, nil, nil
	}
	for _, a := range known.last {
		if a.first == first && a.final == final && !a.failed.Load() {
			return a, nil, nil
		}
	}
	next, failed := known.next()
	if known.readBack && waits && (first-next)&0x7fffffff < 1<<30 {
		return nil, nil, nil // the batches between waited
	}
	if first != next || failed != nil && final != failed.final && len(known.last) > 1 {
		return nil, nil, outOfOrder(p, next)
	}
	return nil, failed, nil
}

// next is the number that the producer goes on with. Failed batches at the end count as never
// sent. failed is the batch that the next one replaces: the first failed batch before a stored
// one, which must come again as it was, or the only batch.
func (q *sequence) next() (next int32, failed *appended) {
	for n := len(q.last); n > 1 && q.last[n-1].failed.Load(); n-- {
		q.last = q.last[:n-1]
	}
	for _, a := range q.last {
		if a.failed.Load() {
			return a.first, a
		}
	}
	latest := q.last[len(q.last)-1]
	return int32((int64(latest.final) + 1) & 0x7fffffff), nil
}

func outOfOrder(p batch.Batch, want int32) error {
	return fmt.Errorf("%w: producer %d goes on with %d, not %d", ErrOutOfOrder, p.ProducerID(), p.BaseSequence(), want)
}

// remember notes that p has been appended as a, in place of an attempt that failed if
// there was one.
func (s *sequences) remember(p batch.Batch, a, failed *appended) {
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
	known.readBack = false
	if i := slices.Index(known.last, failed); i >= 0 {
		known.last[i] = a
		return
	}
	if len(known.last) == rememberedBatches {
		known.last = append(known.last[:0], known.last[1:]...)
	}
	known.last = append(known.last, a)
}

// forget drops a tenth of the producers: those that have been silent longest.
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

// load reads the end of the log, once. The idempotent producers of the partition wait for it,
// because none of their batches can be judged before; others do not.
func (s *sequences) load(p *Partition) error {
	if s.loaded {
		return nil
	}
	at, high, err := p.tail(producerTail)
	if err != nil {
		return err
	}
	missing := func(err error) error {
		p.broker.Log.Warn("idempotent producers' batches may be missing", "reason", err)
		return nil
	}
	s.producers = nil // of an attempt that failed
	if at >= high {
		s.loaded = true
		return nil
	}
	if err := walk(p, at, missing, func(b batch.Batch) (goOn bool, err error) {
		s.replay(b)
		return b.NextOffset() < high, nil
	}); err != nil {
		return err
	}
	s.loaded = true
	return nil
}

// replay remembers a batch as stored.
func (s *sequences) replay(b batch.Batch) {
	if b.ProducerID() >= 0 && !isKeyed(b) {
		s.remember(b, &appended{first: b.BaseSequence(), final: finalSequence(b), at: stampedAt(b), settled: true, base: b.BaseOffset()}, nil)
		s.producers[b.ProducerID()].readBack = true
	}
}
