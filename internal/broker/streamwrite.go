package broker

import (
	"bytes"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/schedule"
	"mbus/internal/store"
)

// append appends batches of the stream, whose headers Producer has made, to a partition of
// the topic that it was opened for. Messages with a delivery time are in batches without a
// gap, so that each that waits has its number.
func (s *Stream) append(p *Partition, batches []byte, mayWait bool, done func(int64, error)) (lead store.Lead, err error) {
	now, wait := batches, numberedWait{}
	if mayWait {
		if now, wait, err = p.splitNumbered(batches); err != nil {
			return lead, err
		}
	}
	splits := len(now) > 0 && len(wait.Batches) > 0
	if splits {
		done = both(done)
	}
	if len(wait.Batches) > 0 {
		if err := s.write(s.numbers(wait.sequences), done, func(done func(int64, error)) error {
			return p.writeWaiting(wait.Waiting, done)
		}); err != nil || len(now) == 0 {
			return lead, err
		}
	}
	err = s.write(s.parse(p.number, now), done, func(done func(int64, error)) (err error) {
		lead, err = p.write(now, false, done)
		return err
	})
	if err != nil && splits { // the messages that wait are being written, so that done gets the error
		done(0, err)
		return lead, nil
	}
	return lead, err
}

// both calls done when it has been called twice, with the first error.
func both(done func(int64, error)) func(int64, error) {
	var mu sync.Mutex
	var first error
	calls := 0
	return func(base int64, err error) {
		mu.Lock()
		calls++
		if first == nil {
			first = err
		}
		last, err := calls == 2, first
		mu.Unlock()
		if last {
			done(base, err)
		}
	}
}

// write appends with f, and notes the outcome.
func (s *Stream) write(w written, done func(int64, error), f func(done func(int64, error)) error) error {
	if err := s.begin(); err != nil {
		return err
	}
	err := f(func(base int64, err error) {
		s.ended(w, err)
		done(base, err)
	})
	if err != nil {
		s.ended(w, err)
	}
	return err
}

// begin counts an append. None may follow one that failed.
func (s *Stream) begin() error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	switch {
	case s.of.owner != s:
		return ErrReplaced
	case s.failed != nil:
		return s.failed
	}
	s.of.pending++
	return nil
}

// ended takes the outcome of an append.
func (s *Stream) ended(w written, err error) {
	st := s.of
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.pending--; st.pending == 0 {
		st.idle.Broadcast()
	}
	if err != nil {
		s.failed = err
		if s.broken == nil {
			s.broken = make(map[chain]bool)
		}
		s.broken[w.chain] = true
		return
	}
	for _, a := range w.exact {
		st.stored.exact.add(a)
		st.latest = max(st.latest, a.next-1)
	}
	if w.chain.partitions > 0 && !s.broken[w.chain] {
		st.stored.link(w.chain, w.records, w.next, st.stored.holes(w.chain))
		st.latest = max(st.latest, w.next-1)
	}
}

// written is what an append holds of a stream.
type written struct {
	exact   []stretch
	chain   chain // with no partitions for none
	records int   // of the chain's last batch
	next    int64 // the number behind that
}

// parse finds the numbers of batches.
func (s *Stream) parse(partition int, batches []byte) (w written) {
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return w
		}
		batches = rest
		final := int64(finalSequence(b))
		s.latest = final + nearest(final, s.latest)
		next, records := s.latest+1, int(b.LastOffsetDelta())+1
		if b.ProducerEpoch() > 0 {
			w.chain, w.records, w.next = chain{int(b.ProducerEpoch()), partition}, records, next
		} else {
			w.add(stretch{next - int64(records), next})
		}
	}
	return w
}

// numbers are those of messages by their sequence numbers.
func (s *Stream) numbers(sequences []int32) (w written) {
	for _, q := range sequences {
		s.latest = int64(q) + nearest(int64(q), s.latest)
		w.add(stretch{s.latest, s.latest + 1})
	}
	return w
}

func (w *written) add(a stretch) {
	if n := len(w.exact); n > 0 && w.exact[n-1].next == a.first {
		w.exact[n-1].next = a.next
	} else {
		w.exact = append(w.exact, a)
	}
}

// A numberedWait is the messages of an append that wait, and their sequence numbers.
type numberedWait struct {
	schedule.Waiting
	sequences []int32
}

// splitNumbered splits batches of a stream into those for now and those that wait. now are the
// same batches if nothing waits.
func (p *Partition) splitNumbered(batches []byte) (now []byte, wait numberedWait, err error) {
	ms := p.broker.Now().UnixMilli()
	s := numberedSplitter{ms: ms, waiting: p.waitingBuilder(ms)}
	err = Scan(func(it *batch.Iterator) error {
		for rest := batches; len(rest) > 0; {
			b, next, err := batch.Next(rest)
			if err != nil {
				return err
			}
			if err := s.take(b, it); err != nil {
				return err
			}
			rest = next
		}
		return nil
	})
	if err != nil || len(s.sequences) == 0 {
		return batches, wait, err
	}
	return s.now, numberedWait{s.waiting.Waiting(), s.sequences}, nil
}

type numberedSplitter struct {
	ms        int64
	now       []byte
	waiting   *schedule.Builder
	sequences []int32
}

// take takes a batch.
func (s *numberedSplitter) take(b batch.Batch, it *batch.Iterator) error {
	if err := it.Reset(b); err != nil {
		return err
	}
	if !bytes.Contains(it.Records(), []byte(HeaderDeliverAt)) {
		s.now = append(s.now, b...)
		return nil
	}
	who := b.Producer()
	var prompt batch.Builder
	for i := int32(0); it.Next(); i++ {
		r := it.Record()
		at, err := deliverAt(r)
		if err != nil {
			return err
		}
		if at <= s.ms {
			prompt.AddRecord(r)
			continue
		}
		at32 := (who.Sequence + i) & 0x7fffffff
		s.close(&prompt, who.ID, at32)
		s.waiting.AddNumbered(r, at, batch.Producer{ID: who.ID, Sequence: at32})
		s.sequences = append(s.sequences, at32)
	}
	s.close(&prompt, who.ID, (finalSequence(b)+1)&0x7fffffff)
	s.now = append(s.now, prompt.Bytes()...)
	return it.Err()
}

// close ends a batch before the message with this sequence number.
func (s *numberedSplitter) close(b *batch.Builder, id int64, before int32) {
	b.CloseFor(0, batch.Producer{ID: id, Sequence: (before - int32(b.Count())) & 0x7fffffff})
}

// writeWaiting writes messages that wait.
func (p *Partition) writeWaiting(w schedule.Waiting, done func(int64, error)) error {
	if !p.exists() {
		return store.ErrDeleted
	}
	if err := p.broker.store.CheckSpace(len(w.Batches)); err != nil {
		return err
	}
	h := &halves{p: p, done: done}
	return p.broker.schedule.Keep(w, h.waits)
}
