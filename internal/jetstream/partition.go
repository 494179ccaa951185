package jetstream

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// A partition is a log in messages of one subject. Each part of its state has one owner with a lock of
// its own: the appender publishes, visible is what readers see, sections are where they begin,
// messages finds them.
//
// Locks are taken in this order: trimming, sections.loading, appender.mu; then those under which no
// other is taken: visible.mu, sections.mu, messages.points.mu, those of caches and budgets.
type partition struct {
	*owner
	topic  string
	number int
	leader int32 // leader epoch of its batches
	first  int64 // offset of the first record that it ever had, or will have
	at     place
	alone  atomic.Bool // no other partition has messages in the stream

	trimming sync.Mutex // held while the log start offset moves
	appends  appender
	visible  visible
	sections sections
	messages messages
}

// newPartition makes a partition that can be used when open is called.
func newPartition(o *owner, t *store.Topic, number int, at place) *partition {
	p := &partition{owner: o, topic: t.Name, number: number, leader: t.PartitionEpoch(number), at: at}
	p.appends.log, p.sections.log, p.messages.log = p, p, p
	p.appends.freed.L = &p.appends.mu
	p.appends.opening, p.visible.opening = true, true
	return p
}

// open makes the partition usable. It goes on behind the tail of the log.
func (p *partition) open(t *tail) {
	p.sections.below = t.section
	wake := p.visible.open(t)
	p.appends.open(t)
	for _, f := range wake {
		f(store.More)
	}
}

// Available implements store.Opener.
func (p *partition) Available() error {
	if _, err := p.visible.view(); errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return nil
}

func (p *partition) warn(msg string, args ...any) {
	p.log.Warn(msg, append([]any{"topic", p.topic, "partition", p.number}, args...)...)
}

// Write implements store.Partition. It waits while too much is on its way.
func (p *partition) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	return store.Lead{}, p.appends.write(batches, done)
}

// Offsets implements store.Partition.
func (p *partition) Offsets() (start, high int64) {
	v, _ := p.visible.view() // it stays after the end
	return v.start, v.high
}

// Size implements store.Partition.
func (p *partition) Size() int64 {
	v, _ := p.visible.view()
	return v.pos - v.removed
}

// Roll implements store.Partition.
func (p *partition) Roll(bytes int64, age time.Duration) {
	p.appends.rollBytes.Store(bytes)
	p.appends.rollAge.Store(int64((age + time.Second - 1) / time.Second))
}

// Sync implements store.Partition: what was acknowledged is durable.
func (p *partition) Sync(done func(error)) { done(nil) }

// Wake implements store.Partition.
func (p *partition) Wake(offset int64, f func(store.Reason)) (cancel func()) {
	return p.visible.wake(offset, f)
}

// close ends the log with store.ErrDeleted or store.ErrClosed, when what was appended is acknowledged.
func (p *partition) close(ended error) {
	p.appends.close(ended)
	p.finish(ended)
}

// abandon ends the log with store.ErrMoved: nobody knows whether what was appended is stored.
func (p *partition) abandon(ended error) {
	p.appends.fail(ended)
	p.finish(ended)
}

func (p *partition) finish(ended error) {
	for _, f := range p.visible.end(ended) {
		f(reasonOf(ended))
	}
	p.written.drop(p)
	p.fetched.drop(p)
}
