package commitlog

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
)

// A recovery reads a partition from the disk, and repairs what a crash has left. Only the last segment
// with records can have unsynced bytes, because a segment is synced and complete before the next one
// is created. Of that one only the bytes behind the recovery point are read.
type recovery struct {
	*inventory
	visible *visible
	left    bool // the active segment is not synced, because the journal stands for it
}

// recover opens the log.
func (l *partition) recover() error {
	found, err := l.takeInventory()
	if err != nil {
		return err
	}
	if len(found.entries) == 0 {
		return errAbsent // a log that starts at 0 would use offsets twice
	}
	if holds(found.entries, renamedName) {
		if err := l.syncRenamed(); err != nil {
			return err
		}
	}
	if _, err := found.findStart(); err != nil {
		return err
	}
	if err := found.replayJournal(); err != nil {
		return fmt.Errorf("writing what the journal holds: %w", err)
	}
	v := &l.visible
	v.segments, v.start, l.start.marker = found.segments, found.start, found.marker
	r := &recovery{inventory: found, visible: v}
	if err := r.run(); err != nil {
		return err
	}
	c := &l.commits
	c.active, c.synced, c.durable = v.active(), 0, position{next: v.active().base}
	if len(l.appends.owed) == 0 {
		c.synced, c.durable = c.written.pos, c.written
	}
	if r.left {
		c.synced = v.active().index.recoveryPoint().pos
	}
	if l.uncertain {
		c.isCut() // perhaps by the process before, which did not sync that
	}
	if holds(found.entries, healName) {
		_ = l.fs.Remove(filepath.Join(l.dir, healName)) // or the next copy removes it
	}
	return r.removeOrphans()
}

func (r *recovery) run() error {
	lost, err := r.lostSegments()
	if err != nil {
		return err
	}
	lost = max(lost, r.reportJournal())
	if len(r.segments) == 0 {
		r.log.damaged("", 0)
		r.log.logError("a log has lost all its segments: restore a backup to have its messages back", "directory", r.log.dir)
		return r.startOver(max(r.start, lost))
	}
	return r.recoverSegments(lost)
}

// endsAt sets the end of the log.
func (r *recovery) endsAt(end position) {
	c := &r.log.commits
	c.active, c.written, r.visible.high = r.visible.active(), end, end
}

// owe runs a step now, or before the next append if the disk is full.
func (r *recovery) owe(step func() error) error { return r.log.appends.orOwe(step) }

// startOver creates the first segment of a log that has lost all of them.
func (r *recovery) startOver(offset int64) error {
	l := r.log
	r.visible.segments = []*segment{newSegment(l, offset)} // without files, until there is space
	end := position{next: offset, maxTime: minTime}
	r.endsAt(end)
	return r.owe(func() error { return l.begin(end, offset) })
}

// recoverSegments recovers the segments, and continues the log at the offset lost or a higher one.
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

// ends are the offset behind a log's last valid batch, and the one at which the log can go on.
type ends struct{ reached, next int64 }

// recoverLast finds the log's end in the last segment, or in the one before if the last is empty: its
// creation may have failed, so that appends went on in the one before.
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
		end := r.log.commits.written // behind it are bytes that an earlier recovery cut off and did not sync
		if err := r.owe(func() error { return before.sealAt(end) }); err != nil {
			return ends{}, err
		}
		v.segments = append(v.segments, empty)
	}
	s := v.active()
	isFirst := s.base == 0 && len(v.segments) == 1 // created with its topic, as a whole
	if r.sizes[s.base] == 0 && r.log.uncertain && !isFirst {
		if err := s.syncNames(); err != nil {
			return ends{}, err
		}
	}
	return r.recoverSegment(s)
}

// beganInVain says that the last of several segments has never been written to, as far as is known.
func (r *recovery) beganInVain() (bool, error) {
	last := r.visible.active()
	if len(r.visible.segments) < 2 || r.sizes[last.base] > 0 {
		return false, nil
	}
	held, err := last.held()
	return !held, err
}

// held says that the recovery point lies behind bytes of the segment, whether they are there or not.
func (s *segment) held() (bool, error) {
	known, err := s.index.open()
	return known && s.index.recoveryPoint().pos > 0, err
}

// syncNames makes the names of the segment's files, and the index, durable. No append may come before.
func (s *segment) syncNames() error {
	if err := s.index.sync(); err != nil && !isNotExist(err) {
		return err
	}
	return s.log.fs.SyncDir(s.log.dir)
}

// continueAt continues the log at this offset, if it is higher. The offsets between are missing.
func (r *recovery) continueAt(offset int64) error {
	l, end := r.log, r.log.commits.written
	if offset <= r.visible.high.next {
		return nil
	}
	r.endsAt(position{end.pos, offset, end.maxTime})
	return r.owe(func() error { return l.begin(end, offset) })
}

// removeBelowStart removes segments below the log start offset, once that is durable.
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

// checkStart drops a log start offset that was written when the log reached further than it does now.
// In a copy of a data directory that was in use it may be newer than the log: the records that
// replace those below the start are missing, such as the latest positions of groups.
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

