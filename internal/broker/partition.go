package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// A Partition is one partition of a topic: the only way to publish to its log and to read
// it. Append has the order of what happens to a batch on its way in. Its methods may be
// called by any goroutine.
type Partition struct {
	broker *Broker
	topic  *Topic
	number int
	log    store.Partition

	opener   store.Opener // the log, if it may have to be opened later; else nil
	opened   opening
	internal bool // the topic is the broker's own

	stamp     stamp
	sequences sequences

	// begin is the log start offset that others see of the log of delayed messages: what was
	// delivered before it stays for a while, and is read at a start. 0 for other partitions.
	begin atomic.Int64
}

// Topic is the topic that the partition is of.
func (p *Partition) Topic() *Topic { return p.topic }

// Number is the partition's, from 0.
func (p *Partition) Number() int { return p.number }

// Fetch points c at whole batches, of max bytes or less but at least one, that begin with
// the one that holds offset: see store.Partition.Read.
func (p *Partition) Fetch(offset int64, max int, c *store.Chunk) error {
	return p.log.Read(offset, max, c)
}

// Wake calls f once, soon, when the high watermark is above offset, or the log has ended,
// with the reason: at once if it is so already. f must not block. cancel takes f back; it
// may come too late.
func (p *Partition) Wake(offset int64, f func(Reason)) (cancel func()) { return p.log.Wake(offset, f) }

// Available is ErrUnavailable while the log can't be opened, and nil most often.
func (p *Partition) Available() error {
	if p.opener == nil {
		return nil
	}
	return p.opener.Available()
}

// Offsets are the log start offset and the high watermark: records from start up to but
// not including high are durable and readable. Both are 0 while the log is not Available.
func (p *Partition) Offsets() (start, high int64) {
	start, high = p.log.Offsets()
	return max(start, p.begin.Load()), high
}

// OffsetForTime is the base offset of the first batch that has a record as late as time, in
// milliseconds since 1970; the high watermark if none has.
func (p *Partition) OffsetForTime(time int64) (int64, error) { return p.log.OffsetForTime(time) }

// Size is the number of bytes of all batches stored.
func (p *Partition) Size() int64 { return p.log.Size() }

// Trim makes before the log start offset, for good: see store.Partition.
func (p *Partition) Trim(before int64) error { return p.log.Trim(before) }

// Sync calls done once all that has been appended without an error is durable. done must
// not block.
func (p *Partition) Sync(done func(error)) { p.log.Sync(done) }

// hide sets the log start offset that others see: what lies before it is of no use to them.
func (p *Partition) hide(before int64) { p.begin.Store(max(before, p.begin.Load())) }

// exists reports whether this incarnation of the topic has not been deleted.
func (p *Partition) exists() bool {
	_, err := p.broker.catalog.TopicByID(p.topic.ID)
	return err == nil
}

// A stamp gives batches the log's time where that counts (LogAppendTime).
type stamp struct {
	mu   sync.Mutex // held over the write of what is stamped, so that times ascend
	last int64      // the latest time; one that the clock was put back behind does not count
}

// next is the time of the next batch. The caller holds mu.
func (s *stamp) next(now time.Time) int64 {
	if ms := now.UnixMilli(); ms > s.last || s.last-ms > clockStep.Milliseconds() {
		s.last = ms
	}
	return s.last
}
