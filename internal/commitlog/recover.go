package commitlog

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"

	"mbus/internal/vfs"
)

// recover finds out what of a partition is on the disk, and puts right what a
// crash has left. Only the last segment with anything in it can hold what was not
// synced: a new one is begun when the one before is synced and complete. Of that
// one only what lies behind the sync mark is read.
func (l *partition) recover() error {
	entries, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return errAbsent // to begin at 0 would be to use offsets twice
	}
	sizes := l.list(entries)
	if _, err := l.findStart(); err != nil {
		return err
	}
	orphans := l.orphans(entries, sizes)
	lost, err := l.lostSegments(orphans)
	if err != nil {
		return err
	}
	if len(l.segments) == 0 {
		l.log.Error("a log has no segment any more", "topic", l.topic, "partition", l.number)
		err = l.beginAnew(max(l.start, lost))
	} else {
		err = l.recoverSegments(sizes, lost)
	}
	if err != nil {
		return err
	}
	l.durable = 0
	if len(l.owed) == 0 {
		l.durable = l.written.pos
	}
	if slices.ContainsFunc(entries, func(e vfs.Entry) bool { return e.Name == healName }) {
		_ = l.fs.Remove(filepath.Join(l.dir, healName)) // or the next copy does it
	}
	return l.removeOrphans(orphans)
}

// beginAnew is for a log that has lost all its segments.
func (l *partition) beginAnew(offset int64) error {
	l.segments = []*segment{newSegment(l, offset)} // without files, until there is space
	l.written = mark{next: offset, maxTime: minTime}
	l.high = l.written
	return l.orOwe(func() error { return l.begin(l.written, offset) })
}

// recoverSegments goes on at the offset lost or a higher one.
func (l *partition) recoverSegments(sizes map[int64]int64, lost int64) error {
	if err := l.removeEmpty(sizes); err != nil {
		return err
	}
	ends, err := l.recoverLast(sizes)
	if err != nil {
		return err
	}
	if err := l.doubtStart(ends.reached); err != nil {
		return err
	}
	if err := l.removeBelowStart(); err != nil {
		return err
	}
	return l.resume(max(ends.resume, l.start, lost))
}

// Ends are what is known of a log's end: the offset behind its last sound batch, and the
// one from which the log can go on.
type ends struct{ reached, resume int64 }

// list takes the segments from what is in the directory, and gives their sizes in
// bytes by base offset.
func (l *partition) list(entries []vfs.Entry) map[int64]int64 {
	sizes := make(map[int64]int64)
	for _, e := range entries {
		if base, ok := parseBase(e.Name, logSuffix); ok && !e.Dir {
			sizes[base] = e.Size
			l.segments = append(l.segments, newSegment(l, base))
		}
		if start, ok := parseBase(e.Name, startSuffix); ok && start >= l.start {
			l.start, l.marker = start, filepath.Join(l.dir, e.Name)
		}
	}
	slices.SortFunc(l.segments, func(a, b *segment) int { return int(max(-1, min(1, a.base-b.base))) })
	return sizes
}

// recoverLast finds the log's end in the last segment, or in the one before if
// the last is empty: beginning it may have failed, so that the one before was
// written to all the same.
func (l *partition) recoverLast(sizes map[int64]int64) (ends, error) {
	began, err := l.beganInVain(sizes)
	if err != nil {
		return ends{}, err
	}
	if empty := l.active(); began {
		l.segments = l.segments[:len(l.segments)-1]
		before := l.active()
		found, err := l.recoverSegment(before, sizes[before.base])
		if err != nil {
			return found, err
		}
		if found.resume > empty.base {
			return found, empty.remove()
		}
		end := l.written // a cut that an earlier recovery did not come to sync is behind it
		if err := l.orOwe(func() error { return l.sealAt(before, end) }); err != nil {
			return ends{}, err
		}
		l.segments = append(l.segments, empty)
	}
	s := l.active()
	isFirst := s.base == 0 && len(l.segments) == 1 // made with its topic, which was there when all of it was durable
	if sizes[s.base] == 0 && l.doubt && !isFirst {
		if err := s.settleNames(); err != nil {
			return ends{}, err
		}
	}
	return l.recoverSegment(s, sizes[s.base])
}

