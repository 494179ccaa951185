package broker

import (
	"errors"
	"sync"

	"mbus/internal/batch"
)

// ages remember the times of messages that groups have not consumed, because lag is looked at again
// and again and reading a message costs a look into its log. The zero value is ready.
type ages struct {
	mu    sync.Mutex // guards what follows
	times map[ageKey]int64
}

type ageKey struct {
	topic     [16]byte
	partition int
	offset    int64
}

// maxHoles bounds the looks for a message behind offsets that have none.
const maxHoles = 8

// timeAt is the time of the first message from an offset on, in milliseconds since 1970; false if none can be
// read there.
func (a *ages) timeAt(p *Partition, offset int64) (ms int64, ok bool) {
	k := ageKey{p.topic.ID, p.number, offset}
	a.mu.Lock()
	ms, ok = a.times[k]
	a.mu.Unlock()
	if ok {
		return ms, true
	}
	for range maxHoles {
		err := WithRecord(p, offset, func(r *batch.Record) error {
			ms, ok = r.Timestamp, true
			return nil
		})
		var hole *HoleError
		if !errors.As(err, &hole) {
			break
		}
		offset = hole.Next
	}
	if !ok {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.times) >= maxAges || a.times == nil {
		a.times = make(map[ageKey]int64)
	}
	a.times[k] = ms
	return ms, true
}

// OldestUnconsumed is the time of the oldest message that a group has not consumed, in milliseconds since 1970;
// false if there is none, or none can be read.
func (v *View) OldestUnconsumed(l *GroupLag) (ms int64, ok bool) {
	if l.Lag == 0 || v.topic(Describe, l.Topic) != nil {
		return 0, false
	}
	t, err := v.broker.catalog.Topic(l.Topic)
	if err != nil || l.Partition >= len(t.Partitions()) {
		return 0, false // deleted just now
	}
	p := t.Partitions()[l.Partition]
	start, _ := p.Offsets()
	return v.broker.ages.timeAt(p, max(l.Committed, start))
}

// Oldest is the earliest time of a first message of the topic's partitions, in milliseconds since
// 1970; false if there is none. It reads the log only when the first message is another one.
func (t *Topic) Oldest() (ms int64, ok bool) {
	for _, p := range t.Partitions() {
		start, high := p.Offsets()
		if start == high {
			continue
		}
		if at, found := p.broker.ages.timeAt(p, start); found && (!ok || at < ms) {
			ms, ok = at, true
		}
	}
	return ms, ok
}
