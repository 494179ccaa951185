package broker

import (
	"math"
	"time"

	"mbus/internal/group"
	"mbus/internal/store"
)

// retainEvery is the time between two looks for messages that may go.
const retainEvery = time.Minute

// retain removes old messages until the broker ends.
func (b *Broker) retain() {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.Sweep()
		case <-b.stop:
			return
		}
	}
}

// Sweep removes the messages that the retention options let go, and is not misled
// by a clock that jumps. The broker calls it itself, once a minute, one call at a
// time.
func (b *Broker) Sweep() { b.sweep(b.clock.ageTime) }

// Retain removes the messages that the retention options let go at the time now,
// one call at a time.
func (b *Broker) Retain(now time.Time) {
	b.sweep(func(time.Duration) time.Time { return now })
}

// sweep is Retain, where the time depends on how long messages are kept.
func (b *Broker) sweep(now func(keep time.Duration) time.Time) {
	b.mu.RLock()
	topics := make([]*Topic, 0, len(b.topics))
	for name, t := range b.topics {
		if !Internal(name) {
			topics = append(topics, t)
		}
	}
	b.mu.RUnlock()
	for _, t := range topics {
		at := now(t.settings.Load().keep())
		for i := range t.Partitions() {
			b.retainPartition(t, i, at)
		}
	}
}

func (b *Broker) retainPartition(t *Topic, i int, now time.Time) {
	r := b.retentionOf(t, i, now)
	if r.Before <= 0 && r.Bytes <= 0 {
		return
	}
	log := b.Log.With("topic", t.Name, "partition", i)
	done, err := t.Partitions()[i].Retain(r)
	if err != nil {
		log.Warn("retention failed", "reason", err)
		return
	}
	if done.Freed > 0 {
		log.Info("removed old messages", "bytes", done.Freed, "start", done.Start)
	}
	if done.Held && !t.held[i] {
		log.Warn("keeping messages past their retention: group \"default\" has not consumed them",
			"from", r.Keep, "retention", b.opts.Retention)
	}
	t.held[i] = done.Held
}

// retentionOf is what a partition may forget. What group "default" has not consumed
// is kept, unless the age was set for this topic: who did that meant it.
func (b *Broker) retentionOf(t *Topic, i int, now time.Time) (r store.Retention) {
	s := t.settings.Load()
	if s.retentionBytes >= 0 {
		r.Bytes = max(1, s.retentionBytes)
	}
	if s.retention < 0 {
		return r
	}
	r.Before = now.UnixMilli() - s.retention
	if _, own := s.own[ConfigRetention]; own {
		r.Keep = math.MaxInt64
		return r
	}
	consumed, _ := b.groups.Committed(group.Key{Group: group.Default, Topic: t.Name, Partition: i})
	r.Keep = consumed.Offset
	return r
}
