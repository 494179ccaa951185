package broker

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
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
// that append is torn. It is for the delivering goroutine.
func (b *Broker) compactDelays() {
	d := &b.delays
	d.mu.Lock()
	bytes, messages := d.bytes, d.messages
	due := bytes >= max(b.Limits.CompactDelayed, 2*d.floor) && 2*len(d.waiting) < messages
	var offsets []int64
	if due {
		for _, w := range d.waiting {
			offsets = append(offsets, w.offset)
		}
	}
	d.mu.Unlock()
	if !due || len(offsets) == 0 || d.unread {
		return
	}
	slices.Sort(offsets)
	m := mover{b: b, log: d.log, left: offsets}
	err := m.run()
	cut := d.moved(&m, err == nil, bytes, messages)
	if err == nil {
		err = d.log.Trim(cut)
	}
	if isDamage(err) {
		b.leaveDelayed(offsets[0], offsets[len(offsets)-1]+1, err)
	} else if err != nil && !errors.Is(err, errStopping) {
		b.Log.Warn("the log of delayed messages could not be compacted", "reason", err)
	}
}

// moved puts the new offsets in place of the old ones, and returns what the log may
// be trimmed to. bytes and messages are how the log was before.
func (d *delays) moved(m *mover, whole bool, bytes int64, messages int) (cut int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cut = m.start
	for i := range d.waiting {
		w := &d.waiting[i]
		if at, found := slices.BinarySearchFunc(m.moves, w.offset, func(v move, o int64) int { return cmp.Compare(v.from, o) }); found {
			w.offset = m.moves[at].to
		}
		cut = min(cut, w.offset) // that of one which was on its way to the log
	}
	heap.Init(&d.waiting)
	d.bytes += m.bytes
	d.messages += len(m.moves)
	if whole {
		d.bytes -= bytes
		d.messages -= messages
	}
	d.floor = d.bytes
	return cut
}

// A mover writes waiting messages to the end of their log.
type mover struct {
	b     *Broker
	log   store.Partition
	left  []int64 // offsets, ascending
	piece batch.Builder
	old   []int64 // offsets of what is in the piece
	moves []move  // that are durable
	start int64   // of the first
	bytes int64
}

func (m *mover) run() error {
	var it batch.Iterator
	err := walk(m.log, m.left[0], stopAt, func(b batch.Batch) (bool, error) {
		if m.left[0] >= b.NextOffset() {
			return true, nil
		}
		if err := it.Reset(b); err != nil {
			return false, err
		}
		for len(m.left) > 0 && it.Next() {
			if err := m.take(it.Record()); err != nil {
				return false, err
			}
		}
		return len(m.left) > 0, it.Err()
	})
	if err != nil {
		return err
	}
	if len(m.left) > 0 {
		return errNoRecord
	}
	return m.flush()
}

// take takes a record, if it is one that waits.
func (m *mover) take(r *batch.Record) error {
	if r.Offset != m.left[0] {
		return nil
	}
	m.piece.AddRecord(r)
	m.old, m.left = append(m.old, r.Offset), m.left[1:]
	if m.piece.OpenSize() >= TargetBatch {
		m.piece.Close(0)
	}
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
	note := make([]byte, 0, 8*len(m.old))
	for _, o := range m.old {
		note = binary.BigEndian.AppendUint64(note, uint64(o))
	}
	m.piece.Add(time.Now().UnixMilli(), nil, note)
	m.piece.Close(0)
	base, err := store.AppendAndWait(m.log, m.piece.Bytes())
	if err != nil {
		return err
	}
	if len(m.moves) == 0 {
		m.start = base
	}
	for i, o := range m.old {
		m.moves = append(m.moves, move{o, base + int64(i)})
	}
	m.bytes += int64(len(m.piece.Bytes()))
	m.piece.Reset()
	m.old = m.old[:0]
	return nil
}
