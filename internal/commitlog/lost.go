package commitlog

import (
	"slices"
)

// removeEmpty deletes empty segments between others if beginning them has failed: then
// the log went on in the one before. Any others have been emptied, which is reported.
func (r *recovery) removeEmpty() error {
	v := r.visible
	kept := v.segments[:0]
	next := v.start // offset behind the last segment with anything in it
	for i, s := range v.segments[:len(v.segments)-1] {
		behind := v.segments[i+1].base
		if r.sizes[s.base] > 0 {
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
		case behind <= v.start: // removeBelowStart sees to it
		case held || len(kept) == 0 || next <= s.base:
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

// lostSegments reports the orphans with anything in them that the log start offset
// has not passed, and returns the offset behind them.
func (r *recovery) lostSegments() (next int64, err error) {
	for _, s := range r.orphans() {
		end, err := r.lostIn(s)
		if err != nil {
			return 0, err
		}
		if end > 0 {
			r.log.logError("a segment is missing", "file", s.file.name, "first", s.base, "next", end)
			next = max(next, end)
		}
	}
	return next, nil
}

// removeOrphans deletes the indexes, unless there is a segment for them now.
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

// lacks says that a segment of size bytes does not have all that was synced before its recovery
// point was written. A copy of a data directory that is in use may have the index of a moment
// later than that of the segment. Only what lies before the recovery point, behind the last entry of
// the index, is read, and nothing of a segment without space ahead, which has all its bytes
// if it has their number.
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

// reportLack says which offsets are not in a segment of size bytes although they lie before
// its recovery point, and returns the offset behind the last that is.
func (r *recovery) reportLack(s *segment, m position, size int64) (reached int64, err error) {
	seen := newSegment(r.log, s.base) // whose index is of no use
	found, err := seen.readTail(position{next: s.base, maxTime: minTime}, min(size, m.pos), inOrder)
	if err != nil {
		return 0, err
	}
	end := lostOffsets{first: found.end.next, next: max(m.next, found.end.next), pos: found.end.pos}
	for _, h := range append(found.holes, end) {
		if h.next == h.first {
			continue
		}
		r.log.logError("synced bytes are missing from the end of a segment: the data directory is an incomplete copy, or damaged",
			"first", h.first, "next", h.next,
			"file", s.file.name, "position", h.pos, "size", size, "synced", m.pos)
	}
	return found.end.next, nil
}