// beganInVain says that there is a last segment to which nothing was written, as far as
// is known, and one before.
func (l *partition) beganInVain(sizes map[int64]int64) (bool, error) {
	if len(l.segments) < 2 || sizes[l.active().base] > 0 {
		return false, nil
	}
	held, err := l.active().held()
	return !held, err
}

// held says that the index knows of bytes in the segment, be they there or not.
func (s *segment) held() (bool, error) {
	known, err := s.index.open()
	return known && s.index.mark().pos > 0, err
}

// settleNames makes durable that there are the segment's files, and the index in its
// file: a segment is written to when that is so.
func (s *segment) settleNames() error {
	if err := s.index.sync(); err != nil && !isNotExist(err) {
		return err
	}
	return s.log.fs.SyncDir(s.log.dir)
}

// resume sees to it that the next record gets this offset or a higher one. What lies
// between is missing.
func (l *partition) resume(offset int64) error {
	if offset <= l.high.next {
		return nil
	}
	end := l.written
	l.written.next, l.high.next = offset, offset
	return l.orOwe(func() error { return l.begin(end, offset) })
}

// removeBelowStart deletes segments that the log start offset has passed, once
// it is certain that the log start offset itself is kept.
func (l *partition) removeBelowStart() error {
	if l.segments[0].base < l.start {
		if err := l.fs.SyncDir(l.dir); err != nil {
			return err
		}
	}
	for len(l.segments) > 1 && l.segments[1].base <= l.start {
		if err := l.segments[0].remove(); err != nil {
			return err
		}
		l.segments = l.segments[1:]
	}
	return nil
}

// begin goes on at offset with a new segment; the one before, if there is one, ends at
// end. Once the log is in use the caller holds appendMu.
func (l *partition) begin(end mark, offset int64) error {
	if n := len(l.segments); n > 0 && l.active().base < offset {
		if err := l.sealAt(l.active(), end); err != nil {
			return err
		}
	}
	s := newSegment(l, offset)
	if err := s.create(); err != nil {
		return err
	}
	s.release()
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := slices.DeleteFunc(slices.Clone(l.segments), func(s *segment) bool { return s.base == offset })
	l.segments = append(before, s)
	l.written = mark{next: offset, maxTime: minTime}
	l.high, l.durable, l.room, l.noted = l.written, 0, 0, 0
	return nil
}

// sealAt cuts a segment to its end, for good, and completes its index, before another
// one follows.
func (l *partition) sealAt(s *segment, end mark) error {
	f, err := s.file.acquire()
	if err != nil {
		return err
	}
	defer s.file.release()
	if err := f.Truncate(end.pos); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return l.complete(s, end)
}

// recoverSegment finds the end of the last segment, which has size bytes. The log can go on
// from where no offset that is known to have been given is used twice, even if records have
// been lost. How many those were is not known without the index: then as many are left out
// as there are bytes.
func (l *partition) recoverSegment(s *segment, size int64) (ends, error) {
	known, err := s.index.open()
	if err != nil {
		return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
	}
	synced := s.index.mark()
	short := known && synced.pos > size
	reached := int64(math.MaxInt64)
	if known && s.lacks(synced, size) {
		if reached, err = l.reportLack(s, synced, size); err != nil {
			return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
		}
	}
	if short || !known {
		s.index.reset()
	}
	how := anywhere
	if known && !short {
		how = behindMark
		if l.late {
			how = behindCut
		}
	}
	found, err := l.scan(s, s.index.mark(), size, how)
	// What the log had reached when its start was written was synced then.
	proven := known && !short && found.reason != nil && found.end.next < l.startEnd
	if err == nil {
		err = l.putRight(s, found, size, known && !short && !proven)
	}
	reached = min(reached, found.end.next)
	if proven {
		reached, synced.next = l.startEnd, max(synced.next, l.startEnd)
	}
	switch {
	case err != nil:
		return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
	case !known:
		return ends{reached, l.written.next + l.written.pos - found.end.pos}, nil // no batch has more records than bytes but of the most alike
	}
	return ends{reached, max(synced.next, l.written.next)}, nil
}

