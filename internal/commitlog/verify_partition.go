package commitlog

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"mbus/internal/store"
)

// A checkup reads one partition.
type checkup struct {
	*verifier
	*inventory
	of   store.Topic
	next int64 // offset that the next batch has
}

// partition reads a partition and reports damage. It returns the log start offset and the log's end, or
// math.MaxInt64 if that is not known.
func (v *verifier) partition(of store.Topic, l *partition) (start, end int64) {
	list, err := l.takeInventory()
	if isNotExist(err) {
		err = errors.New("its directory is missing")
	}
	if err != nil {
		c := &checkup{verifier: v, inventory: &inventory{log: l}}
		c.damage(l.dir, 0, 0, 0, err)
		return 0, math.MaxInt64
	}
	c := &checkup{verifier: v, inventory: list, of: of}
	valid, err := c.findStart()
	if err == nil && !valid {
		err = errors.New("it holds no offset, or can't be read")
	}
	if err != nil {
		c.damage(filepath.Join(l.dir, startName), 0, 0, 0, err)
	}
	if err := c.replayJournal(); err != nil {
		c.damage(l.dir, 0, 0, 0, fmt.Errorf("what the journal holds can't be written: %w", err))
	}
	c.next = c.start
	if len(c.segments) == 0 {
		c.damage(l.dir, 0, 0, 0, errors.New("it holds no segment"))
	} else {
		c.checkSegments()
	}
	c.orphaned()
	c.lostOfJournal()
	if len(c.segments) == 0 {
		return c.start, c.next
	}
	if c.next < c.startEnd {
		c.damage(filepath.Join(l.dir, startName), 0, c.next, c.startEnd,
			fmt.Errorf("the log ends at offset %d, and had reached %d when its start was written: an incomplete copy, or damaged", c.next, c.startEnd))
	}
	return c.start, max(c.next, c.segments[len(c.segments)-1].base)
}

// damage reports that a file is damaged at pos, and that the offsets from first to next are lost by
// that. Offsets below the log start offset are left out.
func (c *checkup) damage(file string, pos, first, next int64, reason error) {
	first = max(first, c.start)
	if next <= first {
		first, next = 0, 0
	}
	if next == 0 && file == "" {
		return // a gap below the log start offset
	}
	c.report(Finding{
		Topic: c.log.topic, Partition: c.log.number, First: first, Next: next,
		File: file, Pos: pos, Reason: reason,
	})
}

// checkSegments reads all segments above the log start offset.
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

// empty says that a segment has never been written to, as far as is known.
func (c *checkup) empty(s *segment) bool {
	size := c.sizes[s.base]
	if size == 0 {
		known, err := s.index.open()
		return err == nil && (!known || s.index.synced.pos == 0)
	}
	zeros, err := c.zeros(s, 0, size)
	return err == nil && zeros
}

// zeros says that a segment has nothing but zeros from pos to end, and its recovery
// point nothing behind pos.
func (c *checkup) zeros(s *segment, pos, end int64) (bool, error) {
	known, err := s.index.open()
	if err != nil || known && s.index.synced.pos > pos {
		return false, err
	}
	used, err := lastUsed(s, pos, end)
	return used == pos, err
}

// A segmentCheck is of one segment.
type segmentCheck struct {
	c      *checkup
	s      *segment
	size   int64
	limit  int64    // no record of the segment has this offset or a higher one
	last   bool     // it may have a torn tail
	known  bool     // there is a recovery point
	synced position // the recovery point
	behind bool     // what is read now lies behind it
	at     position // where reading has ended
	index  *indexCheck
	whole  bool // no damage so far
}

// segment reads one segment. It reads the last one as recovery does: up to the recovery point, and from
// there on.
func (c *checkup) segment(s *segment, limit int64, last bool) {
	known, err := s.index.open()
	r := &segmentCheck{c: c, s: s, size: c.sizes[s.base], limit: limit, last: last, known: known, synced: s.index.recoveryPoint(), whole: true}
	r.index = newIndexCheck(s, known, err)
	c.next = s.base
	begin := position{next: s.base, maxTime: minTime}
	switch {
	case !last || !known:
		r.read(begin, r.size, inOrder, last)
	case r.read(begin, min(r.size, r.synced.pos), inOrder, false):
		r.passPoint()
		if r.synced.pos < r.size {
			r.read(r.synced, r.size, behindPoint(c.log.late), true)
		}
	}
	if next := c.journal.nextIn(s); last && c.next < next {
		c.damage(s.file.name, r.at.pos, c.next, next, errors.New("the journal is damaged, in which they were"))
		c.next = next
	}
	r.end()
}

