package commitlog

import (
	"slices"

	"mbus/internal/vfs"
)

// removeEmpty deletes empty segments between others if beginning them has failed: then
// the log went on in the one before. Any others have been emptied, which is reported.
func (l *partition) removeEmpty(sizes map[int64]int64) error {
	kept := l.segments[:0]
	next := l.start // offset behind the last segment with anything in it
	for i, s := range l.segments[:len(l.segments)-1] {
		behind := l.segments[i+1].base
		if sizes[s.base] > 0 {
			kept = append(kept, s)
			continue
		}
		if len(kept) > 0 {
			end, _ := kept[len(kept)-1].end(behind) // if that can't be read nothing is known
			next = max(next, end.next)
		}
		held, err := s.held()
		switch {
		case err != nil:
			return err
		case behind <= l.start: // removeBelowStart sees to it
		case held || len(kept) == 0 || next <= s.base:
			l.log.Error("a segment has been emptied: its messages are lost", "topic", l.topic, "partition", l.number,
				"file", s.file.name, "first", max(s.base, l.start), "next", behind)
		default:
			if err := s.remove(); err != nil {
				return err
			}
			continue
		}
		kept = append(kept, s)
	}
	l.segments = append(kept, l.active())
	return nil
}

// orphans are the segments of which there is only the index: a removal was under way,
// or they have been lost.
func (l *partition) orphans(entries []vfs.Entry, sizes map[int64]int64) (list []*segment) {
	for _, e := range entries {
		base, ok := parseBase(e.Name, indexSuffix)
		if _, exists := sizes[base]; ok && !exists {
			list = append(list, newSegment(l, base))
		}
	}
	return list
}

// lostSegments reports the orphans with anything in them that the log start offset
// has not passed, and returns the offset behind them.
func (l *partition) lostSegments(orphans []*segment) (next int64, err error) {
	for _, s := range orphans {
		end, err := l.lostIn(s)
		if err != nil {
			return 0, err
		}
		if end > 0 {
			l.log.Error("a segment is missing", "topic", l.topic, "partition", l.number,
				"file", s.file.name, "first", s.base, "next", end)
			next = max(next, end)
		}
	}
	return next, nil
}

// lostIn is the offset behind an orphan; 0 if there was nothing in it that the log
// start offset has not passed.
func (l *partition) lostIn(orphan *segment) (next int64, err error) {
	known, err := orphan.index.open()
	if m := orphan.index.synced; known && m.pos > 0 && m.next > l.start {
		next = m.next
	}
	return next, err
}

// removeOrphans deletes the indexes, unless there is a segment for them now.
func (l *partition) removeOrphans(orphans []*segment) error {
	for _, s := range orphans {
		if slices.ContainsFunc(l.segments, func(other *segment) bool { return other.base == s.base }) {
			continue
		}
		if err := l.fs.Remove(s.index.file.name); err != nil {
			return err
		}
	}
	return nil
}

// lacks says that a segment of size bytes does not have all that was synced before its mark
// was written. A copy of a data directory that is in use may have the index of a moment
// later than that of the segment. Only what lies before the mark, behind the last entry of
// the index, is read, and nothing of a segment without space ahead, which has all its bytes
// if it has their number.
func (s *segment) lacks(m mark, size int64) bool {
	if m.pos == 0 || size <= m.pos {
		return size < m.pos
	}
	from := entry{offset: s.base, before: minTime}
	if s.index.check() == nil {
		if e, err := s.index.floor(func(e entry) bool { return e.pos >= m.pos }); err == nil {
			from = e
		}
	}
	w := walk(s, view{end: m.pos, next: m.next}, from)
	defer w.close()
	w.strict = true
	end := mark{pos: from.pos, next: from.offset}
	for w.nextSound() {
		end = w.end()
	}
	return end.pos != m.pos
}

// reportLack says which offsets are not in a segment of size bytes although they lie before
// its mark, and returns the offset behind the last that is.
func (l *partition) reportLack(s *segment, m mark, size int64) (reached int64, err error) {
	seen := newSegment(l, s.base) // whose index is of no use
	found, err := l.scan(seen, mark{next: s.base, maxTime: minTime}, min(size, m.pos), anywhere)
	if err != nil {
		return 0, err
	}
	end := lostOffsets{first: found.end.next, next: max(m.next, found.end.next), pos: found.end.pos}
	for _, h := range append(found.holes, end) {
		if h.next == h.first {
			continue
		}
		l.log.Error("synced bytes are missing from the end of a segment: the data directory is an incomplete copy, or damaged",
			"topic", l.topic, "partition", l.number, "first", h.first, "next", h.next,
			"file", s.file.name, "position", h.pos, "size", size, "synced", m.pos)
	}
	return found.end.next, nil
}