// begin continues the log at offset in a new segment; the one before, if there is one, ends at end. If
// the log is in use the caller holds appender.mu.
func (l *partition) begin(end position, offset int64) error {
	if before, _ := l.commits.end(); before != nil && before.base < offset {
		if err := before.sealAt(end); err != nil {
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

// sealAt cuts a segment off at its end, durably, and completes its index, before the next one is
// created.
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

// recoverSegment finds the end of the last segment. The log goes on at an offset that no record has
// had before, even if records are lost. Without the index the number of lost records is unknown: then
// as many offsets are left out as there are damaged bytes.
func (r *recovery) recoverSegment(s *segment) (ends, error) {
	l, size := r.log, r.sizes[s.base]
	known, err := s.index.open()
	if err != nil {
		return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
	}
	synced := s.index.recoveryPoint()
	if size != synced.pos {
		if _, err := s.file.acquire(); err == nil { // so that it is opened once for all that follows
			defer s.file.release()
		}
	}
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
	durable := max(r.startEnd, r.journal.nextIn(s)) // the log was synced up to startEnd when its start was written
	found, err := s.readTail(s.index.recoveryPoint(), size, how, r.journal.in(s))
	proven := known && !short && found.reason != nil && found.end.next < durable
	if err == nil {
		err = r.putRight(s, found, size, known && !short && !proven)
	}
	reached = min(reached, found.end.next)
	if proven {
		reached, synced.next = max(found.end.next, r.startEnd), max(synced.next, durable)
	}
	if err != nil {
		return ends{}, fmt.Errorf("recovering %s: %w", s.file.name, err)
	}
	r.reportLost(s, found.end.next)
	next := max(synced.next, l.commits.written.next)
	if !known {
		next = l.commits.written.next + l.commits.written.pos - found.end.pos // no batch has more records than bytes, unless they are very much alike
	}
	return ends{reached, max(next, r.journal.nextIn(s))}, nil
}

// behindPoint is the search behind the recovery point. If a power cut has torn bytes that were not
// synced, the bytes behind them were not synced either.
func behindPoint(late bool) search {
	if late {
		return nothing
	}
	return written
}

// putRight repairs the last segment, of size bytes, and sets the log's end. marked says that the
// recovery point is known, that the segment reaches it, and that a damaged tail need not have been
// synced.
func (r *recovery) putRight(s *segment, found found, size int64, marked bool) error {
	l, from, end := r.log, s.index.recoveryPoint(), found.end
	r.reportHoles(s, found, marked)
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
			l.points.add(l) // the process that wrote it may have ended before its sync
		}
		if l.uncertain && r.wasCutAt(s, end.pos) {
			return r.owe(func() error { return s.syncAgain(nil) })
		}
		return nil
	}
	if marked {
		s.index.appended(unknownAppend)
	}
	if marked && r.standsFor(s, found) && s.writeAgain(found.valid) == nil {
		r.left = true
		return nil
	}
	if err := r.owe(func() error { return s.syncAgain(found.valid) }); err != nil {
		return err
	}
	return r.owe(func() error {
		if marked && len(found.holes) == 0 && r.journal.in(s) > 0 && !l.late && l.syncEvery == 0 {
			l.points.add(l) // many logs may have been in the journal
			return s.writeIndex(end)
		}
		if err := s.complete(end); err != nil || marked {
			return err
		}
		return l.fs.SyncDir(l.dir) // the index may be a new file
	})
}

// wasCutAt says that a tail was quarantined there. The process that did it may have ended before its sync.
func (r *recovery) wasCutAt(s *segment, pos int64) bool {
	return holds(r.entries, fmt.Sprintf("%s%s%d", filepath.Base(s.file.name), cutInfix, pos))
}

// keepTail reports a damaged tail that may have been acknowledged long ago. It stays in the segment, and
// readers get an error.
func (s *segment) keepTail(found found) {
	s.log.damaged(s.file.name, found.end.pos)
	s.log.logError("the end of a segment is damaged, and stays in the file: consumers get an error and go on behind it",
		"file", s.file.name, "offset", found.end.pos, "bytes", found.used-found.end.pos, "reason", found.reason)
}

// reportHoles reports the offsets that are lost between valid batches. Behind the recovery point they
// may have been acknowledged, or not, unless the journal tells that they were.
func (r *recovery) reportHoles(s *segment, found found, marked bool) {
	l := r.log
	since := "the recovery point"
	if !marked {
		since = "the beginning of a segment whose recovery point is lost"
	}
	for _, h := range found.holes {
		l.damaged(s.file.name, h.pos)
		if h.pos < r.journal.in(s) {
			l.logError("messages are damaged that were acknowledged; those behind them are kept", "first", h.first, "next", h.next,
				"file", s.file.name, "position", h.pos, "reason", h.reason)
			continue
		}
		l.warn("messages are damaged that may have been acknowledged; those behind them are kept", "first", h.first, "next", h.next,
			"file", s.file.name, "position", h.pos, "behind", since, "reason", h.reason,
			"do", "compare with the producers' own records; consumers get an error and go on")
	}
}

// syncAgain makes the valid batches durable, because they become visible. It writes them again if the
// process before has ended in the same boot: if its sync of them has failed, the system may have them
// in memory only, marked as written, and would not write them in another sync. After another boot they
// were read from the disk, and a write could only damage them.
func (s *segment) syncAgain(valid []span) error {
	f, err := s.file.acquire()
	if err != nil {
		return err
	}
	defer s.file.release()
	if err := s.writeAgain(valid); err != nil {
		return err
	}
	return f.Sync()
}

// writeAgain is the first half of syncAgain.
func (s *segment) writeAgain(valid []span) error {
	if !s.log.uncertain {
		return nil
	}
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	for _, p := range valid {
		if err := rewrite(r, p); err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes a range of bytes as it is, except unreadable ones.
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
