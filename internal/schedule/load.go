package schedule

import (
	"encoding/binary"
	"fmt"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// load fills the queues from the log, if there is one, up to the end that it had when the
// schedule was made: all messages there but those that are noted as delivered. Damage is
// reported and passed over; if it has cost a note, messages are delivered once more. The
// queues of missing topics are due at once.
func (s *Schedule) load(holds func(Target, int64) bool) error {
	log := s.Log
	if log == nil {
		return nil
	}
	r := replayed{kept: make(map[Target]*keptList), arrivals: make(map[Target][]deliveredRun), numbered: s.Numbered, strange: func(offset int64) {
		s.reportDamage(offsetRange{offset, offset + 1}, fmt.Errorf("%w: the record's key can't be read", batch.ErrCorrupt))
	}}
	var it batch.Iterator
	var bytes int64
	start, _ := log.Offsets()
	damaged := func(err error) error {
		s.reportDamage(offsetRange{start, s.end}, err)
		return nil
	}
	if err := store.Walk(log, start, damaged, func(b batch.Batch) (bool, error) {
		bytes += int64(len(b))
		if err := r.read(b, s.end, &it); err != nil {
			s.reportDamage(offsetRange{b.BaseOffset(), b.NextOffset()}, err)
		}
		return b.BaseOffset() < s.end, nil
	}); err != nil {
		return err
	}
	s.mu.Lock()
	s.usage.bytes += bytes
	s.usage.messages += r.count
	s.mu.Unlock()
	s.recall(&r, holds)
	slices.Sort(r.delivered)
	for t, list := range r.kept {
		s.loadQueue(t, list.name, list.waiting(r.delivered))
		delete(r.kept, t)
	}
	return nil
}

// loadQueue has messages wait.
func (s *Schedule) loadQueue(t Target, name string, waiting dues) {
	if len(waiting) == 0 {
		return
	}
	_, exists := s.Topics.Name(t.Topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage.left += len(waiting)
	q := s.queues.of(t, name)
	q.waiting = append(q.waiting, waiting...)
	q.waiting.init()
	q.atOnce = !exists
	s.update(q)
}

// Replayed is the contents of the log, in its order. It takes a few bytes for each message,
// because there may be millions.
type replayed struct {
	kept      map[Target]*keptList
	count     int     // of messages
	delivered []int64 // offsets
	arrivals  map[Target][]deliveredRun
	last      Target // of the last record
	lastList  *keptList
	numbered  func(topic [16]byte, p batch.Producer) // called for each message, delivered or not
	strange   func(offset int64)                     // called for a record that is neither a message nor a note
}

// A keptList is the messages for one partition.
type keptList struct {
	name string // of the topic
	dues dues
}

// read reads a batch's records below end.
func (l *replayed) read(b batch.Batch, end int64, it *batch.Iterator) error {
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
			l.add(r)
		}
	}
	return it.Err()
}

// add adds a message.
func (l *replayed) add(r *batch.Record) {
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
	l.number(t.Topic, r.Value)
}

// number reports the producer of a message that has a number.
func (l *replayed) number(topic [16]byte, value []byte) {
	if len(value) < batch.HeaderSize {
		return
	}
	if p := batch.Batch(value).Producer(); p.ID > 0 {
		l.numbered(topic, p)
	}
}

// waiting are the messages that are not among the delivered offsets, which are sorted.
func (k *keptList) waiting(delivered []int64) dues {
	return slices.DeleteFunc(k.dues, func(d due) bool {
		_, found := slices.BinarySearch(delivered, d.offset)
		return found
	})
}
