package broker

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// loadDelays finds what waits in a log, if there is one, below end: what was kept
// there, without what was noted to be delivered. Damage is reported and passed over;
// where it has cost a note, messages are delivered once more.
func (b *Broker) loadDelays(log store.Partition, end int64) error {
	d := &b.delays
	if log == nil {
		return nil
	}
	var r replayed
	var it batch.Iterator
	var bytes int64
	start, _ := log.Offsets()
	damaged := func(err error) error {
		b.leaveDelayed(start, end, err)
		return nil
	}
	if err := walk(log, start, damaged, func(bt batch.Batch) (bool, error) {
		bytes += int64(len(bt))
		if err := r.take(bt, end, &it); err != nil {
			b.leaveDelayed(bt.BaseOffset(), bt.NextOffset(), err)
		}
		return bt.BaseOffset() < end, nil
	}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += bytes
	d.messages += len(r.kept)
	d.waiting = append(d.waiting, r.waiting()...)
	heap.Init(&d.waiting)
	return nil
}

// replayed is what the log of delayed messages says, in the order of the log. It
// takes a few bytes for each message, for there may be millions.
type replayed struct {
	kept      dues
	delivered []int64 // offsets
}

// take takes a batch's records below end.
func (l *replayed) take(b batch.Batch, end int64, it *batch.Iterator) error {
	if err := it.Reset(b); err != nil {
		return err
	}
	for it.Next() {
		r := it.Record()
		switch {
		case r.Offset >= end:
		case r.Key == nil:
			for v := r.Value; len(v) >= 8; v = v[8:] {
				l.delivered = append(l.delivered, int64(binary.BigEndian.Uint64(v)))
			}
		case len(r.Key) >= keySize:
			l.kept = append(l.kept, due{int64(binary.BigEndian.Uint64(r.Key)), r.Offset})
		}
	}
	return it.Err()
}

// waiting are those that have been kept and not delivered.
func (l *replayed) waiting() dues {
	slices.Sort(l.delivered)
	return slices.DeleteFunc(l.kept, func(d due) bool {
		_, found := slices.BinarySearch(l.delivered, d.offset)
		return found
	})
}

// isDamage says whether an error means that what the log holds can't be used, now or
// later.
func isDamage(err error) bool {
	_, missing := missingUntil(err)
	return missing || errors.Is(err, batch.ErrCorrupt) || errors.Is(err, errNoRecord)
}

// leaveDelayed reports, once, what is damaged in the log of delayed messages, at the
// offsets from first up to but not including next unless err names them. It is not
// delivered before a restart, and the log is kept until then, for another disk or
// machine may still read it. It is for the delivering goroutine.
func (b *Broker) leaveDelayed(first, next int64, err error) {
	if _, named := missingUntil(err); !named {
		err = fmt.Errorf("%s/0: offsets %d to %d: %w", DelayedTopic, first, next-1, err)
	}
	d := &b.delays
	d.unread = true
	if d.reported[err.Error()] {
		return
	}
	if d.reported == nil {
		d.reported = make(map[string]bool)
	}
	d.reported[err.Error()] = true
	b.Log.Error("delayed messages are damaged, and will not be delivered", "reason", err)
}
