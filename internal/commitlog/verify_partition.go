package commitlog

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"mbus/internal/batch"
)

// A checkup goes through one partition.
type checkup struct {
	*verifier
	*inventory
	next int64 // offset that the next batch has
}

// partition goes through all of a partition that can be read, and reports what can't. It
// returns where the log ends, math.MaxInt64 if that is not known.
func (v *verifier) partition(l *partition) (end int64) {
	list, err := l.takeInventory()
	if isNotExist(err) {
		err = errors.New("its directory is missing")
	}
	if err != nil {
		c := &checkup{verifier: v, inventory: &inventory{log: l}}
		c.damage(l.dir, 0, 0, 0, err)
		return math.MaxInt64
	}
	c := &checkup{verifier: v, inventory: list}
	sound, err := c.findStart()
	if err == nil && !sound {
		err = errors.New("it holds no offset, or can't be read")
	}
	if err != nil {
		c.damage(filepath.Join(l.dir, startName), 0, 0, 0, err)
	}
	c.next = c.start
	if len(c.segments) == 0 {
		c.damage(l.dir, 0, 0, 0, errors.New("it holds no segment"))
	} else {
		c.checkSegments()
	}
	c.orphaned()
	if len(c.segments) == 0 {
		return c.next
	}
	if c.next < c.startEnd {
		c.damage(filepath.Join(l.dir, startName), 0, c.next, c.startEnd,
			fmt.Errorf("the log ends at offset %d, and had reached %d when its start was written: an incomplete copy, or damaged", c.next, c.startEnd))
	}
	return max(c.next, c.segments[len(c.segments)-1].base)
}

// damage reports that what is at pos of a file is wrong, and that the offsets
// from first to next can't be read for that. What the log start offset has
// passed is of no interest.
func (c *checkup) damage(file string, pos, first, next int64, reason error) {
	first = max(first, c.start)
	if next <= first {
		first, next = 0, 0
	}
	if next == 0 && file == "" {
		return // a gap that nobody asks for
	}
	c.report(Finding{
		Topic: c.log.topic, Partition: c.log.number, First: first, Next: next,
		File: file, Pos: pos, Reason: reason,
	})
}

// checkSegments reads all of them but those that the log start offset has passed.
func (c *checkup) checkSegments() {
	for len(c.segments) > 1 && c.segments[1].base <= c.start {
		c.segments = c.segments[1:]
	}
	end := c.segments[len(c.segments)-1] // others that are empty, as far as can be seen, were begun in vain
	c.segments = slices.DeleteFunc(c.segments, func(s *segment) bool { return s != end && c.empty(s) })
	// The last one may have been begun in vain, see recoverLast.
	last := len(c.segments) - 1
	if last > 0 && c.empty(end) {
		last--
	}
	for i, s := range c.segments {
		if c.empty(s) {
			continue
		}
		if s.base > c.next {
			c.damage("", 0, c.next, s.base, errMissing)
		}
		limit := int64(math.MaxInt64)
		if i < last {
			limit = c.segments[i+1].base
		}
		c.segment(s, limit, i >= last)
	}
	if end.base > c.next {
		c.damage("", 0, c.next, end.base, errMissing)
	}
}

var errMissing = errors.New("missing: no segment holds them")

// empty says that nothing was written to a segment, as far as can be seen.
func (c *checkup) empty(s *segment) bool {
	size := c.sizes[s.base]
	if size == 0 {
		known, err := s.index.open()
		return err == nil && (!known || s.index.synced.pos == 0)
	}
	zeros, err := c.zeros(s, 0, size)
	return err == nil && zeros
}

// zeros says that a segment has nothing but zeros from pos to end, and its sync
// mark nothing behind pos.
func (c *checkup) zeros(s *segment, pos, end int64) (bool, error) {
	known, err := s.index.open()
	if err != nil || known && s.index.synced.pos > pos {
		return false, err
	}
	used, err := lastUsed(s, pos, end)
	return used == pos, err
}

// A reading is of one segment.
type reading struct {
	*checkup
	s      *segment
	size   int64
	limit  int64 // no record of the segment has this offset or a higher one
	last   bool  // it may have a torn end
	known  bool  // there is a sync mark
	behind bool  // what is read now lies behind the mark
	w      *walker
	ix     *indexCheck
	whole  bool // no damage so far
}

func (c *checkup) segment(s *segment, limit int64, last bool) {
	known, err := s.index.open()
	r := &reading{checkup: c, s: s, size: c.sizes[s.base], limit: limit, last: last, known: known, whole: true}
	r.ix = newIndexCheck(s, known, err)
	end := r.size
	if last && known {
		end = min(end, s.index.synced.pos)
	}
	r.w = walk(s, view{end: end, next: limit}, entry{offset: s.base, before: minTime})
	defer r.w.close()
	r.w.win.step, r.w.strict = 1<<20, true
	c.next = s.base
	if err := r.read(); err != nil {
		r.giveUp(err)
	}
	r.end()
}

// giveUp is for a segment that can't be read from here on, or not at all.
func (r *reading) giveUp(reason error) {
	next := r.limit
	switch {
	case r.last && r.known:
		next = max(r.next, r.s.index.synced.next)
	case r.last:
		next = r.next
	}
	r.damage(r.s.file.name, r.w.at.pos, r.next, next, reason)
	r.next, r.whole = next, false
}

