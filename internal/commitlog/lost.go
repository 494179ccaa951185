package commitlog

import (
	"slices"
)

// removeEmpty removes empty segments between others if their creation had failed and the log went on
// in the one before. It reports the others: they have been emptied.
func (r *recovery) removeEmpty() error {
	v := r.visible
	kept := v.segments[:0]
	next := v.start // offset behind the last segment with records
	for i, s := range v.segments[:len(v.segments)-1] {
		behind := v.segments[i+1].base
		if r.sizes[s.base] > 0 {
			kept = append(kept, s)
			continue
		}
		if len(kept) > 0 {
			end, _ := kept[len(kept)-1].end(behind) // unknown if it can't be read
			next = max(next, end.next)
		}
		held, err := s.held()
		switch {
		case err != nil:
			return err
		case behind <= v.start: // removeBelowStart removes it
		case held || len(kept) == 0 || next <= s.base:
			r.log.damaged(s.file.name, 0)
			r.log.logError("a segment has been emptied: its messages are lost",
				"file", s.file.name, "first", max(s.base, v.start), "next", behind)
		default:
			if err := s.remove(); err != nil {
				return err
			}
			continue
		}
		kept = append(kept, s)
	}
	v.segments = append(kept, v.active())
	return nil
}

// lostSegments reports the orphans with records above the log start offset, and returns the offset
// behind them.
func (r *recovery) lostSegments() (next int64, err error) {
	for _, s := range r.orphans() {
		end, err := r.lostIn(s)
		if err != nil {
			return 0, err
		}
		if end > 0 {
			r.log.damaged(s.file.name, 0)
			r.log.logError("a segment is missing", "file", s.file.name, "first", s.base, "next", end)
			next = max(next, end)
		}
	}
	return next, nil
}

// removeOrphans removes the indexes, unless they have a segment now.
func (r *recovery) removeOrphans() error {
	for _, s := range r.orphans() {
		if slices.ContainsFunc(r.visible.segments, func(other *segment) bool { return other.base == s.base }) {
			continue
		}
		if err := r.log.fs.Remove(s.index.file.name); err != nil {
			return err
		}
	}
	return nil
}

// lacks says that a segment of size bytes is not complete up to its recovery point. In a copy of a data
// directory that was in use the index may be newer than the segment. It reads from the last entry of
// the index before the recovery point, and nothing if no space is allocated behind the recovery
// point: then the size tells.
func (s *segment) lacks(m position, size int64) bool {
	if m.pos == 0 || size <= m.pos {
		return size < m.pos
	}
	from := entry{offset: s.base, before: minTime}
	if s.index.check() == nil {
		if e, err := s.index.floor(func(e entry) bool { return e.pos >= m.pos }); err == nil {
			from = e
		}
	}
	w := s.scan(view{end: m.pos, next: m.next}, from)
	defer w.close()
	w.search = nothing
	end := position{pos: from.pos, next: from.offset}
	for w.nextChecked() && w.kind == isBatch {
		end = w.end()
	}
	return end.pos != m.pos
}

// reportLack reports the offsets before the recovery point that a segment of size bytes does not have,
// and returns the offset behind the last one that it has.
func (r *recovery) reportLack(s *segment, m position, size int64) (reached int64, err error) {
	seen := newSegment(r.log, s.base) // without the index
	found, err := seen.readTail(position{next: s.base, maxTime: minTime}, min(size, m.pos), inOrder, 0)
	if err != nil {
		return 0, err
	}
	end := lostOffsets{first: found.end.next, next: max(m.next, found.end.next), pos: found.end.pos}
	for _, h := range append(found.holes, end) {
		if h.next == h.first {
			continue
		}
		r.log.damaged(s.file.name, h.pos)
		r.log.logError("synced bytes are missing from the end of a segment: the data directory is an incomplete copy, or damaged",
			"first", h.first, "next", h.next,
			"file", s.file.name, "position", h.pos, "size", size, "synced", m.pos)
	}
	return found.end.next, nil
}
