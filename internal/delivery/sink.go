package delivery

import (
	"cmp"
	"slices"
	"time"

	"mbus/internal/batch"
	"mbus/internal/group"
)

// A Sink is where a session writes: it knows the format of messages, and the transport.
// One goroutine calls it at a time, but for Cut.
type Sink interface {
	// Append encodes messages from m.From on and returns the offset behind the last of
	// them; m.To if it has encoded all. If it is full, Flush is called next: the Sink may
	// refer to m.Batch until then. An error of decoding wraps batch.ErrCorrupt or
	// batch.ErrTooLarge.
	Append(m *Messages) (next int64, full bool, err error)

	// Confirm encodes which acknowledgements are durable: the first count messages, unless
	// count is 0, and those in ranges.
	Confirm(count uint64, ranges []Range)

	// Flush writes all that was encoded. If the reader takes nothing for patience, Flush copies
	// the rest, calls onStall, which frees m.Batch, and then waits.
	Flush(patience time.Duration, onStall func()) error

	// Cut ends a Flush that waits, now or later. Any goroutine may call it.
	Cut()

	// Written is the number of bytes written, and Received how many of them the client's
	// system has. The error is that of a broken connection.
	Written() int64
	Received() (int64, error)

	// TakesBatches reports whether batches are written as they are stored, compressed or not.
	TakesBatches() bool

	// ReleaseBuffers gives memory back until the next Append.
	ReleaseBuffers()
}

// A Range is messages by their numbers, First and Last included.
type Range struct{ First, Last uint64 }

// Messages are messages of one batch, for a Sink to write.
type Messages struct {
	Topic     string
	Partition int
	Batch     batch.Batch
	From, To  int64 // the offsets that are to be written
	Loaded    int   // bytes from the beginning of Batch on that are in memory: more batches may follow

	loader   *loader
	pos      *group.Position // to find failures; nil if they don't matter
	failures []group.Failure // of messages in the span, ascending
	expanded bool            // the loader's iterator reads the batch
}

// IsWhole reports whether the messages are all of the batch.
func (m *Messages) IsWhole() bool {
	return m.From <= m.Batch.BaseOffset() && m.To >= m.Batch.NextOffset()
}

// Records is an iterator over the batch. It goes on where the call before left it, and begins
// at the batch's first record, which may be below From. It may wait for a decompression slot.
func (m *Messages) Records() (*batch.Iterator, error) {
	if !m.expanded {
		m.expanded = true
		m.loader.packed = m.Batch.Compressed()
		if err := m.loader.beginSlot(m.Batch); err != nil {
			return nil, err
		}
		if err := m.loader.expand(m.Batch); err != nil {
			return nil, err
		}
	}
	return &m.loader.it, nil
}

// AnyFailed reports whether one of the messages has failed before.
func (m *Messages) AnyFailed() bool {
	if m.pos != nil {
		m.failures, m.pos = m.pos.FailuresIn(group.Span{From: m.From, To: m.To}), nil
	}
	return len(m.failures) > 0
}

// Attempt is how often a message has been delivered, this time included.
func (m *Messages) Attempt(offset int64) int {
	if !m.AnyFailed() {
		return 1
	}
	i, found := slices.BinarySearchFunc(m.failures, offset, func(f group.Failure, o int64) int { return cmp.Compare(f.Offset, o) })
	if !found {
		return 1
	}
	return m.failures[i].Attempts + 1
}