// putRight goes on with what was found in the last segment, of size bytes. marked says
// that the sync mark is known, that the segment is not shorter than it says, and that what
// is not sound at the end need not have been synced.
func (l *partition) putRight(s *segment, found found, size int64, marked bool) error {
	from, end := s.index.mark(), found.end
	l.reportHoles(s, found, marked)
	l.room = size
	switch {
	case found.reason == nil:
	case marked:
		l.room = end.pos
		err := l.orOwe(func() error { return l.setAside(s, found, size) })
		if err != nil {
			return err
		}
	default:
		l.leave(s, found)
		end.pos = found.used
	}
	l.written, l.high = end, end
	if marked && end.pos == from.pos {
		if l.doubt && end.pos > 0 {
			l.marks.add(l) // the process that wrote the mark may not have come to sync it
		}
		return nil
	}
	if marked {
		s.index.appended(sinceTheMark)
	}
	if err := l.orOwe(func() error { return l.settle(s, found.sound) }); err != nil {
		return err
	}
	return l.orOwe(func() error {
		if err := l.complete(s, end); err != nil || marked {
			return err
		}
		return l.fs.SyncDir(l.dir) // the index may be a new file
	})
}

// leave reports what is damaged behind the last sound batch and may have been
// acknowledged long ago: it stays where it is, to be reported when it is read.
func (l *partition) leave(s *segment, found found) {
	l.log.Error("the end of a segment is damaged, and stays where it is", "topic", l.topic, "partition", l.number,
		"file", s.file.name, "offset", found.end.pos, "bytes", found.used-found.end.pos, "reason", found.reason)
}

// reportHoles says which offsets are lost between sound batches. Behind the sync mark
// that need not have been acknowledged, but may have been.
func (l *partition) reportHoles(s *segment, found found, marked bool) {
	since := "the sync mark"
	if !marked {
		since = "the beginning of a segment whose sync mark is lost"
	}
	for _, h := range found.holes {
		l.warn("messages are damaged that may have been acknowledged; those behind them are kept", "first", h.first, "next", h.next,
			"file", s.file.name, "position", h.pos, "behind", since, "reason", h.reason,
			"what to do", "compare with the producers' own records; readers are told and go on")
	}
}

// settle makes the sound batches as safe as what is acknowledged, because they are visible
// from now on. It writes the sound bytes once more where the process before has ended in the same boot:
// if a sync of them has failed then, the system may hold them in memory, take them for
// written, and have nothing to do in another sync. After another boot they have come from
// the disk, and a write could only spoil them.
func (l *partition) settle(s *segment, sound []span) error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	if l.doubt {
		for _, p := range sound {
			if err := rewrite(r, p); err != nil {
				return err
			}
		}
	}
	return r.f.Sync()
}

// rewrite writes a range of bytes as it is, but for what can't be read any more.
func rewrite(r *sectorReader, s span) error {
	w := window{f: r, end: s.to, step: 1 << 20}
	for pos := s.from; pos < s.to; {
		p, err := w.at(pos, int(min(1<<20, s.to-pos)))
		if err == nil && len(p) == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = r.readable(p, pos, func(p []byte, pos int64) error {
				_, err := r.f.WriteAt(p, pos)
				return err
			})
		}
		if err != nil {
			return err
		}
		pos += int64(len(p))
	}
	return nil
}
