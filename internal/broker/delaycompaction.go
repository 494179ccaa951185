package broker

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"mbus/internal/batch"
)

// movePiece is how much of what waits is written anew at once, about, in bytes: it
// bounds what that takes in memory.
const movePiece = 1 << 20

// errStopping ends a compaction when the broker does.
var errStopping = errors.New("the broker is stopping")

// A move is a waiting message's offset, and the one that it has been given anew.
type move struct{ from, to int64 }

// compactDelays, if most of the log of delayed messages has been delivered, writes
// what waits once more and trims the log, so that one message that waits for a year
// does not hold all that come after it. What has been moved counts as delivered from
// where it was, in the same append: a crash leaves it in one place, or in both if
// that append is torn. Messages are delivered meanwhile. It is for the delivering
// goroutine.
func (b *Broker) compactDelays() {
	d := &b.delays
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mover != nil || d.left == 0 || d.bytes < max(b.Limits.CompactDelayed, 2*d.floor) || 2*d.left >= d.messages {
		return
	}
	if d.keepsDamage(math.MaxInt64) {
		return
	}
	m := &mover{b: b, log: d.log, beganBytes: d.bytes, beganMessages: d.messages}
	for _, q := range d.queues {
		for _, w := range q.waiting {
			m.left = append(m.left, w.offset)
		}
	}
	if len(m.left) == 0 {
		return
	}
	d.mover = m
	b.ended.Go(func() { b.compact(m) })
}

func (b *Broker) compact(m *mover) {
	slices.Sort(m.left)
	err := m.run()
	cut, orphans := b.delays.compacted(m, err == nil)
	if len(orphans) > 0 {
		<-b.note(orphans, arrival{})
	}
	if err == nil {
		err = b.trimDelays(cut)
	}
	if err != nil && !errors.Is(err, errStopping) {
		b.Log.Warn("the log of delayed messages could not be compacted", "reason", err)
	}
}

// compacted puts the new offsets in place of the old ones, and returns what the log may
// be trimmed to. Orphans have been moved although they had just been delivered.
func (d *delays) compacted(m *mover, whole bool) (cut int64, orphans []due) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mover = nil
	cut = m.start
	settled := make([]bool, len(m.moves)) // whose new offset somebody knows
	for _, o := range d.noted {
		if i, ok := m.search(o); ok {
			settled[i] = true
			orphans = append(orphans, due{offset: m.moves[i].to})
		}
	}
	for _, i := range m.told {
		settled[i] = true
	}
	d.noted = nil
	d.left += len(orphans) // their note takes them off again
	for _, q := range d.queues {
		had := len(q.waiting)
		q.waiting = m.relocate(q.waiting, settled)
		d.left -= had - len(q.waiting)
		for _, w := range q.waiting {
			cut = min(cut, w.offset)
		}
		cut = min(cut, q.lowest)
		d.settle(q)
	}
	for _, first := range d.pending {
		cut = min(cut, first)
	}
	for i, v := range m.moves {
		if !settled[i] { // it is being delivered
			d.moved[v.from] = v.to
		}
	}
	d.bytes += m.bytes
	d.messages += len(m.moves)
	if whole {
		d.bytes -= m.beganBytes
		d.messages -= m.beganMessages
	}
	d.floor = d.bytes
	d.delivered = deliveredUpTo{}
	return cut, orphans
}

// A mover writes waiting messages to the end of their log.
type mover struct {
	b     *Broker
	log   *Partition
	left  []int64 // offsets, ascending
	lost  []int64 // offsets of those that are damaged, ascending
	piece batch.Builder
	old   []int64 // offsets of what is in the piece
	start int64   // of the first that was moved; 0 for none
	bytes int64

	beganBytes    int64 // of the log when the mover began
	beganMessages int

	moves []move // that are durable; guarded by the mutex of delays, as is told
	told  []int  // of the moves, those that have been delivered since
}

