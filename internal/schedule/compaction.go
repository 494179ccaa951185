package schedule

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// errStopping ends a compaction when Run ends.
var errStopping = errors.New("the broker is stopping")

// A move is a waiting message's offset, and its offset after the compaction.
type move struct{ from, to int64 }

// Moves are the messages that a compaction gives new offsets.
type moves struct {
	mover *mover          // the compaction that runs; nil for none
	noted []int64         // offsets noted since it began that it had not moved
	moved map[int64]int64 // of what was being delivered when it ended: the new offsets
}

// offsetsOf lists the offsets to note for a message: where it was found, and where a
// compaction has moved it meanwhile.
func (m *moves) offsetsOf(offset int64) []int64 {
	if to, ok := m.moved[offset]; ok {
		delete(m.moved, offset)
		return []int64{offset, to}
	}
	if m.mover != nil {
		if to, ok := m.mover.newOffset(offset); ok {
			return []int64{offset, to}
		}
		m.noted = append(m.noted, offset)
	}
	return []int64{offset}
}

// compactIfDue begins a compaction if most of the log has been delivered. It appends the
// waiting messages once more and trims the log, so that one message that waits for a year
// does not keep all that come after it. When they are durable it notes them as delivered from
// where they were: a crash leaves a message in one place or in both.
// Messages are delivered meanwhile. It is for the goroutine of Run.
func (s *Schedule) compactIfDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moves.mover != nil || !s.usage.isMostlyDelivered(s.CompactBytes) || s.keepsDamage(math.MaxInt64) {
		return
	}
	m := &mover{s: s, log: s.log, beganBytes: s.usage.bytes, beganMessages: s.usage.messages}
	for _, q := range s.queues.byTarget {
		for _, w := range q.waiting {
			m.left = append(m.left, w.offset)
		}
	}
	if len(m.left) == 0 {
		return
	}
	s.moves.mover = m
	s.ended.Go(func() { s.compact(m) })
}

func (s *Schedule) compact(m *mover) {
	slices.Sort(m.left)
	err := m.run()
	cut, orphans := s.install(m, err == nil)
	if len(orphans) > 0 {
		<-s.note(orphans, arrival{})
	}
	if err == nil {
		err = s.trim(cut)
	}
	if err != nil && !errors.Is(err, errStopping) && !store.Ended(err) {
		s.Report.Warn("the log of delayed messages could not be compacted: it grows until the next attempt", "topic", Topic, "bytes", m.log.Size(), "reason", err)
	}
}

// install puts the new offsets in place of the old ones, and returns the offset to which the
// log may be trimmed. Orphans were moved although they had just been delivered.
func (s *Schedule) install(m *mover, whole bool) (cut int64, orphans []due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moves.mover = nil
	cut = m.start
	known := make([]bool, len(m.moves)) // whose new offset is known elsewhere
	for _, o := range s.moves.noted {
		if i, ok := m.search(o); ok {
			known[i] = true
			orphans = append(orphans, due{offset: m.moves[i].to})
		}
	}
	for _, i := range m.settled {
		known[i] = true
	}
	s.moves.noted = nil
	s.usage.left += len(orphans) // their note takes them off again
	for _, q := range s.queues.byTarget {
		had := len(q.waiting)
		q.waiting = m.relocate(q.waiting, known)
		s.usage.left -= had - len(q.waiting)
		for _, w := range q.waiting {
			cut = min(cut, w.offset)
		}
		cut = min(cut, q.lowest)
		s.update(q)
	}
	for k := range s.pending {
		cut = min(cut, k.first)
	}
	for i, v := range m.moves {
		if !known[i] { // it is being delivered
			s.moves.moved[v.from] = v.to
		}
	}
	s.usage.bytes += m.bytes
	s.usage.messages += len(m.moves)
	if whole {
		s.usage.bytes -= m.beganBytes
		s.usage.messages -= m.beganMessages
	}
	s.usage.floor = s.usage.bytes
	s.usage.delivered = deliveredUpTo{}
	return cut, orphans
}

// A mover writes waiting messages to the end of their log.
type mover struct {
	s     *Schedule
	log   store.Partition
	left  []int64       // offsets, ascending
	lost  []int64       // offsets of those that are damaged, ascending
	write batch.Builder // the next write
	old   []int64       // offsets of its messages
	start int64         // of the first that was moved; 0 for none
	bytes int64

	beganBytes    int64 // of the log when the mover began
	beganMessages int

	moves   []move // that are durable; guarded by the mutex of the schedule, as is settled
	settled []int  // of the moves, those whose message has been delivered since
}

