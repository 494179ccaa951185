package broker

import (
	"errors"
	"fmt"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/schedule"
	"mbus/internal/store"
)

// HeaderDeliverAt is the header of a delayed message: the time at which it is appended to its
// topic, in milliseconds since 1970 or in RFC 3339. The last one counts. ParseDeliverAt refuses
// some values.
const HeaderDeliverAt = "mbus-deliver-at"

// DelayedTopic is the internal topic that keeps the messages that are not due yet.
const DelayedTopic = schedule.Topic

// newSchedule makes the schedule over DelayedTopic, if there is one.
func (b *Broker) newSchedule() *schedule.Schedule {
	o := schedule.Options{
		Topics: delayedTopics{b}, Now: b.Now, Report: b.Log, Numbered: b.waiting.add,
		CompactBytes: b.Limits.CompactDelayed, BatchBytes: TargetBatch,
		Create: func() (store.Partition, error) {
			t, err := b.makeTopic(Self, DelayedTopic, 1)
			if err != nil {
				return nil, err
			}
			return t.Partitions()[0].log, nil
		},
		Hide: func(before int64) {
			if t, err := b.catalog.Topic(DelayedTopic); err == nil {
				t.Partitions()[0].hide(before)
			}
		},
	}
	if t, err := b.catalog.Topic(DelayedTopic); err == nil {
		o.Log = t.Partitions()[0].log
	}
	return schedule.New(o)
}

// delayedTopics are the topics as the schedule sees them.
type delayedTopics struct{ b *Broker }

// Name implements schedule.Topics.
func (d delayedTopics) Name(topic [16]byte) (string, bool) {
	t, err := d.b.catalog.TopicByID(topic)
	if err != nil {
		return "", false
	}
	return t.Name, true
}

// Destination implements schedule.Topics. The error wraps store.ErrUnknownTopic if the topic
// is missing.
func (d delayedTopics) Destination(to schedule.Target, name string) (schedule.Destination, error) {
	t, err := d.b.catalog.TopicByID(to.Topic)
	if err != nil {
		// A topic that is only missing keeps its name.
		if _, err := d.b.catalog.Topic(name); err == nil || d.b.store.Deleted(to.Topic) {
			return nil, schedule.ErrTopicDeleted
		}
		return nil, fmt.Errorf("%w: %q with the id %x: put its directory back and restart the broker, or delete the topic (if there is none of this name, make one first)",
			store.ErrUnknownTopic, name, to.Topic)
	}
	if Internal(t.Name) { // nothing is delayed there
		return nil, schedule.ErrTopicDeleted
	}
	all := t.Partitions()
	return destination{all[int(to.Partition)%len(all)]}, nil
}

// A destination is a partition as the schedule appends to it.
type destination struct{ *Partition }

// Target implements schedule.Destination.
func (d destination) Target() schedule.Target { return d.target() }

// MaxBatch implements schedule.Destination.
func (d destination) MaxBatch() int { return d.topic.MaxBatch() }

// Append implements schedule.Destination.
func (d destination) Append(batches []byte, done func(base int64, err error)) error {
	return d.Partition.Append(batches, AppendOptions{Checked: true, Due: true}, done)
}

// waitingBuilder makes the records of messages for the partition that wait. ms is the time,
// in milliseconds since 1970.
func (p *Partition) waitingBuilder(ms int64) *schedule.Builder {
	return schedule.NewBuilder(p.target(), p.topic.Name, ms, TargetBatch)
}

// target names the partition as the schedule does.
func (p *Partition) target() schedule.Target {
	return schedule.Target{Topic: p.topic.ID, Partition: uint32(p.number)}
}

// holder returns a function that reports whether a log had the record at an offset when the
// broker was made. Trimmed records count as had, and so do those of a deleted topic.
func (b *Broker) holder() func(t schedule.Target, offset int64) bool {
	ends := make(map[schedule.Target]int64) // not by *Partition: a topic that could not be deleted has others later
	var topics []*Topic
	if b.schedule.Used() {
		topics = b.catalog.Topics()
	}
	for _, t := range topics {
		for _, p := range t.Partitions() {
			_, ends[p.target()] = p.Offsets()
		}
	}
	return func(t schedule.Target, offset int64) bool {
		topic, err := b.catalog.TopicByID(t.Topic)
		if err != nil {
			return true
		}
		all := topic.Partitions()
		if int(t.Partition) >= len(all) || offset >= ends[t] { // or the log was not available: messages come twice
			return false
		}
		return all[t.Partition].holds(offset)
	}
}

// holds reports whether the log has, or has had, the record at an offset below its end.
func (p *Partition) holds(offset int64) bool {
	if start, _ := p.Offsets(); offset < start {
		return true
	}
	found := false
	err := walk(p, offset, stopAt, func(b batch.Batch) (bool, error) {
		found = b.BaseOffset() <= offset
		return false, nil
	})
	if _, lacks := missingUntil(err); err != nil && !lacks {
		found = !errors.Is(err, store.ErrOutOfRange) // unknown: it is not delivered twice
	}
	return found
}

// waitingStreams are the streams whose messages the log of delayed messages had at the start, by
// topic.
type waitingStreams struct {
	mu      sync.Mutex // guards what follows
	byTopic map[[16]byte]*streams
}

// add adds the number of a message.
func (w *waitingStreams) add(topic [16]byte, p batch.Producer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.byTopic[topic]
	if s == nil {
		if w.byTopic == nil {
			w.byTopic = make(map[[16]byte]*streams)
		}
		s = new(streams)
		w.byTopic[topic] = s
	}
	st := s.of(p.ID)
	n := st.whole(p.Sequence)
	st.stored.exact.add(stretch{n, n + 1})
}

// take takes the streams of a topic; nil for none.
func (w *waitingStreams) take(topic [16]byte) *streams {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.byTopic[topic]
	delete(w.byTopic, topic)
	return s
}

// waitingOf takes the streams of a topic that the log of delayed messages had at the start; nil
// for none. It waits until that log has been read, or the broker ends.
func (b *Broker) waitingOf(t *Topic) *streams {
	select {
	case <-b.schedule.Loaded():
	case <-b.work.stop:
	}
	return b.waiting.take(t.ID)
}