func (m *mover) run() error {
	var it batch.Iterator
	if err := walk(m.log, m.left[0], m.pass, func(b batch.Batch) (bool, error) {
		if len(m.left) == 0 || m.left[0] >= b.NextOffset() {
			return len(m.left) > 0, nil
		}
		if err := it.Reset(b); err != nil {
			m.lose(b.NextOffset(), err)
			return true, nil
		}
		for len(m.left) > 0 && it.Next() {
			if err := m.take(it.Record()); err != nil {
				return false, err
			}
		}
		if err := orNoRecord(it.Err()); len(m.left) > 0 {
			m.lose(b.NextOffset(), err)
		}
		return len(m.left) > 0, nil
	}); err != nil {
		return err
	}
	m.lose(math.MaxInt64, errNoRecord)
	return m.flush()
}

// orNoRecord is err, or the error for a record that a batch does not have.
func orNoRecord(err error) error {
	if err == nil {
		return errNoRecord
	}
	return err
}

// pass passes over what can't be read.
func (m *mover) pass(err error) error {
	next, _ := missingUntil(err)
	m.lose(next, err)
	return nil
}

// lose gives up what is to be moved and is below an offset.
func (m *mover) lose(next int64, err error) {
	n, _ := slices.BinarySearch(m.left, next)
	if n == 0 {
		return
	}
	m.b.leaveDelayed(offsetRange{m.left[0], m.left[n-1] + 1}, err)
	m.lost = append(m.lost, m.left[:n]...)
	m.left = m.left[n:]
}

// take takes a record, if it is one that waits.
func (m *mover) take(r *batch.Record) error {
	if r.Offset > m.left[0] {
		m.lose(r.Offset, errNoRecord)
	}
	if len(m.left) == 0 || r.Offset != m.left[0] {
		return nil
	}
	m.piece.AddRecord(r)
	m.old, m.left = append(m.old, r.Offset), m.left[1:]
	closeFull(&m.piece)
	if len(m.piece.Bytes()) < movePiece {
		return nil
	}
	return m.flush()
}

// flush writes the piece, with the note that what is in it is delivered from where
// it was.
func (m *mover) flush() error {
	if len(m.old) == 0 {
		return nil
	}
	select {
	case <-m.b.stop:
		return errStopping
	default:
	}
	m.piece.Close(0)
	p := append(m.piece.Bytes(), buildNote(m.old, arrival{}, m.b.now())...)
	base, err := m.log.AppendAndWait(p)
	if err != nil {
		return err
	}
	if len(m.moves) == 0 {
		m.start = base
	}
	d := &m.b.delays
	d.mu.Lock()
	for i, o := range m.old {
		m.moves = append(m.moves, move{o, base + int64(i)})
	}
	d.mu.Unlock()
	m.bytes += int64(len(p))
	m.piece.Reset()
	m.old = m.old[:0]
	return nil
}

// search finds the move of the message that was at an offset.
func (m *mover) search(from int64) (i int, found bool) {
	return slices.BinarySearchFunc(m.moves, from, func(v move, o int64) int { return cmp.Compare(v.from, o) })
}

// tell returns where a message has been moved that has just been delivered.
func (m *mover) tell(from int64) (to int64, ok bool) {
	i, ok := m.search(from)
	if !ok {
		return 0, false
	}
	m.told = append(m.told, i)
	return m.moves[i].to, true
}

// relocate gives messages their new offsets, and marks these moves. Those that are lost
// are left out.
func (m *mover) relocate(waiting dues, settled []bool) dues {
	kept := waiting[:0]
	for _, w := range waiting {
		if i, ok := m.search(w.offset); ok {
			w.offset, settled[i] = m.moves[i].to, true
		} else if _, lost := slices.BinarySearch(m.lost, w.offset); lost {
			continue
		}
		kept = append(kept, w)
	}
	kept.init()
	return kept
}
