package commitlog

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
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
	if slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == healName }) {
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
func (l *partition) list(entries []Entry) map[int64]int64 {
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
func (l *partition) orphans(entries []Entry, sizes map[int64]int64) (list []*segment) {
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

// lastUsed is the position behind the last byte from pos to size that is not zero;
// pos if there is none.
func lastUsed(s *segment, pos, size int64) (int64, error) {
	f, err := s.reader()
	if err != nil {
		return pos, err
	}
	defer f.close()
	w, end := window{f: f, end: size, step: 1 << 20}, pos
	for at := pos; at < size; at += 1 << 20 {
		p, err := w.at(at, 1<<20)
		if err != nil {
			return pos, err
		}
		if used := bytes.TrimRight(p, "\x00"); len(used) > 0 {
			end = at + int64(len(used))
		}
	}
	return end, nil
}

// What scan has found in a segment behind a mark.
type found struct {
	end    mark   // behind the last sound batch
	sound  []span // where the sound batches are, ascending
	holes  []lostOffsets
	used   int64 // behind the last byte that is not zero, if reason is not nil
	reason error // why the bytes from end to used are no batch; nil if there are none but zeros
}

// A span is a range of bytes in a segment.
type span struct{ from, to int64 }

// lostOffsets can't be read; the bytes in their place begin at pos.
type lostOffsets struct {
	first, next, pos int64
	reason           error
}

// scanning says what is known of what a scan reads.
type scanning int

const (
	anywhere   scanning = iota
	behindMark          // it lies behind the sync mark
	behindCut           // what is not sound there was torn by a power cut: nothing behind it was synced
)

// scan reads the segment from a mark to its end, past what is not sound where sound
// batches follow, and notes these in the index.
func (l *partition) scan(s *segment, from mark, size int64, how scanning) (found, error) {
	w := walk(s, view{end: size, next: math.MaxInt64}, entry{from.next, from.pos, from.maxTime})
	defer w.close()
	w.win.step, w.strict = 1<<20, true
	out := found{end: from, used: -1}
	for {
		more := w.nextSound()
		if !more && w.hole != nil && w.err == nil {
			var err error
			if more, err = out.pass(s, w, size, how); err != nil {
				return out, err
			}
		}
		if !more {
			return out, w.err
		}
		s.index.note(w.at, l.interval)
		out.add(w.at.pos, w.end())
	}
}

// add takes in the sound batch from pos to end.
func (f *found) add(pos int64, end mark) {
	if n := len(f.sound); n > 0 && f.sound[n-1].to == pos {
		f.sound[n-1].to = end.pos
	} else {
		f.sound = append(f.sound, span{pos, end.pos})
	}
	f.end = end
}

// pass moves w from a place that is not sound to the next batch that is, if there is
// one. Zeros up to the end of the file are space that was allocated ahead.
func (f *found) pass(s *segment, w *walker, size int64, how scanning) (more bool, err error) {
	pos, reason := w.bad, w.hole
	if f.used < 0 {
		if f.used, err = lastUsed(s, pos, size); err != nil {
			return false, err
		}
	}
	if pos >= f.used {
		return false, nil
	}
	if how == behindCut {
		f.reason = reason
		return false, nil
	}
	more = w.goOn(reason, how == behindMark)
	switch {
	case w.err != nil:
	case !more:
		f.reason = reason
	case w.h.BaseOffset() > f.end.next:
		f.holes = append(f.holes, lostOffsets{f.end.next, w.h.BaseOffset(), pos, reason})
	}
	return more, nil
}

// goOn moves from where no batch is to the next sound one, if there is any. Offsets have no
// checksum: a batch that begins just there is none if its offset is higher than it can be;
// nor, behind the sync mark, where only batches were written, is one further on whose offset
// leaves none for what lies between.
func (w *walker) goOn(reason error, behind bool) bool {
	strict, pos, at := w.strict, w.at.pos, w.at
	w.strict = false
	more := w.skip(reason)
	for more {
		end, records := w.end().pos, w.h.NextOffset()-w.h.BaseOffset()
		if w.at.pos == at.pos && w.h.BaseOffset() > at.next {
			at = mark{end, at.next + records, at.maxTime}
		} else if !behind || w.at.pos == at.pos || w.h.BaseOffset() > at.next {
			break
		}
		w.at = mark{end, at.next, at.maxTime}
		more = w.skip(reason)
	}
	w.strict, w.bad = strict, pos
	return more
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

// setAside copies the torn end of a segment of size bytes into a file of its own and cuts
// it off.
func (l *partition) setAside(s *segment, found found, size int64) error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	pos := found.end.pos
	name, err := l.copyTail(s, r, span{pos, found.used})
	if err != nil {
		return err
	}
	known := "acknowledged only if the disk has damaged it, in the last second before a power cut"
	if l.late || l.syncEvery > 0 {
		known = "may have been acknowledged: with -fsync INTERVAL that comes before the sync"
	}
	l.warn("cut off a torn end, which lies behind the sync mark", "file", s.file.name, "offset", pos,
		"bytes", size-pos, "kept in", name, "reason", found.reason, "what it held", known)
	if err := r.f.Truncate(pos); err != nil {
		return err
	}
	return r.f.Sync()
}

// copyTail returns the name of the copy, which is durable and has zeros where the tail
// can't be read. It leaves none if it fails.
func (l *partition) copyTail(s *segment, r *sectorReader, tail span) (name string, err error) {
	if !l.space.fits(tail.to - tail.from) {
		return "", syscall.ENOSPC
	}
	out, name, err := l.createAside(s, tail.from)
	if err != nil {
		return "", err
	}
	err = copyTo(out, r, tail)
	if err == nil {
		err = out.Sync()
	}
	out.Close()
	if err != nil {
		_ = l.fs.Remove(name)
		return "", err
	}
	return name, l.fs.SyncDir(l.dir)
}

// copyTo copies a range of bytes to the beginning of another file, as far as it can be
// read.
func copyTo(out File, r *sectorReader, s span) error {
	w := window{f: r, end: s.to, step: 1 << 20}
	for at := s.from; at < s.to; {
		p, err := w.at(at, 1<<20)
		if err != nil {
			return err
		}
		if len(p) == 0 {
			break // the file is shorter than it was
		}
		err = r.readable(p, at, func(p []byte, at int64) error {
			_, err := out.WriteAt(p, at-s.from)
			return err
		})
		if err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}

func (l *partition) createAside(s *segment, pos int64) (File, string, error) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s%s%d", s.file.name, cutInfix, pos)
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		f, err := l.fs.Create(name)
		if !isExist(err) {
			return f, name, err
		}
	}
}

// writeFile replaces a small file as a whole: after a crash it has the old
// content or the new.
func writeFile(fs FS, name string, content []byte) error {
	tmp := name + ".tmp"
	if err := fs.Remove(tmp); err != nil && !isNotExist(err) {
		return err
	}
	f, err := fs.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(content, '\n'), 0)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = fs.Rename(tmp, name)
	}
	if err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(name))
}
