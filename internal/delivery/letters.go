package delivery

import (
	"mbus/internal/broker"
	"mbus/internal/group"
)

// RedriveSome is Redrive for the letters at some places. It leaves out letters that were consumed
// before, or that another consumer holds.
func (h *Hub) RedriveSome(o Options, toAll bool, letters []broker.Place) (Redriven, error) {
	r := &redrive{options: o, toAll: toAll, progress: ignoreProgress}
	return r.do(h, func() error { return r.some(letters) })
}

// DiscardSome has the letters at some places count as consumed: a redrive does not find them any more.
// Moved is how many there were.
func (h *Hub) DiscardSome(o Options, letters []broker.Place) (Redriven, error) {
	r := &redrive{options: o, progress: ignoreProgress, discards: true}
	return r.do(h, func() error { return r.some(letters) })
}

func ignoreProgress(uint64) error { return nil }

// some moves the letters at some places.
func (r *redrive) some(letters []broker.Place) error {
	for _, at := range letters {
		if at.Partition < 0 || at.Partition >= len(r.sub.partitions) {
			return noPartition(at.Partition, len(r.sub.partitions))
		}
		p := &r.sub.partitions[at.Partition]
		if at.Offset < 0 || at.Offset >= p.end {
			return errorf(ErrPosition, "partition %d has no letter at offset %d", at.Partition, at.Offset)
		}
		if _, err := r.move(p, group.Span{From: at.Offset, To: at.Offset + 1}); err != nil {
			r.completeStep() // what was moved is consumed; the first error counts
			return err
		}
		if r.step.isFull() {
			if err := r.completeStep(); err != nil {
				return err
			}
		}
	}
	return r.completeStep()
}
