package delivery

import (
	"runtime"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
)

// Slots bound the memory for compressed batches while they are sent: each may expand to
// batch.DefaultMaxExpanded bytes, and a reader may be slow. A batch that expands to more than
// smallExpansion needs a slot. A session gives it up after slotTime if others wait.
type slots struct {
	taken   chan struct{} // holds as many as there are slots taken
	waiting atomic.Int32
}

const (
	// slotTime is how long a slot is kept while others wait for one.
	slotTime = 250 * time.Millisecond

	// smallExpansion is the size that a batch may expand to without a slot, in bytes.
	smallExpansion = 256 << 10
)

func newSlots() *slots {
	return &slots{taken: make(chan struct{}, max(4, runtime.GOMAXPROCS(0)))}
}

// beginSlot waits for a slot if a batch needs one. The client may have left
// meanwhile.
func (l *loader) beginSlot(b batch.Batch) error {
	if !b.Compressed() || !l.since.IsZero() {
		return nil
	}
	slots := l.hub.slots
	select {
	case slots.taken <- struct{}{}:
	default:
		<-l.hub.loads // so that a loader that waits holds up nobody
		slots.waiting.Add(1)
		slots.taken <- struct{}{}
		slots.waiting.Add(-1)
		l.hub.loads <- struct{}{}
		if _, err := l.sink.Received(); err != nil {
			<-slots.taken
			return err
		}
	}
	l.since = time.Now()
	return nil
}

// expand points the iterator at a batch, after beginSlot, and ends the slot if the batch is
// small.
func (l *loader) expand(b batch.Batch) error {
	err := l.it.Reset(b)
	if l.it.Expanded() <= smallExpansion {
		l.endSlot()
	} else if !l.since.IsZero() {
		l.since = time.Now()
	}
	return err
}

// endSlot gives up the slot, and the memory of a batch that needed one.
func (l *loader) endSlot() {
	if l.it.Expanded() > smallExpansion {
		l.it = batch.Iterator{}
	}
	if !l.since.IsZero() {
		l.since = time.Time{}
		<-l.hub.slots.taken
	}
}

// slotIsOver reports whether it is time to let others have the slot.
func (l *loader) slotIsOver() bool {
	return !l.since.IsZero() && l.hub.slots.waiting.Load() > 0 && time.Since(l.since) > slotTime
}
