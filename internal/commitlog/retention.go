package commitlog

import (
	"errors"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// Trim begins a new segment, so that the old one can be removed, when the active one has trimRoll
// bytes; or emptyRoll, if all its records are below the new start.
const (
	trimRoll  = 16 << 20
	emptyRoll = 64 << 10
)

// idleAfter is the number of seconds after its last append when a log frees the space that is allocated
// behind its end.
const idleAfter = 60

// Trim implements store.Partition. Appends go on meanwhile.
func (l *partition) Trim(before int64) error {
	l.start.mu.Lock()
	defer l.start.mu.Unlock()
	if err := l.commits.usable(); err != nil {
		return err
	}
	s := l.state()
	if before > s.high.next {
		return store.ErrOutOfRange
	}
	if before <= s.start {
		return nil
	}
	if s.written.pos >= trimRoll || s.written.pos >= emptyRoll && before == s.written.next {
		if err := l.appends.rollNow(); err != nil && !errors.Is(err, store.ErrFull) {
			return err
		}
	}
	return l.start.drop(before)
}

// Retain implements store.Partition. Appends go on meanwhile.
func (l *partition) Retain(r store.Retention) (store.Retained, error) {
	l.start.mu.Lock()
	defer l.start.mu.Unlock()
	s := l.state()
	out := store.Retained{Start: s.start}
	if s.ended != nil {
		return out, s.ended
	}
	if err := l.appends.rollOld(); err != nil {
		return out, err
	}
	list, err := l.extents()
	if err != nil {
		return out, err
	}
	aged, held := byAge(list, r)
	out.Held = held
	before := max(out.Start, aged, bySize(list, r.Bytes))
	if last := list[len(list)-1]; before > last.base { // the active one is removed, too
		switch err := l.appends.rollNow(); {
		case errors.Is(err, store.ErrFull):
			before = max(out.Start, last.base)
		case err != nil:
			return out, err
		}
	}
	size := l.Size()
	if err := l.start.drop(before); err != nil {
		return out, err
	}
	out.Start, out.Freed = before, size-l.Size()
	l.appends.giveBack()
	return out, nil
}

// An extent is a segment as retention sees it.
type extent struct {
	base    int64
	end     position
	age     int64 // milliseconds since 1970
	visible bool  // all of it
	unread  bool  // it is unreadable, and removed with the one behind it
}

// extents returns those of all segments. It may build indexes again.
func (l *partition) extents() ([]extent, error) {
	log := l.state()
	segments, high, written := log.segments, log.high.next, log.written
	clock := l.now()
	list := make([]extent, len(segments))
	for i, s := range segments {
		end, isActive := written, i == len(segments)-1
		if !isActive {
			var err error
			if end, err = s.end(segments[i+1].base); vfs.IsUnreadable(err) || isNotExist(err) {
				end = position{max(1, end.pos), segments[i+1].base, minTime}
				list[i] = extent{s.base, end, 0, end.next <= high, true}
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		times, corrected := s.index.appendTimes(seconds(clock), end.maxTime)
		if corrected {
			s.keepTimes() // or the next process would correct them to a later time
		}
		list[i] = extent{s.base, end, times.age(end.maxTime, clock.UnixMilli()), end.next <= high, false}
	}
	for i := len(list) - 2; i >= 0; i-- {
		if list[i].unread {
			list[i].age = list[i+1].age
		}
	}
	return list, nil
}

// keepTimes makes corrected append times durable.
func (s *segment) keepTimes() {
	if s.withIndex(s.index.rewrite) == nil {
		_ = s.index.sync()
	}
}

// byAge returns the offset below which all records are old enough to be removed, and whether Keep holds
// back some that are.
func byAge(list []extent, r store.Retention) (before int64, held bool) {
	for _, e := range list {
		if e.age >= r.Before || e.end.pos == 0 || !e.visible {
			return before, false
		}
		if e.end.next > r.Keep && e.age >= r.Unread {
			return before, true
		}
		before = e.end.next
	}
	return before, false
}

// bySize returns the offset below which segments have to be removed so that the others have at most
// bound bytes. The last one stays.
func bySize(list []extent, bound int64) int64 {
	if bound <= 0 {
		return 0
	}
	var sum int64
	for i := len(list) - 1; i >= 0; i-- {
		if sum += list[i].end.pos; sum > bound {
			return list[min(i+1, len(list)-1)].base
		}
	}
	return 0
}

// giveBack frees the space that is allocated behind the end of an idle log. A crash may bring it back.
func (a *appender) giveBack() {
	s, _ := a.idleSpace()
	if s == nil {
		return
	}
	if _, err := s.file.acquire(); err != nil { // not under mu
		return
	}
	defer s.file.release()
	a.mu.Lock()
	defer a.mu.Unlock()
	if again, end := a.unusedSpace(); again == s && s.truncate(end) == nil {
		a.allocated = end
	}
}

// idleSpace is unusedSpace between two appends.
func (a *appender) idleSpace() (*segment, int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unusedSpace()
}

// unusedSpace returns the active segment and its end if the space behind it has to be freed. The caller
// holds mu.
func (a *appender) unusedSpace() (*segment, int64) {
	s, at := a.log.commits.end()
	now := seconds(a.log.now())
	times, _ := s.index.appendTimes(now, minTime)
	if a.allocated <= at.pos || a.log.commits.usable() != nil || len(a.owed) > 0 || now != 0 && now-times.last < idleAfter {
		return nil, 0
	}
	return s, at.pos
}

// Tail implements store.Partition. It reads the ends of the segments that have the last n bytes, and
// the index of the first of them.
func (l *partition) Tail(n int64) (int64, error) {
	for {
		s := l.state()
		if s.ended != nil {
			return 0, s.ended
		}
		offset, err := tail(s.segments, s.written, s.high, n)
		if err == nil || !isNotExist(err) || l.visible.removed(s.start, nil) == nil {
			return min(max(s.start, offset), s.high.next), err
		}
	}
}

// tail is Tail in these segments.
func tail(segments []*segment, written, high position, n int64) (int64, error) {
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
	e, err := segments[i].floor(v, func(e entry) bool { return e.pos > -n })
	return e.offset, err
}

// Size implements store.Partition.
func (l *partition) Size() int64 {
	log := l.state()
	segments, size := log.segments, log.written.pos
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
		s := l.state()
		if s.ended != nil {
			return 0, s.ended
		}
		offset, err := searchTime(s.segments, s.start, s.high, time)
		if err == nil || !isNotExist(err) || l.visible.removed(s.start, nil) == nil {
			return offset, err
		}
	}
}

// searchTime is OffsetForTime in these segments.
func searchTime(segments []*segment, start int64, high position, time int64) (int64, error) {
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
		if offset, ok, err := s.findTime(v, time, start); ok || err != nil && !vfs.IsUnreadable(err) {
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
	w := s.scan(v, e)
	defer w.close()
	for w.nextChecked() {
		if w.kind == isBatch && w.h.MaxTimestamp() >= time && w.h.NextOffset() > start {
			return max(start, w.h.BaseOffset()), true, nil
		}
	}
	return 0, false, w.err
}
