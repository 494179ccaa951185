package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// loadDelays finds what waits in a log, if there is one, below end: what was kept
// there, without what was noted to be delivered. Damage is reported and passed over;
// where it has cost a note, messages are delivered once more. What waits for a topic that
// is not there is looked at at once.
func (b *Broker) loadDelays(log *Partition, end int64, ends map[target]int64) error {
	d := &b.delays
	if log == nil {
		return nil
	}
	r := replayed{kept: make(map[target]*keptList), arrivals: make(map[target][]deliveredRun), strange: func(offset int64) {
		b.leaveDelayed(offsetRange{offset, offset + 1}, fmt.Errorf("%w: the record's key can't be read", batch.ErrCorrupt))
	}}
	var it batch.Iterator
	var bytes int64
	start, _ := log.Offsets()
	damaged := func(err error) error {
		b.leaveDelayed(offsetRange{start, end}, err)
		return nil
	}
	if err := walk(log, start, damaged, func(bt batch.Batch) (bool, error) {
		bytes += int64(len(bt))
		if err := r.take(bt, end, &it); err != nil {
			b.leaveDelayed(offsetRange{bt.BaseOffset(), bt.NextOffset()}, err)
		}
		return bt.BaseOffset() < end, nil
	}); err != nil {
		return err
	}
	d.mu.Lock()
	d.bytes += bytes
	d.messages += r.count
	d.streams = r.streams
	d.mu.Unlock()
	b.recall(&r, ends)
	slices.Sort(r.delivered)
	for t, list := range r.kept {
		b.loadQueue(t, list.name, list.waiting(r.delivered))
		delete(r.kept, t)
	}
	return nil
}

// loadQueue has messages wait.
func (b *Broker) loadQueue(t target, name string, waiting dues) {
	if len(waiting) == 0 {
		return
	}
	_, err := b.TopicByID(t.topic)
	d := &b.delays
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left += len(waiting)
	q := d.of(t, name)
	q.waiting = append(q.waiting, waiting...)
	q.waiting.init()
	q.atOnce = err != nil
	d.settle(q)
}

// replayed is what the log of delayed messages says, in the order of the log. It
// takes a few bytes for each message, for there may be millions.
type replayed struct {
	kept      map[target]*keptList
	count     int     // of what was kept
	delivered []int64 // offsets
	arrivals  map[target][]deliveredRun
	last      target // of the last record
	lastList  *keptList
	streams   map[[16]byte]*streams // of what was kept, delivered or not, by topic
	strange   func(offset int64)    // for a record that is neither a message nor a note
}

// A keptList is what was kept for one partition.
type keptList struct {
	name string
	dues dues
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
			from := len(l.delivered)
			for v := r.Value; len(v) >= 8; v = v[8:] {
				l.delivered = append(l.delivered, int64(binary.BigEndian.Uint64(v)))
			}
			l.arrived(parseArrival(r), from)
		default:
			l.keep(r)
		}
	}
	return it.Err()
}

// keep takes a message.
func (l *replayed) keep(r *batch.Record) {
	at, t, name, ok := parseKey(r.Key)
	if !ok {
		l.strange(r.Offset)
		return
	}
	if l.lastList == nil || t != l.last {
		l.last, l.lastList = t, l.kept[t]
		if l.lastList == nil {
			l.lastList = &keptList{name: string(name)}
			l.kept[t] = l.lastList
		}
	}
	l.lastList.dues = append(l.lastList.dues, due{at, r.Offset})
	l.count++
	l.number(t.topic, r.Value)
}

// number takes the number of a message that belongs to a producer's stream.
func (l *replayed) number(topic [16]byte, value []byte) {
	if len(value) < batch.HeaderSize {
		return
	}
	p := batch.Batch(value).Producer()
	if p.ID <= 0 {
		return
	}
	s := l.streams[topic]
	if s == nil {
		if l.streams == nil {
			l.streams = make(map[[16]byte]*streams)
		}
		s = new(streams)
		l.streams[topic] = s
	}
	st := s.of(p.ID)
	n := st.whole(p.Sequence)
	st.stored.exact.add(stretch{n, n + 1})
}

// waiting are those that have been kept and not delivered: those are sorted.
func (k *keptList) waiting(delivered []int64) dues {
	return slices.DeleteFunc(k.dues, func(d due) bool {
		_, found := slices.BinarySearch(delivered, d.offset)
		return found
	})
}

// lose gives up a message, which waited at offset and is damaged.
func (b *Broker) lose(offset int64, err error) {
	b.delays.mu.Lock()
	b.delays.left--
	b.delays.mu.Unlock()
	b.leaveDelayed(offsetRange{offset, offset + 1}, err)
}

// leaveDelayed reports, once, what is damaged in the log of delayed messages, at
// these offsets unless err names others. It is not delivered before a restart.
func (b *Broker) leaveDelayed(at offsetRange, err error) {
	if named, ok := missingRange(err); ok {
		at = named
	} else {
		err = fmt.Errorf("%s/0: offsets %d to %d: %w", DelayedTopic, at.first, at.next-1, err)
	}
	d := &b.delays
	d.damaged(at)
	d.mu.Lock()
	known := d.reported[err.Error()]
	d.reported[err.Error()] = true
	d.mu.Unlock()
	if !known {
		b.Log.Error("delayed messages are damaged, and will not be delivered", "reason", err,
			"log", DelayedTopic, "keptUntilTheLogHasBytes", d.keepDamage)
	}
}

// missingRange is which offsets a log lacks, by an error that says so.
func missingRange(err error) (at offsetRange, ok bool) {
	var gap *store.GapError
	var damage *store.DamageError
	switch {
	case errors.As(err, &gap):
		return offsetRange{gap.First, gap.Next}, true
	case errors.As(err, &damage):
		return offsetRange{damage.First, damage.Next}, true
	}
	return at, false
}

// damaged notes that what is at these offsets is damaged.
func (d *delays) damaged(at offsetRange) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.damage.next == 0 {
		d.damage = at
	}
	d.damage = offsetRange{min(d.damage.first, at.first), max(d.damage.next, at.next)}
}

// keepsDamage says whether the log may not be trimmed to an offset, because it is damaged
// before that, or has not been read. The caller holds mu.
func (d *delays) keepsDamage(cut int64) bool {
	return d.unread || d.damage.next > 0 && d.damage.first < cut && d.log.Size() < d.keepDamage
}

// trimDelays trims the log of delayed messages.
func (b *Broker) trimDelays(cut int64) error {
	d := &b.delays
	if err := d.log.Trim(cut); err != nil {
		return err
	}
	d.mu.Lock()
	past := d.damage
	if past.next > cut {
		past.next = 0
	}
	if past.next > 0 {
		d.damage = offsetRange{}
	}
	d.mu.Unlock()
	if past.next > 0 {
		b.Log.Warn("the log of delayed messages was too large to keep what is damaged in it: that is removed", "first", past.first, "last", past.next-1)
	}
	return nil
}
