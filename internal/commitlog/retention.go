package commitlog

import (
	"sort"
	"time"

	"mbus/internal/store"
)

// trimRoll is the size in bytes of an active segment from which Trim begins a
// new one, so that the space behind a moving log start is freed sooner or later.
const trimRoll = 16 << 20

// Trim implements store.Partition.
func (l *partition) Trim(before int64) error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.mu.Lock()
	start, high, written := l.start, l.high.next, l.written.pos
	l.mu.Unlock()
	if before > high {
		return store.ErrOutOfRange
	}
	if before <= start {
		return nil
	}
	if written >= trimRoll {
		if err := l.roll(); err != nil {
			return err
		}
	}
	return l.drop(before)
}

// Retain implements store.Partition.
func (l *partition) Retain(r store.Retention) (store.Retained, error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.usable(); err != nil {
		return store.Retained{}, err
	}
	l.mu.Lock()
	segments, high, written := l.segments, l.high.next, l.written
	out := store.Retained{Start: l.start}
	l.mu.Unlock()

	before, sizes, err := int64(0), make([]int64, len(segments)), error(nil)
	aged := true
	for i, s := range segments {
		end := written
		if i < len(segments)-1 {
			if end, err = s.end(segments[i+1].base); err != nil {
				return out, err
			}
		}
		sizes[i] = end.pos
		aged = aged && r.Before > 0 && end.pos > 0 && end.maxTime < r.Before
		if aged && end.next > r.Keep {
			out.Held, aged = true, false
		}
		if aged && end.next <= high {
			before = end.next
		}
	}
	before = max(before, bySize(segments, sizes, r.Bytes))
	if before <= out.Start {
		return out, nil
	}
	if before > segments[len(segments)-1].base { // the active one goes, too
		if err := l.roll(); err != nil {
			return out, err
		}
	}
	size := l.Size()
	if err := l.drop(before); err != nil {
		return out, err
	}
	out.Start, out.Freed = before, size-l.Size()
	return out, nil
}

// bySize is the offset below which segments have to go for the rest to take at
// most bound bytes. The last one stays.
func bySize(segments []*segment, sizes []int64, bound int64) int64 {
	if bound <= 0 {
		return 0
	}
	var sum int64
	for i := len(segments) - 1; i >= 0; i-- {
		if sum += sizes[i]; sum > bound {
			return segments[min(i+1, len(segments)-1)].base
		}
	}
	return 0
}

// drop makes start the log start offset, durably, and deletes the segments that
// lie wholly below it. The caller holds appendMu.
func (l *partition) drop(start int64) error {
	if err := l.writeStart(start); err != nil {
		return noRoom(err)
	}
	l.mu.Lock()
	l.start = start
	n := sort.Search(len(l.segments)-1, func(i int) bool { return l.segments[i+1].base > start })
	gone := l.segments[:n]
	l.segments = l.segments[n:len(l.segments):len(l.segments)]
	l.mu.Unlock()
	for _, s := range gone {
		if err := s.remove(); err != nil {
			return err
		}
	}
	return nil
}

// Roll implements store.Partition.
func (l *partition) Roll(bytes int64, age time.Duration) {}

// Tail implements store.Partition. It looks at the segments that hold the last n bytes,
// and into the index of the first of them.
func (l *partition) Tail(n int64) (int64, error) {
	for {
		l.mu.Lock()
		segments, start, written, high, closed := l.segments, l.start, l.written, l.high, l.closed
		l.mu.Unlock()
		if closed {
			return 0, store.ErrClosed
		}
		offset, err := tail(segments, written, high, n)
		if err == nil || !isNotExist(err) || l.forgotten(start, nil) == nil {
			return min(max(start, offset), high.next), err
		}
	}
}

// tail is Tail in these segments.
func tail(segments []*segment, written, high mark, n int64) (int64, error) {
	i := len(segments) - 1
	v, end := view{active: true, end: high.pos, next: high.next}, written
	for n -= end.pos; i > 0 && n > 0; n -= end.pos {
		next := segments[i].base
		i--
		var err error
		if end, err = segments[i].end(next); err != nil {
			return 0, err
		}
		v = view{end: end.pos, next: next}
	}
	if n >= 0 {
		return segments[i].base, nil
	}
	if err := segments[i].load(v); err != nil { // it has -n bytes too many
		return 0, err
	}
	e, err := segments[i].index.floor(func(e entry) bool { return e.pos > -n })
	return e.offset, err
}

// Size implements store.Partition.
func (l *partition) Size() int64 {
	l.mu.Lock()
	segments, size := l.segments, l.written.pos
	l.mu.Unlock()
	for i, s := range segments[:len(segments)-1] {
		end, err := s.end(segments[i+1].base)
		if err == nil {
			size += end.pos
		}
	}
	return size
}

// OffsetForTime implements store.Partition.
func (l *partition) OffsetForTime(time int64) (int64, error) {
	for {
		l.mu.Lock()
		segments, start, high, closed := l.segments, l.start, l.high, l.closed
		l.mu.Unlock()
		if closed {
			return 0, store.ErrClosed
		}
		offset, err := searchTime(segments, start, high, time)
		if err == nil || !isNotExist(err) || l.forgotten(start, nil) == nil {
			return offset, err
		}
	}
}

// searchTime is OffsetForTime in these segments.
func searchTime(segments []*segment, start int64, high mark, time int64) (int64, error) {
	for i, s := range segments {
		v, last := view{active: true, end: high.pos, next: high.next}, high
		if i < len(segments)-1 {
			end, err := s.end(segments[i+1].base)
			if err != nil {
				return 0, err
			}
			v, last = view{end: end.pos, next: segments[i+1].base}, end
		}
		if last.maxTime < time || last.next <= start {
			continue
		}
		if err := s.load(v); err != nil {
			return 0, err
		}
		if offset, ok, err := s.findTime(v, time, start); ok || err != nil {
			return offset, err
		}
	}
	return high.next, nil
}

// findTime finds the first batch at or above start with a record as late as
// time.
func (s *segment) findTime(v view, time, start int64) (int64, bool, error) {
	e, err := s.floor(v, func(e entry) bool { return e.before >= time && e.offset > start })
	if err != nil {
		return 0, false, err
	}
	w := walk(s, v, e)
	defer w.close()
	for w.nextSound() {
		if w.h.MaxTimestamp() >= time && w.h.NextOffset() > start {
			return max(start, w.h.BaseOffset()), true, nil
		}
	}
	return 0, false, w.err
}
