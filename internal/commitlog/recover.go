package commitlog

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"

	"mbus/internal/vfs"
)

// A recovery finds out what of a partition is on the disk, and puts right what a
// crash has left. Only the last segment with anything in it can hold what was not
// synced: a new one is begun when the one before is synced and complete. Of that
// one only what lies behind the recovery point is read.
type recovery struct {
	*inventory
	visible *visible
}

// recover opens the log.
func (l *partition) recover() error {
	found, err := l.takeInventory()
	if err != nil {
		return err
	}
	if len(found.entries) == 0 {
		return errAbsent // to begin at 0 would be to use offsets twice
	}
	if _, err := found.findStart(); err != nil {
		return err
	}
	v := &l.visible
	v.segments, v.start, l.start.marker = found.segments, found.start, found.marker
	r := &recovery{found, v}
	if err := r.run(); err != nil {
		return err
	}
	c := &l.commits
	c.active, c.durable = v.active(), 0
	if len(l.appends.owed) == 0 {
		c.durable = c.written.pos
	}
	if slices.ContainsFunc(found.entries, func(e vfs.Entry) bool { return e.Name == healName }) {
		_ = l.fs.Remove(filepath.Join(l.dir, healName)) // or the next copy does it
	}
	return r.removeOrphans()
}

func (r *recovery) run() error {
	lost, err := r.lostSegments()
	if err != nil {
		return err
	}
	if len(r.segments) == 0 {
		r.log.logError("a log has lost all its segments: restore a backup to have its messages back", "directory", r.log.dir)
		return r.startOver(max(r.start, lost))
	}
	return r.recoverSegments(lost)
}

// endsAt says where the log ends, as far as is known.
func (r *recovery) endsAt(end position) {
	c := &r.log.commits
	c.active, c.written, r.visible.high = r.visible.active(), end, end
}

// owe takes a step now, or before the next append.
func (r *recovery) owe(step func() error) error { return r.log.appends.orOwe(step) }

// startOver is for a log that has lost all its segments.
func (r *recovery) startOver(offset int64) error {
	l := r.log
	r.visible.segments = []*segment{newSegment(l, offset)} // without files, until there is space
	end := position{next: offset, maxTime: minTime}
	r.endsAt(end)
	return r.owe(func() error { return l.begin(end, offset) })
}

// recoverSegments goes on at the offset lost or a higher one.
func (r *recovery) recoverSegments(lost int64) error {
	if err := r.removeEmpty(); err != nil {
		return err
	}
	ends, err := r.recoverLast()
	if err != nil {
		return err
	}
	if err := r.checkStart(ends.reached); err != nil {
		return err
	}
	if err := r.removeBelowStart(); err != nil {
		return err
	}
	return r.continueAt(max(ends.next, r.visible.start, lost))
}

// Ends are what is known of a log's end: the offset behind its last valid batch, and the
// one from which the log can go on.
type ends struct{ reached, next int64 }

// recoverLast finds the log's end in the last segment, or in the one before if
// the last is empty: beginning it may have failed, so that the one before was
// written to all the same.
func (r *recovery) recoverLast() (ends, error) {
	v := r.visible
	began, err := r.beganInVain()
	if err != nil {
		return ends{}, err
	}
	if empty := v.active(); began {
		v.segments = v.segments[:len(v.segments)-1]
		before := v.active()
		found, err := r.recoverSegment(before)
		if err != nil {
			return found, err
		}
		if found.next > empty.base {
			return found, empty.remove()
		}
		end := r.log.commits.written // a cut that an earlier recovery did not come to sync is behind it
		if err := r.owe(func() error { return before.sealAt(end) }); err != nil {
			return ends{}, err
		}
		v.segments = append(v.segments, empty)
	}
	s := v.active()
	isFirst := s.base == 0 && len(v.segments) == 1 // made with its topic, which was there when all of it was durable
	if r.sizes[s.base] == 0 && r.log.uncertain && !isFirst {
		if err := s.syncNames(); err != nil {
			return ends{}, err
		}
	}
	return r.recoverSegment(s)
}

// beganInVain says that there is a last segment to which nothing was written, as far as
// is known, and one before.
func (r *recovery) beganInVain() (bool, error) {
	last := r.visible.active()
	if len(r.visible.segments) < 2 || r.sizes[last.base] > 0 {
		return false, nil
	}
	held, err := last.held()
	return !held, err
}

// held says that the index knows of bytes in the segment, be they there or not.
func (s *segment) held() (bool, error) {
	known, err := s.index.open()
	return known && s.index.recoveryPoint().pos > 0, err
}

// syncNames makes durable that there are the segment's files, and the index in its
// file: a segment is written to when that is so.
func (s *segment) syncNames() error {
	if err := s.index.sync(); err != nil && !isNotExist(err) {
		return err
	}
	return s.log.fs.SyncDir(s.log.dir)
}

// continueAt gives the next record this offset or a higher one. What lies
// between is missing.
func (r *recovery) continueAt(offset int64) error {
	l, end := r.log, r.log.commits.written
	if offset <= r.visible.high.next {
		return nil
	}
	r.endsAt(position{end.pos, offset, end.maxTime})
	return r.owe(func() error { return l.begin(end, offset) })
}

// removeBelowStart deletes segments that the log start offset has passed, once
// it is certain that the log start offset itself is kept.
func (r *recovery) removeBelowStart() error {
	v := r.visible
	if v.segments[0].base < v.start {
		if err := r.log.fs.SyncDir(r.log.dir); err != nil {
			return err
		}
	}
	for len(v.segments) > 1 && v.segments[1].base <= v.start {
		if err := v.segments[0].remove(); err != nil {
			return err
		}
		v.segments = v.segments[1:]
	}
	return nil
}