// read goes through the segment's batches.
func (r *reading) read() error {
	w := r.w
	for {
		ok := w.next()
		if ok {
			if err := w.intact(); errors.Is(err, errDamaged) {
				ok = w.skip(err)
			} else if err != nil {
				return err
			}
		}
		if !ok && w.err == nil && w.hole != nil {
			ended, err := r.ended()
			if ended || err != nil {
				return err
			}
			ok = r.goOn()
		}
		switch {
		case w.err != nil:
			return w.err
		case ok:
			r.take()
		case !r.pass():
			return nil
		}
	}
}

// pass goes on behind the sync mark.
func (r *reading) pass() bool {
	if r.behind || !r.last || !r.known {
		return false
	}
	w, synced := r.w, r.s.index.synced
	if r.next < synced.next {
		r.damage(r.s.file.name, w.at.pos, r.next, synced.next,
			fmt.Errorf("the segment has %d bytes, %d of them sound here, %d had been synced", r.size, w.at.pos, synced.pos))
	}
	r.behind, r.next = true, max(r.next, synced.next)
	w.v.end, w.win.end = r.size, r.size
	w.at, w.h = synced, nil
	return synced.pos < r.size
}

// take counts a sound batch.
func (r *reading) take() {
	h := r.w.h
	n, _ := batch.Size(h, maxBatch)
	r.sum.Records += h.NextOffset() - max(h.BaseOffset(), min(r.start, h.NextOffset()))
	r.sum.Bytes += int64(n)
	r.ix.batch(r.w.at, r.whole)
	r.next = h.NextOffset()
	if r.look.Batch != nil && r.log.topic == r.look.Topic && r.next > r.start {
		p := make([]byte, n)
		if _, err := r.w.win.f.ReadAt(p, r.w.at.pos); err == nil { // as a moment ago
			r.look.Batch(p)
		}
	}
}

// ended says that the segment ends where the walk has stopped, as recovery has it: all
// that follows is space for what comes, or a power cut has torn it. That is worth a note.
func (r *reading) ended() (bool, error) {
	pos, hole := r.w.at.pos, r.w.hole
	if !r.last || r.known && !r.behind {
		return false, nil
	}
	zeros, err := r.zeros(r.s, pos, r.w.v.end)
	if err != nil || zeros || !r.known {
		return zeros, err
	}
	if more, err := r.goesOn(pos, hole); more || err != nil {
		return false, err
	}
	r.report(Finding{
		Topic: r.log.topic, Partition: r.log.number, File: r.s.file.name, Pos: pos, Harmless: true,
		Reason: fmt.Errorf("%d bytes at the end, behind the sync mark, are torn; the next start keeps a copy and cuts them off: %w", r.w.v.end-pos, hole),
	})
	return true, nil
}

// goesOn says whether recovery looks for sound batches behind pos, and finds one.
func (r *reading) goesOn(pos int64, hole error) (bool, error) {
	if r.log.late {
		return false, nil
	}
	w := walk(r.s, r.w.v, entry{offset: r.next, pos: pos})
	defer w.close()
	return w.goOn(hole, true), w.err
}

// goOn reports the damage at which the walk has stopped and moves to the next
// sound batch, if there is one.
func (r *reading) goOn() bool {
	w := r.w
	first, pos, hole := r.next, w.at.pos, w.hole
	r.whole = false
	ok := w.goOn(hole, r.behind)
	next := r.limit
	switch {
	case ok:
		next = w.h.BaseOffset()
	case r.last && r.known:
		next = max(first, r.s.index.synced.next)
	case r.last: // as recoverSegment has it
		used, err := lastUsed(r.s, pos, w.v.end)
		if w.err = err; err == nil {
			next = first + used - pos
		}
	}
	if r.behind {
		hole = fmt.Errorf("behind the sync mark, so that it may have been acknowledged, or not: %w", hole)
	}
	if w.err == nil {
		r.damage(r.s.file.name, pos, first, next, hole)
		r.next = next
	}
	return ok
}

// end looks at what lies between the last batch and the segment's end.
func (r *reading) end() {
	stop := mark{r.w.at.pos, r.next, r.w.at.maxTime}
	switch {
	case r.last:
	case r.next > r.limit:
		r.damage(r.s.file.name, stop.pos, 0, 0,
			fmt.Errorf("its records reach up to offset %d, the next segment begins at %d", r.next-1, r.limit))
	case r.next < r.limit && r.known && r.s.index.synced == stop:
		r.damage("", 0, r.next, r.limit, errMissing)
		r.next = r.limit
	case r.next < r.limit:
		r.damage(r.s.file.name, stop.pos, r.next, r.limit, errors.New("the segment ends too early"))
		r.next = r.limit
	}
	if reason := r.ix.end(stop, r.last, r.whole); reason != nil {
		r.report(Finding{
			Topic: r.log.topic, Partition: r.log.number, File: r.s.index.file.name,
			Reason:   fmt.Errorf("the index is built again when it is needed: %w", reason),
			Harmless: r.last && r.known, // its entries had not been synced
		})
	}
}

// orphaned reports indexes that say that there was a segment which is missing.
func (c *checkup) orphaned() {
	for _, s := range c.orphans() {
		next, err := c.lostIn(s)
		if err != nil {
			c.damage(s.index.file.name, 0, 0, 0, err)
		}
		if next > 0 {
			c.damage(s.index.file.name, 0, c.next, next, errors.New("its segment is missing"))
			c.next = max(c.next, next)
		}
	}
}
