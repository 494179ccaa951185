package schedule

import (
	"errors"
	"fmt"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// Run reads the log and then appends messages to their partitions when they are due, until
// stop is closed. holds reports whether the log of a target has, or has had, the record at an
// offset; it is called until Loaded is closed. Run is called once.
func (s *Schedule) Run(stop <-chan struct{}, holds func(t Target, offset int64) bool) {
	s.stop = stop
	defer s.ended.Wait()
	if err := s.load(holds); store.Ended(err) {
		close(s.loaded)
		return
	} else if err != nil {
		s.Report.Error("delayed messages could not be read, and will not be delivered before a restart", "topic", Topic, "partition", 0, "reason", err)
		s.mu.Lock()
		s.damage.unread = true
		s.mu.Unlock()
	}
	close(s.loaded)
	running := make(chan struct{}, queuesAtOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.noteCancelled()
		s.compactIfDue()
		q, wait := s.next(s.Now())
		if q != nil {
			select {
			case running <- struct{}{}:
			case <-stop:
				return
			}
			to, err := s.Topics.Destination(q.Target, q.name)
			if errors.Is(err, ErrTopicDeleted) { // here, so that all queues of the topic are dropped together
				s.dropTopic(q)
			}
			s.ended.Go(func() {
				s.deliver(q, to, err)
				<-running
			})
			continue
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-stop:
			return
		}
	}
}

// deliver appends the due messages of a queue, up to a backlog of them, to its partition.
func (s *Schedule) deliver(q *queue, to Destination, err error) {
	switch {
	case errors.Is(err, ErrTopicDeleted):
		s.release(q, s.Now())
		return
	case err != nil:
		if !q.warned {
			s.Report.Error("delayed messages can't be put into their topic, and wait until it is there again", "topic", q.name, "partition", q.Partition, "reason", err)
		}
		q.warned = true
		s.release(q, s.Now().Add(missingRetry))
		return
	}
	s.warnOther(q, to)
	most, mostBytes := portionMessages, portionBytes
	if s.hasBacklog(q) {
		select {
		case s.backlogs <- struct{}{}:
			defer func() { <-s.backlogs }()
			most, mostBytes = backlogMessages, backlogBytes
		default:
		}
	}
	messages, err := s.readWindow(q, s.popDue(q, s.Now(), most), mostBytes)
	d := delivery{s: s, q: q, to: to, err: err}
	s.release(q, s.Now().Add(s.backOff(q, d.run(messages))))
}

// warnOther reports, once, that messages go to another partition than the one that they are
// for: the topic's file is older than they are.
func (s *Schedule) warnOther(q *queue, to Destination) {
	n := to.Target().Partition
	if n == q.Partition || q.warned {
		return
	}
	q.warned = true
	s.Report.Warn("delayed messages go to another partition, because the topic does not have theirs",
		"topic", q.name, "partition", q.Partition, "to", n)
}

// backOff is the time until a queue is tried again after an error, nil for none.
func (s *Schedule) backOff(q *queue, err error) time.Duration {
	if err == nil {
		q.backoff = 0
		return 0
	}
	first := q.backoff == 0
	q.backoff = max(retryAfter, min(2*q.backoff, maxRetryAfter))
	switch {
	case !first, errors.Is(err, store.ErrDeleted), store.Ended(err): // it has been reported, or the topic has just been deleted
	case errors.Is(err, store.ErrFull):
		s.Report.Warn("delayed messages wait for space on the disk", "topic", q.name, "partition", q.Partition, "reason", err)
	default:
		s.Report.Error("delayed messages could not be put into their topic: they are tried again",
			"topic", q.name, "partition", q.Partition, "reason", err)
	}
	return q.backoff
}

// dropTopic drops the messages for the topic of a queue, which was deleted. It is for the
// goroutine of Run.
func (s *Schedule) dropTopic(q *queue) {
	var all []due
	s.mu.Lock()
	for _, other := range s.queues.byTarget {
		if other.Topic == q.Topic && (other == q || !other.busy) {
			all = append(all, other.waiting...)
			other.waiting = nil
			s.update(other)
		}
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return
	}
	s.Report.Warn("delayed messages are dropped, because their topic has been deleted", "topic", q.name, "messages", len(all))
	s.ended.Go(func() { <-s.note(all, arrival{}) })
}

// A delivery puts messages of one queue into their partition, and notes that they have
// been delivered when they are durable there. Two portions are on their way at a time, so
// that one is synced while the next is written.
type delivery struct {
	s       *Schedule
	q       *queue
	to      Destination
	builder batch.Builder
	it      batch.Iterator
	before  *portion // appended, and its outcome not taken
	err     error    // the first one: nothing more is appended
}

// A portion is messages that are appended at once.
type portion struct {
	messages []due
	base     int64 // offset of the first, once durable says so
	durable  chan error
}

// run appends messages, and waits until they are noted, or wait again. The error is that of
// the first append that failed.
func (d *delivery) run(messages []waitingMessage) error {
	var noting <-chan struct{} // of the portion before d.before
	for len(messages) > 0 && d.err == nil && !d.stopping() {
		p, rest := d.build(messages)
		if len(p.messages) == 0 { // only damaged ones
			messages = rest
			continue
		}
		finished(noting)
		messages = rest
		if d.err = d.append(p); d.err != nil {
			d.s.putBack(d.q, p.messages)
			noting = nil
			break
		}
		noting = d.complete(d.before)
		d.before = p
	}
	finished(noting)
	finished(d.complete(d.before))
	back := make([]due, len(messages))
	for i := range messages {
		back[i] = messages[i].due
	}
	d.s.putBack(d.q, back)
	return d.err
}

// finished waits for a note, nil for none.
func finished(noted <-chan struct{}) {
	if noted != nil {
		<-noted
	}
}

func (d *delivery) stopping() bool {
	select {
	case <-d.s.stop:
		return true
	default:
		return false
	}
}

// build makes batches of messages, as many as make a portion, in the builder.
func (d *delivery) build(messages []waitingMessage) (p *portion, rest []waitingMessage) {
	p = &portion{durable: make(chan error, 1)}
	d.builder.Reset()
	size := min(d.s.BatchBytes, d.to.MaxBatch())
	for n, m := range messages {
		if len(p.messages) == portionMessages || len(d.builder.Bytes()) >= portionBytes {
			rest = messages[n:]
			break
		}
		if d.builder.OpenSize() > 0 && d.builder.OpenSize()+len(m.batch) > size {
			d.builder.Close(0)
		}
		if err := d.add(m.batch); err != nil {
			d.s.drop(m.offset, err)
			continue
		}
		p.messages = append(p.messages, m.due)
	}
	d.builder.Close(0)
	return p, rest
}

// add puts the message of a batch into the builder. The error wraps batch.ErrCorrupt.
func (d *delivery) add(p []byte) error {
	b, rest, err := batch.Next(p)
	if err != nil {
		return err
	}
	if err := d.it.Reset(b); err != nil {
		return err
	}
	if b.Count() != 1 || len(rest) > 0 || !d.it.Next() {
		return errors.Join(fmt.Errorf("%w: a waiting message is not one record", batch.ErrCorrupt), d.it.Err())
	}
	d.builder.AddRecord(d.it.Record())
	return nil
}

// append writes the builder's batches. After an error nothing of them has been stored.
func (d *delivery) append(p *portion) error {
	return d.to.Append(d.builder.Bytes(), func(base int64, err error) {
		p.base = base
		if err != nil {
			p.durable <- err
			return
		}
		d.to.Sync(func(err error) { p.durable <- err }) // with an interval between syncs it is not yet
	})
}

// complete waits for the outcome of a portion, nil for none. When it is durable it is noted
// as delivered; then the channel is closed. It is nil if the portion is not durable.
func (d *delivery) complete(p *portion) (noted <-chan struct{}) {
	if p == nil {
		return nil
	}
	if err := <-p.durable; err != nil {
		d.s.putBack(d.q, p.messages)
		if d.err == nil {
			d.err = err
		}
		return nil
	}
	return d.s.note(p.messages, arrival{d.to.Target(), p.base + int64(len(p.messages))})
}