// checkStart gives up a log start offset that was written when the log reached further than
// it does now. In a copy of a data directory that is in use it may be newer than the log:
// what has taken the place of what lies before the start is missing, such as the latest
// positions of groups.
func (r *recovery) checkStart(reached int64) error {
	v, first := r.visible, r.visible.segments[0].base
	if reached >= r.startEnd || first >= v.start {
		return nil
	}
	r.log.logError("the log start offset is newer than the log, and is not used: the data directory is an incomplete copy, or damaged",
		"start", v.start, "first", reached, "next", r.startEnd, "begins", first)
	v.start = first
	return r.owe(func() error { return r.log.start.write(first, v.high.next) })
}

// begin goes on at offset with a new segment; the one before, if there is one, ends at
// end. Once the log is in use the caller holds appender.mu.
func (l *partition) begin(end position, offset int64) error {
	if n := len(l.visible.segments); n > 0 && l.visible.active().base < offset {
		if err := l.visible.active().sealAt(end); err != nil {
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
	l.install(s, position{next: offset, maxTime: minTime})
	l.appends.allocated, l.appends.noted = 0, 0
	return nil
}

// sealAt cuts a segment to its end, for good, and completes its index, before another
// one follows.
func (s *segment) sealAt(end position) error {
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
	return s.complete(end)
}

// recoverSegment finds the end of the last segment. The log can go on
// from where no offset that is known to have been given is used twice, even if records have
// been lost. How many those were is not known without the index: then as many are left out
// as there are bytes.
func (r *recovery) recoverSegment(s *segment) (ends, error) {
	l, size := r.log, r.sizes[s.base]
	known, err := s.index.open()
	if err != nil {
		return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
	}
	synced := s.index.recoveryPoint()
	short := known && synced.pos > size
	reached := int64(math.MaxInt64)
	if known && s.lacks(synced, size) {
		if reached, err = r.reportLack(s, synced, size); err != nil {
			return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
		}
	}
	if short || !known {
		s.index.reset()
	}
	how := inOrder
	if known && !short {
		how = behindPoint(l.late)
	}
	found, err := s.readTail(s.index.recoveryPoint(), size, how)
	// What the log had reached when its start was written was synced then.
	proven := known && !short && found.reason != nil && found.end.next < r.startEnd
	if err == nil {
		err = r.putRight(s, found, size, known && !short && !proven)
	}
	reached = min(reached, found.end.next)
	if proven {
		reached, synced.next = r.startEnd, max(synced.next, r.startEnd)
	}
	switch {
	case err != nil:
		return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
	case !known:
		return ends{reached, l.commits.written.next + l.commits.written.pos - found.end.pos}, nil // no batch has more records than bytes but of the most alike
	}
	return ends{reached, max(synced.next, l.commits.written.next)}, nil
}

// behindPoint is what may follow damage behind the recovery point. Where a power cut has torn what
// was not synced, nothing behind that was either.
func behindPoint(late bool) search {
	if late {
		return nothing
	}
	return written
}

// putRight goes on with what was found in the last segment, of size bytes. marked says
// that the recovery point is known, that the segment is not shorter than it says, and that what
// is not valid at the end need not have been synced.
func (r *recovery) putRight(s *segment, found found, size int64, marked bool) error {
	l, from, end := r.log, s.index.recoveryPoint(), found.end
	l.reportHoles(s, found, marked)
	l.appends.allocated = size
	switch {
	case found.reason == nil:
	case marked:
		l.appends.allocated = end.pos
		err := r.owe(func() error { return s.quarantineTail(found, size) })
		if err != nil {
			return err
		}
	default:
		s.keepTail(found)
		end.pos = found.used
	}
	r.endsAt(end)
	if marked && end.pos == from.pos {
		if l.uncertain && end.pos > 0 {
			l.points.add(l) // the process that wrote it may not have come to sync it
		}
		return nil
	}
	if marked {
		s.index.appended(sinceTheMark)
	}
	if err := r.owe(func() error { return s.syncAgain(found.valid) }); err != nil {
		return err
	}
	return r.owe(func() error {
		if err := s.complete(end); err != nil || marked {
			return err
		}
		return l.fs.SyncDir(l.dir) // the index may be a new file
	})
}

// keepTail reports what is damaged behind the last valid batch and may have been
// acknowledged long ago: it stays where it is, to be reported when it is read.
func (s *segment) keepTail(found found) {
	s.log.logError("the end of a segment is damaged, and stays where it is",
		"file", s.file.name, "offset", found.end.pos, "bytes", found.used-found.end.pos, "reason", found.reason)
}

// reportHoles says which offsets are lost between valid batches. Behind the recovery point
// that need not have been acknowledged, but may have been.
func (l *partition) reportHoles(s *segment, found found, marked bool) {
	since := "the recovery point"
	if !marked {
		since = "the beginning of a segment whose recovery point is lost"
	}
	for _, h := range found.holes {
		l.warn("messages are damaged that may have been acknowledged; those behind them are kept", "first", h.first, "next", h.next,
			"file", s.file.name, "position", h.pos, "behind", since, "reason", h.reason,
			"do", "compare with the producers' own records; consumers get an error and go on")
	}
}

// syncAgain makes the valid batches as safe as what is acknowledged, because they are visible
// from now on. It writes the valid bytes once more where the process before has ended in the same boot:
// if a sync of them has failed then, the system may hold them in memory, take them for
// written, and have nothing to do in another sync. After another boot they have come from
// the disk, and a write could only spoil them.
func (s *segment) syncAgain(valid []span) error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	if s.log.uncertain {
		for _, p := range valid {
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
