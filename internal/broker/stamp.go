package broker

import (
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A stamping partition is a topic's as its log takes messages in: where the time of
// the log counts (LogAppendTime), batches get it.
type stamping struct {
	store.Partition
	topic *Topic
	now   func() time.Time

	mu   sync.Mutex // held over the append of what is stamped, so that times ascend
	last int64      // the latest time; one that the clock was put back behind does not count
}

// Write implements store.Partition.
func (p *stamping) Write(batches []byte, done func(base int64, err error)) (store.Lead, error) {
	if !p.topic.settings.Load().appendTime {
		return p.Partition.Write(batches, done)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.now().UnixMilli(); now > p.last || p.last-now > clockStep.Milliseconds() {
		p.last = now
	}
	for rest := batches; len(rest) > 0; {
		b, next, err := batch.Next(rest)
		if err != nil {
			return store.Lead{}, err
		}
		b.SetAppendTime(p.last)
		rest = next
	}
	return p.Partition.Write(batches, done)
}

// stampedAt is the time that the log has given a batch, -1 if it has none.
func stampedAt(b batch.Batch) int64 {
	if b.LogAppendTime() {
		return b.MaxTimestamp()
	}
	return -1
}
