package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// deliver puts messages into their topics when they are due, until the broker
// ends. log, nil for none, is what there was when the broker was made, and ended at
// end, and the other logs at ends.
func (b *Broker) deliver(log *Partition, end int64, ends map[target]int64) {
	d := &b.delays
	if err := b.loadDelays(log, end, ends); err != nil {
		b.Log.Error("delayed messages could not be read, and will not be delivered before a restart", "reason", err)
		d.mu.Lock()
		d.unread = true
		d.mu.Unlock()
	}
	close(d.loaded)
	running := make(chan struct{}, queuesAtOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		b.noteCancelled()
		b.compactDelays()
		q, wait := d.ready(b.now())
		if q != nil {
			select {
			case running <- struct{}{}:
			case <-b.stop:
				return
			}
			to, err := b.destination(q)
			if errors.Is(err, errTopicDeleted) { // here, so that all queues of the topic are dropped together
				b.dropQueues(q)
			}
			b.ended.Go(func() {
				b.deliverTo(q, to, err)
				<-running
			})
			continue
		}
		timer.Reset(wait)
		select {
		case <-d.wake:
		case <-timer.C:
		case <-b.stop:
			return
		}
	}
}

// deliverTo gives a queue its turn: what is due of it, or a crowd of that, is put into
// its partition, which destination has found.
func (b *Broker) deliverTo(q *queue, to *Partition, err error) {
	d := &b.delays
	switch {
	case errors.Is(err, errTopicDeleted):
		d.end(q, b.now())
		return
	case err != nil:
		if !q.warned {
			b.Log.Error("delayed messages can't be put into their topic, and wait until it is there again", "topic", q.name, "reason", err)
		}
		q.warned = true
		d.end(q, b.now().Add(missingAgain))
		return
	}
	most, mostBytes := portionMessages, portionBytes
	if d.crowded(q) {
		select {
		case d.crowds <- struct{}{}:
			defer func() { <-d.crowds }()
			most, mostBytes = crowdMessages, crowdBytes
		default:
		}
	}
	messages, err := b.readWindow(q, d.take(q, b.now(), most), mostBytes)
	c := carrier{b: b, q: q, to: to, err: err}
	d.end(q, b.now().Add(b.backOff(q, c.carry(messages))))
}

// backOff is the time until a queue is tried again after an error, nil for none.
func (b *Broker) backOff(q *queue, err error) time.Duration {
	if err == nil {
		q.backoff = 0
		return 0
	}
	first := q.backoff == 0
	q.backoff = max(deliverAgain, min(2*q.backoff, deliverAgainBound))
	switch {
	case !first, errors.Is(err, store.ErrClosed): // it has been said, or the topic has just been deleted
	case errors.Is(err, store.ErrFull):
		b.Log.Warn("delayed messages wait for space on the disk", "topic", q.name, "partition", q.partition, "reason", err)
	default:
		b.Log.Error("delayed messages could not be put into their topic: they are tried again",
			"topic", q.name, "partition", q.partition, "reason", err)
	}
	return q.backoff
}

// errTopicDeleted says that messages wait for an incarnation of a topic that was deleted.
var errTopicDeleted = errors.New("topic has been deleted")

// destination finds the partition that a queue's messages go to. The error is
// errTopicDeleted, or wraps store.ErrUnknownTopic if the topic is missing.
func (b *Broker) destination(q *queue) (*Partition, error) {
	t, err := b.TopicByID(q.topic)
	if err != nil {
		// A topic that is only missing keeps its name.
		if _, err := b.Topic(q.name); err == nil || b.store.Deleted(q.topic) {
			return nil, errTopicDeleted
		}
		return nil, fmt.Errorf("%w: %q with the id %x: put its directory back and restart the broker, or delete the topic (if there is none of this name, make one first)",
			store.ErrUnknownTopic, q.name, q.topic)
	}
	all := t.Partitions()
	n := int(q.partition)
	if n >= len(all) { // the topic's file is older than the message
		if !q.warned {
			b.Log.Warn("delayed messages go to another partition, because the topic does not have theirs",
				"topic", q.name, "partition", n, "partitions", len(all))
		}
		q.warned = true
		n %= len(all)
	}
	if Internal(t.Name) { // nothing is delayed there
		return nil, errTopicDeleted
	}
	return all[n], nil
}

