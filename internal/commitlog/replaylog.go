package commitlog

import (
	"bytes"

	"mbus/internal/batch"
)

// A journalled is what the journal tells of a log.
type journalled struct {
	base int64 // of the last segment with frames
	pos  int64 // up to here its bytes were durable, in the file or in the journal
	next int64 // and so were the records below this offset

	missing []lostOffsets // frames whose segment is missing
	older   []lostOffsets // frames that are not written, because the segment has others there
	stands  span          // these bytes of the segment are in frames that were synced, without a gap
}

// reach notes that the segment was durable up to here.
func (j *journalled) reach(base, pos, next int64) {
	if base > j.base {
		j.base, j.pos, j.next, j.stands = base, 0, 0, span{}
	}
	j.pos, j.next = max(j.pos, pos), max(j.next, next)
}

// replayJournal writes the log's frames into its segments.
func (v *inventory) replayJournal() error {
	frames, err := v.log.replay.of(v.log)
	if err != nil {
		return err
	}
	return v.replay(frames)
}

// replay writes frames into the segments. It leaves out those that their segment is known to hold.
func (v *inventory) replay(frames []*storedFrame) error {
	for len(frames) > 0 {
		n := 1
		for n < len(frames) && frames[n].base == frames[0].base {
			n++
		}
		if err := v.replaySegment(frames[0].base, frames[:n]); err != nil {
			return err
		}
		frames = frames[n:]
	}
	return nil
}

// replaySegment is replay for frames of one segment.
func (v *inventory) replaySegment(base int64, frames []*storedFrame) error {
	s, sealed := v.find(base)
	if sealed {
		return nil
	}
	point, err := v.pointOf(s)
	if err != nil {
		return err
	}
	var list []*storedFrame
	for _, f := range frames {
		switch end := f.pos + int64(f.size); {
		case f.epoch != v.log.epoch || f.next <= v.start:
		case s == nil:
			v.journal.missing = addLost(v.journal.missing, f)
		case end <= point:
		case f.data == nil:
			v.journal.reach(base, end, f.next)
		default:
			v.journal.reach(base, end, f.next)
			v.journal.stand(f)
			list = append(list, f)
		}
	}
	if len(list) == 0 {
		return nil
	}
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	return v.write(s, r, list)
}

// find returns a segment, nil if it is missing, and whether it is sealed: then the segment holds
// everything, durably.
func (v *inventory) find(base int64) (s *segment, sealed bool) {
	for _, other := range v.segments {
		if other.base == base {
			s = other
		}
		sealed = sealed || other.base > base && v.sizes[other.base] > 0
	}
	return s, sealed && s != nil
}

// pointOf is the recovery point of a segment, in bytes.
func (v *inventory) pointOf(s *segment) (int64, error) {
	if s == nil {
		return 0, nil
	}
	known, err := s.index.open()
	if err != nil || !known {
		return 0, err
	}
	return s.index.recoveryPoint().pos, nil
}

// addLost adds the offsets of a frame.
func addLost(list []lostOffsets, f *storedFrame) []lostOffsets {
	if n := len(list); n > 0 && list[n-1].next == f.first {
		list[n-1].next = f.next
		return list
	}
	return append(list, lostOffsets{first: f.first, next: f.next, pos: f.pos})
}

// write writes frames of one segment that differ from it, those that follow each other together.
func (v *inventory) write(s *segment, r *sectorReader, frames []*storedFrame) error {
	w := window{f: r, end: v.sizes[s.base], step: 1 << 20}
	var run []byte
	var at int64
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		_, err := r.f.WriteAt(run, at)
		v.sizes[s.base] = max(v.sizes[s.base], at+int64(len(run)))
		run = run[:0]
		return err
	}
	for _, f := range frames {
		there, err := w.at(f.pos, f.size)
		if err != nil {
			return err
		}
		switch {
		case bytes.Equal(there, f.data) && r.lost(f.pos, f.pos+int64(f.size)) == nil:
			continue
		case v.log.hasOthers(there, f):
			v.journal.older = addLost(v.journal.older, f)
			continue
		}
		if at+int64(len(run)) != f.pos || len(run) >= 1<<20 {
			if err := flush(); err != nil {
				return err
			}
			at = f.pos
		}
		run = append(run, f.data...)
	}
	return flush()
}

// hasOthers says whether p, in the place of a frame, begins with what the frame begins with, and goes on
// with a valid batch that is not the frame's: the frame is older then.
func (l *partition) hasOthers(p []byte, f *storedFrame) bool {
	next := f.first
	for data := f.data; len(p) > 0; {
		b, rest, err := batch.Next(p)
		if err != nil || checkHeader(b, int64(len(p)), next, l.epoch) != nil || b.CheckCRC() != nil {
			return false
		}
		if !bytes.HasPrefix(data, b) {
			return true
		}
		data, p, next = data[len(b):], rest, b.NextOffset()
	}
	return false
}

// in is the position in a segment up to which it was durable, as the journal tells; 0 if it tells nothing.
func (j *journalled) in(s *segment) int64 {
	if s.base != j.base {
		return 0
	}
	return j.pos
}

// nextIn is the same as an offset.
func (j *journalled) nextIn(s *segment) int64 {
	if s.base != j.base {
		return 0
	}
	return j.next
}

// reportJournal reports frames that could not be written, and returns the offset behind those whose
// segment is missing.
func (r *recovery) reportJournal() (next int64) {
	l := r.log
	for _, m := range r.journal.missing {
		l.damaged("", m.first)
		l.logError("a segment is missing that the journal has messages of: the data directory is an incomplete copy, or damaged",
			"first", m.first, "next", m.next)
		next = max(next, m.next)
	}
	for _, o := range r.journal.older {
		l.warn("the journal is older than a segment, and is not written into it", "first", o.first, "next", o.next)
	}
	return next
}

// reportLost reports the records behind the end of a segment that were durable, as the journal tells.
func (r *recovery) reportLost(s *segment, end int64) {
	if next := r.journal.nextIn(s); end < next {
		r.log.damaged(s.file.name, end)
		r.log.logError("messages are lost that were acknowledged: the journal is damaged; the log goes on behind them",
			"first", end, "next", next, "file", s.file.name)
	}
}