func (m *mover) run() error {
	var it batch.Iterator
	if err := store.Walk(m.log, m.left[0], m.skip, func(b batch.Batch) (bool, error) {
		if len(m.left) == 0 || m.left[0] >= b.NextOffset() {
			return len(m.left) > 0, nil
		}
		if err := it.Reset(b); err != nil {
			m.giveUp(b.NextOffset(), err)
			return true, nil
		}
		for len(m.left) > 0 && it.Next() {
			if err := m.add(it.Record()); err != nil {
				return false, err
			}
		}
		if err := orNoRecord(it.Err()); len(m.left) > 0 {
			m.giveUp(b.NextOffset(), err)
		}
		return len(m.left) > 0, nil
	}); err != nil {
		return err
	}
	m.giveUp(math.MaxInt64, errNoRecord)
	return m.flush()
}

// orNoRecord is err, or the error for a record that a batch does not have.
func orNoRecord(err error) error {
	if err == nil {
		return errNoRecord
	}
	return err
}

// skip passes over damage and gaps.
func (m *mover) skip(err error) error {
	_, next, _ := store.Missing(err)
	m.giveUp(next, err)
	return nil
}

// giveUp gives up the messages to be moved that are below an offset.
func (m *mover) giveUp(next int64, err error) {
	n, _ := slices.BinarySearch(m.left, next)
	if n == 0 {
		return
	}
	m.s.reportDamage(offsetRange{m.left[0], m.left[n-1] + 1}, err)
	m.lost = append(m.lost, m.left[:n]...)
	m.left = m.left[n:]
}

// add adds a record to the next write, if it is a message to be moved.
func (m *mover) add(r *batch.Record) error {
	if r.Offset > m.left[0] {
		m.giveUp(r.Offset, errNoRecord)
	}
	if len(m.left) == 0 || r.Offset != m.left[0] {
		return nil
	}
	m.write.AddRecord(r)
	m.old, m.left = append(m.old, r.Offset), m.left[1:]
	closeFull(&m.write, m.s.BatchBytes)
	if len(m.write.Bytes()) < compactWrite {
		return nil
	}
	return m.flush()
}

// flush appends the next write, and when that is durable the note that its messages are delivered
// from where they were. One append would not do: recovery keeps a whole batch behind a torn one, so
// that the note could outlive the messages.
func (m *mover) flush() error {
	if len(m.old) == 0 {
		return nil
	}
	select {
	case <-m.s.stop:
		return errStopping
	default:
	}
	m.write.Close(0)
	base, err := store.AppendAndWait(m.log, m.write.Bytes())
	if err != nil {
		return err
	}
	if len(m.moves) == 0 {
		m.start = base
	}
	m.s.mu.Lock()
	for i, o := range m.old {
		m.moves = append(m.moves, move{o, base + int64(i)})
	}
	m.s.mu.Unlock()
	note := buildNote(m.old, arrival{}, m.s.Now(), m.s.BatchBytes)
	m.bytes += int64(len(m.write.Bytes()) + len(note))
	if _, err := store.AppendAndWait(m.log, note); err != nil {
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		m.s.notes.unnoted = append(m.s.notes.unnoted, m.old...)
		return err
	}
	m.write.Reset()
	m.old = m.old[:0]
	return nil
}

// search finds the move of the message that was at an offset.
func (m *mover) search(from int64) (i int, found bool) {
	return slices.BinarySearchFunc(m.moves, from, func(v move, o int64) int { return cmp.Compare(v.from, o) })
}

// newOffset is the offset to which a message has been moved that has just been delivered.
func (m *mover) newOffset(from int64) (to int64, ok bool) {
	i, ok := m.search(from)
	if !ok {
		return 0, false
	}
	m.settled = append(m.settled, i)
	return m.moves[i].to, true
}

// relocate gives messages their new offsets, and marks these moves as known. Messages that
// are lost are left out.
func (m *mover) relocate(waiting dues, known []bool) dues {
	kept := waiting[:0]
	for _, w := range waiting {
		if i, ok := m.search(w.offset); ok {
			w.offset, known[i] = m.moves[i].to, true
		} else if _, lost := slices.BinarySearch(m.lost, w.offset); lost {
			continue
		}
		kept = append(kept, w)
	}
	kept.init()
	return kept
}