// dropQueues drops what waits for the topic of a queue, which has been deleted. It is for
// the delivering goroutine.
func (b *Broker) dropQueues(q *queue) {
	d := &b.delays
	var all []due
	d.mu.Lock()
	for _, other := range d.queues {
		if other.topic == q.topic && (other == q || !other.busy) {
			all = append(all, other.waiting...)
			other.waiting = nil
			d.settle(other)
		}
	}
	d.mu.Unlock()
	if len(all) == 0 {
		return
	}
	b.Log.Warn("delayed messages are dropped, because their topic has been deleted", "topic", q.name, "messages", len(all))
	b.ended.Go(func() { <-b.note(all, arrival{}) })
}

// abandon has what waits for a topic that has been deleted be dropped soon.
func (d *delays) abandon(topic [16]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.queues {
		if q.topic == topic {
			q.atOnce = true
			d.settle(q)
		}
	}
	delete(d.streams, topic)
}

// A carrier puts messages of one queue into their partition, and notes that they have
// been delivered when they are durable there. Two portions are on their way at a time, so
// that one is synced while the next is written.
type carrier struct {
	b       *Broker
	q       *queue
	to      *Partition
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

// carry carries messages, and waits until they are noted, or wait again. The error is
// that of the first that could not be put into the partition.
func (c *carrier) carry(messages []waitingMessage) error {
	var noting <-chan struct{} // of the portion before c.before
	for len(messages) > 0 && c.err == nil && !c.stopping() {
		p, rest := c.build(messages)
		if len(p.messages) == 0 { // only damaged ones
			messages = rest
			continue
		}
		finished(noting)
		messages = rest
		if c.err = c.append(p); c.err != nil {
			c.b.delays.giveBack(c.q, p.messages)
			noting = nil
			break
		}
		noting = c.settle(c.before)
		c.before = p
	}
	finished(noting)
	finished(c.settle(c.before))
	back := make([]due, len(messages))
	for i := range messages {
		back[i] = messages[i].due
	}
	c.b.delays.giveBack(c.q, back)
	return c.err
}

// finished waits for a note, nil for none.
func finished(noted <-chan struct{}) {
	if noted != nil {
		<-noted
	}
}

func (c *carrier) stopping() bool {
	select {
	case <-c.b.stop:
		return true
	default:
		return false
	}
}

// build makes batches of messages, as many as make a portion, in the builder.
func (c *carrier) build(messages []waitingMessage) (p *portion, rest []waitingMessage) {
	p = &portion{durable: make(chan error, 1)}
	c.builder.Reset()
	target := TargetBatch
	if t, err := c.b.TopicByID(c.q.topic); err == nil {
		target = min(target, t.MaxBatch())
	}
	for n, m := range messages {
		if len(p.messages) == portionMessages || len(c.builder.Bytes()) >= portionBytes {
			rest = messages[n:]
			break
		}
		if c.builder.OpenSize() > 0 && c.builder.OpenSize()+len(m.batch) > target {
			c.builder.Close(0)
		}
		if err := c.add(m.batch); err != nil {
			c.b.lose(m.offset, err)
			continue
		}
		p.messages = append(p.messages, m.due)
	}
	c.builder.Close(0)
	return p, rest
}

// add puts the message of a batch into the builder. The error wraps batch.ErrCorrupt.
func (c *carrier) add(p []byte) error {
	b, rest, err := batch.Next(p)
	if err != nil {
		return err
	}
	if err := c.it.Reset(b); err != nil {
		return err
	}
	if b.Count() != 1 || len(rest) > 0 || !c.it.Next() {
		return errors.Join(fmt.Errorf("%w: a waiting message is not one record", batch.ErrCorrupt), c.it.Err())
	}
	c.builder.AddRecord(c.it.Record())
	return nil
}

// append writes the builder's batches. After an error nothing of them has been stored.
func (c *carrier) append(p *portion) error {
	answer := durably(c.to, func(err error) { p.durable <- err })
	return c.to.Append(c.builder.Bytes(), AppendOptions{Checked: true, Due: true}, func(base int64, err error) {
		p.base = base
		answer(base, err)
	})
}

// settle takes the outcome of a portion, nil for none. When it is durable it is noted
// that it has been delivered, which the channel says; nil if it was not.
func (c *carrier) settle(p *portion) (noted <-chan struct{}) {
	if p == nil {
		return nil
	}
	if err := <-p.durable; err != nil {
		c.b.delays.giveBack(c.q, p.messages)
		if c.err == nil {
			c.err = err
		}
		return nil
	}
	to := c.to.target()
	return c.b.note(p.messages, arrival{to, p.base + int64(len(p.messages))})
}

// note writes that messages have been delivered, or dropped, and frees what space it can.
// The channel is closed when that is durable, or has failed: then it is tried again with
// the next note.
func (b *Broker) note(messages []due, to arrival) <-chan struct{} {
	d := &b.delays
	noted := make(chan struct{})
	d.mu.Lock()
	d.left -= len(messages)
	offsets := d.unnoted
	d.unnoted = nil
	for _, m := range messages {
		offsets = append(offsets, d.alias(m.offset)...)
	}
	log := d.log
	d.mu.Unlock()
	if len(offsets) == 0 {
		close(noted)
		return noted
	}
	p := buildNote(offsets, to, b.now())
	finish := func(base int64, err error) {
		cut := d.noteEnded(offsets, base, int64(len(p)), err)
		if err == nil && cut == 0 {
			close(noted)
			return
		}
		go func() { // not here, where the log may not be called
			defer close(noted)
			if err == nil {
				err = b.trimDelays(cut)
			}
			if err != nil && d.fails() {
				b.Log.Error("it could not be noted that delayed messages have been delivered: after a restart they may be delivered again", "reason", err)
			}
		}()
	}
	if err := log.Append(p, AppendOptions{Checked: true}, finish); err != nil {
		finish(0, err)
	}
	return noted
}

// noteCancelled notes what was cancelled.
func (b *Broker) noteCancelled() {
	b.delays.mu.Lock()
	some := len(b.delays.unnoted) > 0
	b.delays.mu.Unlock()
	if some {
		<-b.note(nil, arrival{})
	}
}

// noteEnded takes the outcome of a note, and says to which offset the log may be trimmed,
// because nothing before it waits; 0 for not now. What has come since is behind it.
func (d *delays) noteEnded(offsets []int64, base, size int64, err error) (cut int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.unnoted = append(d.unnoted, offsets...)
		return 0
	}
	d.bytes += size
	d.failing = false
	if d.left > 0 || d.mover != nil || d.keepsDamage(base) {
		return 0
	}
	return d.cut(base, time.Now())
}

