package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
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
		err = l.begin(max(l.start, lost))
	} else {
		err = l.recoverSegments(sizes, lost)
	}
	if err != nil {
		return err
	}
	l.durable = l.written.pos
	return l.removeOrphans(orphans)
}

// recoverSegments goes on at the offset lost or a higher one.
func (l *partition) recoverSegments(sizes map[int64]int64, lost int64) error {
	if err := l.removeEmpty(sizes); err != nil {
		return err
	}
	if err := l.removeBelowStart(); err != nil {
		return err
	}
	if err := l.recoverLast(sizes); err != nil {
		return err
	}
	return l.resume(lost)
}

// list takes the segments from what is in the directory, and gives their sizes in
// bytes by base offset.
func (l *partition) list(entries []Entry) map[int64]int64 {
	sizes := make(map[int64]int64)
	for _, e := range entries {
		if base, ok := parseBase(e.Name, logSuffix); ok {
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
func (l *partition) recoverLast(sizes map[int64]int64) error {
	if n := len(l.segments); n > 1 && sizes[l.active().base] == 0 {
		empty := l.active()
		l.segments = l.segments[:n-1]
		resume, err := l.recoverSegment(l.active(), sizes[l.active().base])
		if err != nil {
			return err
		}
		if resume > empty.base {
			return errors.Join(empty.remove(), l.resume(resume))
		}
		if err := l.active().truncate(l.written.pos); err != nil {
			return err
		}
		if err := l.syncAndMark(); err != nil { // a cut that an earlier recovery did not come to sync
			return err
		}
		l.segments = append(l.segments, empty)
	}
	s := l.active()
	if sizes[s.base] == 0 { // a segment is written to when its name is synced
		if err := l.fs.SyncDir(l.dir); err != nil {
			return err
		}
	}
	resume, err := l.recoverSegment(s, sizes[s.base])
	if err != nil {
		return err
	}
	return l.resume(max(resume, l.start))
}

// resume sees to it that the next record gets this offset or a higher one.
func (l *partition) resume(offset int64) error {
	if offset > l.high.next {
		return l.begin(offset)
	}
	return nil
}

// removeEmpty deletes empty segments between others: beginning them has failed.
func (l *partition) removeEmpty(sizes map[int64]int64) error {
	kept := l.segments[:0]
	for i, s := range l.segments {
		if sizes[s.base] > 0 || i == 0 || i == len(l.segments)-1 {
			kept = append(kept, s)
		} else if err := s.remove(); err != nil {
			return err
		}
	}
	l.segments = kept
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

// begin goes on at offset with a new segment.
func (l *partition) begin(offset int64) error {
	if l.room > l.written.pos {
		if err := l.active().truncate(l.written.pos); err != nil {
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
	l.segments = append(l.segments, s)
	l.written = mark{next: offset, maxTime: minTime}
	l.high, l.room = l.written, 0
	return nil
}

// recoverSegment finds the end of the last segment, which has size bytes, and
// returns the offset from which the log can go on: no offset is used twice, even
// if records have been lost. How many those were is not known without the index: then
// as many are left out as there are bytes.
func (l *partition) recoverSegment(s *segment, size int64) (int64, error) {
	known, err := s.index.open()
	if err != nil {
		return 0, fmt.Errorf("recovering %s: %w", s.file.name, err)
	}
	synced := s.index.synced
	from := synced
	lost := known && synced.pos > size
	if lost {
		l.log.Error("synced bytes are missing from the end of a segment", "file", s.file.name,
			"size", size, "synced", synced.pos)
	}
	if lost || !known {
		s.index.reset()
		from = s.index.synced
	}
	end, reason, err := l.scan(s, from, size, known && !lost)
	sound := end.pos
	switch {
	case err != nil || end.pos == size:
	case known && !lost:
		err = l.setAside(s, end.pos, size, reason)
	default:
		end.pos, err = l.leave(s, end.pos, size, reason)
	}
	if known && end.pos > synced.pos {
		s.index.appended(sinceTheMark)
	}
	if err == nil && (!known || end.pos != synced.pos) {
		err = l.settle(s, from, end)
	}
	if err != nil {
		return 0, fmt.Errorf("recovering %s: %w", s.file.name, err)
	}
	l.written, l.high, l.room = end, end, max(end.pos, l.room)
	if !known {
		return end.next + end.pos - sound, nil // no batch has more records than bytes but of the most alike
	}
	return max(synced.next, end.next), nil
}

// leave finds the end, behind pos, of what is damaged and may have been acknowledged:
// that stays where it is, to be reported when it is read.
func (l *partition) leave(s *segment, pos, size int64, reason error) (end int64, err error) {
	l.room = size
	end, err = lastUsed(s, pos, size)
	if err == nil && end > pos {
		l.log.Error("the end of a segment is damaged, and stays where it is", "topic", l.topic, "partition", l.number,
			"file", s.file.name, "offset", pos, "bytes", end-pos, "reason", reason)
	}
	return end, err
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

// scan reads the segment from a mark to its end and returns the end of what is
// sound. Behind a known mark nothing was acknowledged once a batch is torn;
// without one, damage is passed over where sound batches follow.
func (l *partition) scan(s *segment, from mark, size int64, known bool) (mark, error, error) {
	w := walk(s, view{end: size, next: math.MaxInt64}, entry{from.next, from.pos, from.maxTime})
	defer w.close()
	w.win.step, w.strict = 1<<20, known
	end := from
	for w.nextSound() {
		s.index.note(w.at, l.interval)
		end = w.end()
	}
	return end, w.hole, w.err
}

// settle makes what was found between two marks as safe as what is acknowledged,
// because it is visible from now on. It writes the bytes once more: if a sync of
// them has failed before, the system may hold them in memory, take them for
// written, and have nothing to do in another sync.
func (l *partition) settle(s *segment, from, end mark) error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	f, w := r.f, window{f: r, end: end.pos, step: 1 << 20}
	for pos := from.pos; pos < end.pos; {
		p, err := w.at(pos, int(min(1<<20, end.pos-pos)))
		if err != nil {
			return err
		}
		err = r.readable(p, pos, func(p []byte, pos int64) error {
			_, err := f.WriteAt(p, pos)
			return err
		})
		if err != nil {
			return err
		}
		pos += int64(len(p))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return s.writeIndex(end)
}

// setAside copies the segment's bytes from pos to size into a file of their own
// and cuts them off, unless they are the zeros of space that no write has come to
// use.
func (l *partition) setAside(s *segment, pos, size int64, reason error) error {
	r, err := s.reader()
	if err != nil {
		return err
	}
	defer r.close()
	name, err := l.copyTail(s, r, pos, size)
	if err != nil {
		return err
	}
	if name == "" {
		l.room = size
		return nil
	}
	l.warn("cut off a torn end, which was never acknowledged", "file", s.file.name, "offset", pos,
		"bytes", size-pos, "kept in", name, "reason", reason)
	if err := r.f.Truncate(pos); err != nil {
		return err
	}
	return r.f.Sync()
}

// copyTail returns the name of the copy, which has no name yet; none if there
// are only zeros to copy. It has zeros where the tail can't be read.
func (l *partition) copyTail(s *segment, f *sectorReader, pos, size int64) (string, error) {
	w := window{f: f, end: size, step: 1 << 20}
	var out File
	var name string
	for at := pos; at < size; {
		p, err := w.at(at, 1<<20)
		if err != nil {
			return "", err
		}
		if len(p) == 0 {
			break // the file is shorter than it was
		}
		used := bytes.TrimRight(p, "\x00")
		if out == nil && len(used) > 0 {
			if out, name, err = l.createAside(s, pos); err != nil {
				return "", err
			}
			defer out.Close()
		}
		if len(used) > 0 {
			err := f.readable(used, at, func(p []byte, at int64) error {
				_, err := out.WriteAt(p, at-pos)
				return err
			})
			if err != nil {
				return "", err
			}
		}
		at += int64(len(p))
	}
	if out == nil {
		return "", nil
	}
	if err := out.Sync(); err != nil {
		return "", err
	}
	return name, l.fs.SyncDir(l.dir)
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