// read reads the segment from one position to another. It returns false if reading fails.
func (r *segmentCheck) read(from position, end int64, search search, ahead bool) bool {
	w := r.s.scan(view{end: end, next: r.limit}, entry{from.next, from.pos, from.maxTime})
	defer w.close()
	w.win.step, w.search, w.durable, w.ahead = 1<<20, search, r.c.journal.in(r.s), ahead
	for w.nextChecked() {
		switch {
		case w.kind == isBatch:
			r.count(w)
		case r.behind && w.last:
			r.torn(w)
		default:
			r.damaged(w)
		}
	}
	r.at = w.end()
	if w.err != nil {
		r.giveUp(w.err)
	}
	return w.err == nil
}

// giveUp reports a segment that can't be read from here on.
func (r *segmentCheck) giveUp(reason error) {
	next := r.limit
	switch {
	case r.last && r.known:
		next = max(r.c.next, r.synced.next)
	case r.last:
		next = r.c.next
	}
	r.c.damage(r.s.file.name, r.at.pos, r.c.next, next, reason)
	r.c.next, r.whole = next, false
}

// passPoint continues at the recovery point.
func (r *segmentCheck) passPoint() {
	c := r.c
	if c.next < r.synced.next {
		c.damage(r.s.file.name, r.at.pos, c.next, r.synced.next,
			fmt.Errorf("the segment has %d bytes, %d of them valid here, %d had been synced", r.size, r.at.pos, r.synced.pos))
	}
	r.behind, r.at, c.next = true, r.synced, max(c.next, r.synced.next)
}

// count counts a valid batch.
func (r *segmentCheck) count(w *scanner) {
	c, next := r.c, w.end().next
	n := w.end().pos - w.at.pos
	c.sum.Records += next - max(w.at.next, min(c.start, next))
	c.sum.Bytes += n
	r.index.batch(w.at, r.whole)
	c.next = next
	if next > c.start && c.err == nil {
		c.show(r.s, w, n)
	}
}

// show gives the observer the batch of n bytes at which the scanner is.
func (c *checkup) show(s *segment, w *scanner, n int64) {
	isChosen := c.look.Batch != nil && c.log.topic == c.look.Topic
	if !isChosen && c.look.Each == nil {
		return
	}
	c.buf = slices.Grow(c.buf[:0], int(n))[:n]
	if _, err := w.file.ReadAt(c.buf, w.at.pos); err != nil { // as a moment ago it could be read
		c.err = err
		return
	}
	if isChosen {
		c.look.Batch(c.buf)
	}
	if c.look.Each != nil {
		c.err = c.look.Each(Stored{c.of, c.log.number, c.buf, s.index.lastAppend()})
	}
}

// torn reports a tail that recovery will quarantine.
func (r *segmentCheck) torn(w *scanner) {
	r.c.report(Finding{
		Topic: r.c.log.topic, Partition: r.c.log.number, File: r.s.file.name, Pos: w.at.pos, Harmless: true,
		Reason: fmt.Errorf("%d bytes at the end, behind the recovery point, are torn; the next start keeps a copy and cuts them off: %w", w.v.end-w.at.pos, w.reason),
	})
}

// damaged reports damage.
func (r *segmentCheck) damaged(w *scanner) {
	c, next, reason := r.c, r.limit, w.reason
	switch {
	case !w.last:
		next = w.to.next
	case r.last && r.known:
		next = max(c.next, r.synced.next)
	case r.last: // as recoverSegment has it
		next = c.next + w.used - w.at.pos
	}
	if r.behind {
		reason = fmt.Errorf("behind the recovery point, so that it may have been acknowledged, or not: %w", reason)
	}
	c.damage(r.s.file.name, w.at.pos, c.next, next, reason)
	c.next, r.whole = next, false
}

// end checks the segment's end, and its index.
func (r *segmentCheck) end() {
	c := r.c
	stop := position{r.at.pos, c.next, r.at.maxTime}
	switch {
	case r.last:
	case c.next > r.limit:
		c.damage(r.s.file.name, stop.pos, 0, 0,
			fmt.Errorf("its records reach up to offset %d, the next segment begins at %d", c.next-1, r.limit))
	case c.next < r.limit && r.known && r.synced == stop:
		c.damage("", 0, c.next, r.limit, errMissing)
		c.next = r.limit
	case c.next < r.limit:
		c.damage(r.s.file.name, stop.pos, c.next, r.limit, errors.New("the segment ends too early"))
		c.next = r.limit
	}
	if reason := r.index.end(stop, r.last, r.whole); reason != nil {
		c.report(Finding{
			Topic: c.log.topic, Partition: c.log.number, File: r.s.index.file.name,
			Reason:   fmt.Errorf("the index is built again when it is needed: %w", reason),
			Harmless: r.last && r.known, // its entries had not been synced
		})
	}
}

// lostOfJournal reports what the journal holds of segments that are missing.
func (c *checkup) lostOfJournal() {
	for _, m := range c.journal.missing {
		c.damage("", 0, m.first, m.next, errors.New("the journal holds them, and no segment to which they belong is there"))
		c.next = max(c.next, m.next)
	}
}

// orphaned reports indexes whose segment is missing.
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