// fails notes that a note could not be written, and says whether that is to be reported:
// once until one is written.
func (d *delays) fails() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := !d.failing
	d.failing = true
	return first
}

// alias lists the offsets at which a message is that is noted: where it was found, and
// where a compaction has moved it meanwhile. The caller holds mu.
func (d *delays) alias(offset int64) []int64 {
	if to, ok := d.moved[offset]; ok {
		delete(d.moved, offset)
		return []int64{offset, to}
	}
	if d.mover != nil {
		if to, ok := d.mover.tell(offset); ok {
			return []int64{offset, to}
		}
		d.noted = append(d.noted, offset)
	}
	return []int64{offset}
}

// noteSize is how many offsets a record of a note has at most.
const noteSize = 4096

// buildNote makes batches of notes. The arrival is that of the messages, if they have been
// delivered.
func buildNote(offsets []int64, to arrival, now time.Time) []byte {
	var builder batch.Builder
	value := make([]byte, 0, 8*min(noteSize, len(offsets)))
	for some := range slices.Chunk(offsets, noteSize) {
		value = value[:0]
		for _, o := range some {
			value = binary.BigEndian.AppendUint64(value, uint64(o))
		}
		builder.Add(now.UnixMilli(), nil, value, to.headers()...)
		closeFull(&builder)
	}
	builder.Close(0)
	return builder.Bytes()
}
