package commitlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
)

// The way past damage.
//
// Where a batch is damaged, the next place at which one is certain to begin is an entry of
// the index, or the segment's end. Between the two is a region of which every place may be
// the beginning of a sound batch. What looks like one there may also lie within a message,
// for which reason the first that has a right checksum is not taken: a message may have
// been made to look so, and claim the offsets of those behind it. A run is batches that
// follow on each other without a byte or an offset left out. In this order count
//
//  1. the run that begins where the damaged batch ends, if that is certain, or if the run
//     reaches the end of the region. A checksum does not cover a batch's length, base offset
//     and epoch: where only these are wrong, it tells the end;
//  2. the run that reaches the end of the region, of several the one that begins first: it
//     is not part of a message of another's;
//  3. what the header of the damaged batch says of its end and of the offset behind it: where
//     one of them agrees with 2, nothing is left to be found, and else a run there is next;
//  4. the run up to a header that says that it reaches to 2: that of another damaged batch;
//  5. what lies behind the damaged batch if its header is believed: those runs that end last,
//     or, where the end of the region is not known to be one of a batch, the longest.
//
// So where one batch is damaged in a region (32 KiB, or a batch and 32 KiB), in one bit or in
// its records, no message is taken for a batch; without the index, too, where the region is
// all of the segment. What remains possible:
//
//   - Of a batch of several records whose header is destroyed, a message may be served as a
//     batch that has some of the offsets which that batch had.
//   - Where two batches are damaged, and the header of one that an enemy has published is
//     destroyed, a message in it may have offsets of the other damaged one.
//   - Where the header of a batch is destroyed, a message in it that holds what others will
//     publish, byte for byte up to the end of the region, can claim to hold all that.
//   - A batch that is sound between two whose headers both are damaged may be taken for a part
//     of the first one, and be reported as damaged, though it is not.
//
// The cost is two passes over the region, whatever it holds: one finds the headers, one
// computes the checksums of all the batches that they claim, each from those of two places
// (crcBehind). Where the region is large it is charted in parts of at most chartBytes and
// chartMost headers, of which one half at least is done with each time. What was found is
// remembered (jumps), so that it is not paid for by each reader.
const (
	chartBytes = 128 << 20 // more than twice the largest batch that a broker takes in
	chartMost  = 1 << 18   // headers, of 80 bytes of memory each
	maxIslands = 256       // found in one region in the last of the ways above
	// maxBelieved is how many damaged batches in a row are believed what their headers say
	// in a region. Each takes a look at all candidates.
	maxBelieved = 64
)

// A jump leads from a place where no sound batch begins to the next one that is sound.
type jump struct {
	from, to edge
	until    time.Time // not remembered longer, if set: what can't be read may be read again
	judged   bool      // what looks like a sound batch at from is none
}

// A candidate is what can be the header of a batch.
type candidate struct {
	pos, end   int64 // bytes
	base, next int64 // offsets
	crc, front uint32
	sound      bool
	before     int32 // the batch that it follows on, -1 for none
	begins     edge  // where the run of batches begins that it ends
}

// An edge is a place in a segment and the offset there.
type edge struct{ pos, next int64 }

func (m mark) edge() edge { return edge{m.pos, m.next} }

// A chart is of one region.
type chart struct {
	w         *walker
	from, to  edge
	exact     bool // a batch begins at to, or the log ends there
	truncated bool // the region goes on behind to

	used  int64  // from here on there are only zeros
	crc   uint32 // of the damaged batch at from, as its header says
	delta int64  // of its last offset
	end   int64  // where it ends by its checksum; 0 if that is right nowhere

	list   []candidate    // ascending by pos
	byEnd  []int32        // those that are sound, ascending by end
	all    []int32        // all of them, ascending by end
	nexts  map[int64]bool // offsets behind them
	latest int32          // of findLatest, and 1; 0 if that has not been looked for
	runs   map[edge]int32 // sound ones by their end, of those with the same the one whose run begins first
	taken  []run
	jumps  []jump
}

// charting holds an element for each region that is charted. Where many readers come to the
// same damage, the first ones find the way, and the others find it remembered.
var charting = make(chan struct{}, 4)

// past finds the first sound batch behind d, where one is damaged.
func (w *walker) past(d mark) (to mark, found bool, err error) {
	if to, found, err = w.remembered(d); found || err != nil {
		return to, found, err
	}
	charting <- struct{}{}
	defer func() { <-charting }()
	if to, found, err = w.remembered(d); found || err != nil {
		return to, found, err
	}
	return w.find(d)
}

// remembered is past where that has been found before.
func (w *walker) remembered(d mark) (to mark, found bool, err error) {
	to, ok := w.s.jumps.from(d)
	if !ok || to.pos >= w.v.end {
		return d, false, nil
	}
	found, err = w.soundAt(to)
	return to, found, err
}

// find is past where nothing is remembered.
func (w *walker) find(d mark) (to mark, found bool, err error) {
	step := w.win.step
	w.win.step = max(step, 64<<10)
	defer func() { w.win.step = step }()
	var list []jump
	for at := d.edge(); len(list) == 0; {
		c := &chart{w: w, from: at}
		c.to, c.exact = w.anchor(at)
		if err := c.draw(); err != nil {
			return d, false, err
		}
		if list = c.jumps; len(list) > 0 {
			break
		}
		if at = c.rest(); at.pos >= w.v.end {
			return d, false, nil
		}
		if c.truncated {
			continue
		}
		sound, err := w.soundAt(mark{pos: at.pos, next: at.next})
		if err != nil {
			return d, false, err
		}
		if sound {
			list = []jump{{to: at}}
		}
	}
	list[0].from = d.edge()
	for i := range list {
		if w.file.lost(list[i].from.pos, list[i].to.pos) != nil {
			list[i].until = time.Now().Add(badFor)
		}
	}
	w.s.jumps.add(list)
	return mark{pos: list[0].to.pos, next: list[0].to.next}, true, nil
}

// rest is where to go on where a chart shows nothing.
func (c *chart) rest() edge {
	if c.truncated {
		return edge{c.from.pos + (c.to.pos-c.from.pos)/2, c.from.next}
	}
	return c.to
}

// soundAt says whether there is a sound batch at m.
func (w *walker) soundAt(m mark) (bool, error) {
	h, err := w.win.at(m.pos, batch.HeaderSize)
	if err != nil || checkHeader(h, w.v.end-m.pos, m.next, w.s.log.place) != nil {
		return false, err
	}
	n, _ := batch.Size(h, maxBatch)
	if to, _ := w.anchor(m.edge()); m.pos+int64(n) > to.pos {
		return false, nil
	}
	err = w.check(m.pos, m.pos+int64(n))
	if errors.Is(err, errDamaged) {
		return false, nil
	}
	return err == nil, err
}

// anchor is the next place behind another where a batch begins, or the end; exact says that
// this is certain.
func (w *walker) anchor(behind edge) (to edge, exact bool) {
	e, ok := w.s.index.above(behind.pos, behind.next)
	if ok && e.pos < w.v.end && e.offset <= w.v.next {
		return edge{e.pos, e.offset}, true
	}
	return edge{w.v.end, w.v.next}, w.v.next < math.MaxInt64
}

// draw finds the jumps from the beginning of the region on.
func (c *chart) draw() error {
	h, err := c.w.win.at(c.from.pos, batch.HeaderSize)
	if err != nil {
		return err
	}
	if len(h) == batch.HeaderSize {
		c.crc, c.delta = batch.Batch(h).CRC(), int64(batch.Batch(h).LastOffsetDelta())
	}
	if err := c.collect(); err != nil {
		return err
	}
	if err := c.checksums(); err != nil {
		return err
	}
	c.chain()
	return c.decide()
}

// collect finds all headers of the region. It ends early where there are too many.
func (c *chart) collect() error {
	limit := c.to.pos
	if limit > c.from.pos+chartBytes {
		limit, c.truncated = c.from.pos+chartBytes, true
	}
	pattern := binary.BigEndian.AppendUint32(nil, uint32(c.w.s.log.place))
	pattern = append(pattern, 2) // magic
	const before = 12            // bytes of a header
	c.used = c.from.pos
	for pos := c.from.pos; pos < limit; {
		p, err := c.w.win.at(pos, int(min(limit-pos, int64(c.w.win.step))))
		if err != nil {
			return err
		}
		if n := len(bytes.TrimRight(p, "\x00")); n > 0 {
			c.used = pos + int64(n)
		}
		at := 0
		for {
			i := bytes.Index(p[min(at+before, len(p)):], pattern)
			if i < 0 || at+i+batch.HeaderSize > len(p) {
				break
			}
			at += i
			if c.header(batch.Batch(p[at:]), pos+int64(at)); len(c.list) == chartMost {
				limit, c.truncated = pos+int64(at), true
				break
			}
			at++
		}
		if len(p) < batch.HeaderSize || c.truncated && pos+int64(len(p)) >= limit {
			break
		}
		pos += int64(len(p)) - batch.HeaderSize + 1
		if pos+batch.HeaderSize > limit {
			break
		}
	}
	if c.truncated {
		c.to.pos, c.exact = limit, false
	}
	return nil
}

// header notes what may be one at pos.
func (c *chart) header(h batch.Batch, pos int64) {
	n, err := batch.Size(h, maxBatch)
	base := h.BaseOffset()
	if err != nil || h.LastOffsetDelta() < 0 || base < c.from.next || base > c.to.next || h.NextOffset() > c.to.next {
		return
	}
	c.list = append(c.list, candidate{pos: pos, end: pos + int64(n), base: base, next: h.NextOffset(), crc: h.CRC(), before: -1})
}

// checksums finds out which candidates are sound, and where the damaged batch ends.
func (c *chart) checksums() error {
	ends := make([]int32, 0, len(c.list))
	for i := range c.list {
		if c.list[i].end <= c.to.pos {
			ends = append(ends, int32(i))
		}
	}
	c.sortByEnd(ends)
	s := summing{w: c.w, pos: c.from.pos + crcBegins}
	for fronts, starts := c.list, c.list; len(ends) > 0; {
		e := &c.list[ends[0]]
		switch {
		case len(starts) > 0 && starts[0].pos < min(e.end, fronts[0].pos+crcBegins):
			c.endsAt(&s, starts[0].pos)
			starts = starts[1:]
		case len(fronts) > 0 && fronts[0].pos+crcBegins <= e.end:
			s.upTo(fronts[0].pos + crcBegins)
			fronts[0].front = s.sum
			fronts = fronts[1:]
		default:
			s.upTo(e.end)
			e.sound = !s.short && crcBehind(s.sum, e.front, e.end-e.pos-crcBegins) == e.crc && c.w.file.lost(e.pos, e.end) == nil
			ends = ends[1:]
		}
	}
	return c.endsLast(&s)
}

// endsAt takes the damaged batch to end at pos if its checksum says so: that does not cover
// its length. The last such place counts.
func (c *chart) endsAt(s *summing, pos int64) {
	if pos < c.from.pos+batch.HeaderSize {
		return
	}
	if s.upTo(pos); !s.short && s.sum == c.crc && c.w.file.lost(c.from.pos+crcBegins-4, pos) == nil {
		c.end = pos
	}
}

// endsLast is endsAt for the end of the region. Zeros at the end of a segment may be the
// batch's own, in part.
func (c *chart) endsLast(s *summing) error {
	if c.to.pos < c.w.v.end || c.truncated {
		c.endsAt(s, c.to.pos)
		return s.err
	}
	c.endsAt(s, max(c.used, s.pos))
	for n := int64(0); n < batch.HeaderSize && !s.short; n++ {
		s.sum = crc32.Update(s.sum, castagnoli, []byte{0})
		s.pos++
		c.endsAt(s, s.pos)
	}
	return s.err
}

// A summing is the CRC-32C of what has been read.
type summing struct {
	w     *walker
	pos   int64
	sum   uint32
	short bool // the file has ended, or can't be read
	err   error
}

func (s *summing) upTo(pos int64) {
	for s.pos < pos && !s.short {
		p, err := s.w.win.at(s.pos, int(min(pos-s.pos, int64(s.w.win.step))))
		s.err, s.short = err, len(p) == 0
		s.sum = crc32.Update(s.sum, castagnoli, p)
		s.pos += int64(len(p))
	}
}

// chain finds, for each end of a batch, the run of batches that ends there and begins first.
func (c *chart) chain() {
	for i := range c.list {
		if c.list[i].sound {
			c.byEnd = append(c.byEnd, int32(i))
		}
	}
	c.sortByEnd(c.byEnd)
	c.runs = make(map[edge]int32, len(c.byEnd))
	for _, i := range c.byEnd {
		b := &c.list[i]
		b.begins = edge{b.pos, b.base}
		if before, ok := c.runs[b.begins]; ok {
			b.before, b.begins = before, c.list[before].begins
		}
		at := edge{b.end, b.next}
		if other, ok := c.runs[at]; !ok || b.begins.pos < c.list[other].begins.pos {
			c.runs[at] = i
		}
	}
}

func (c *chart) sortByEnd(list []int32) {
	slices.SortFunc(list, func(a, b int32) int { return cmp.Compare(c.list[a].end, c.list[b].end) })
}

// A run is batches that follow on each other.
type run struct{ from, to edge }

// decide takes runs of batches, in the order that is explained above.
func (c *chart) decide() error {
	left, right, certain := c.from, c.to, c.exact
	for believed := 0; ; {
		d, err := c.headerAt(left)
		if err != nil {
			return err
		}
		r, ok := c.claimed(left, right, d)
		if ok && (r.to == right || d.known) {
			c.taken, left = append(c.taken, r), r.to
			if left == right {
				break
			}
			continue
		}
		if l, ok := c.upTo(left, right, d); ok {
			c.taken, right, certain = append(c.taken, l), l.from, true
			continue
		}
		if d.explains(right, certain) || c.isLast(d, right) {
			break
		}
		if ok {
			c.taken, left = append(c.taken, r), r.to
			continue
		}
		l, another, ok := c.beforeAnother(left, right, certain, d)
		if ok {
			c.taken, right = append(c.taken, l), l.from
			continue
		}
		if another {
			break
		}
		if d.of && d.end > left.pos && d.end < right.pos && d.next <= right.next && believed < maxBelieved {
			left, believed = edge{d.end, d.next}, believed+1
			continue
		}
		c.others(left, right, certain, d)
		break
	}
	c.leap()
	return nil
}

// upTo is the run up to right, which may be the end of the segment, though offsets are left
// out there.
func (c *chart) upTo(left, right edge, d claim) (run, bool) {
	r, ok := c.endingAt(left, right, d)
	if !ok && !d.explains(right, right != c.to || c.exact) {
		r, ok = c.endingLate(left, right, d)
	}
	if ok && d.known && r.from.pos < d.end && r.from.pos > left.pos {
		return r, false // a part of the damaged batch
	}
	return r, ok
}

// leap makes jumps of what lies between the runs that were taken.
func (c *chart) leap() {
	slices.SortFunc(c.taken, func(a, b run) int { return cmp.Compare(a.from.pos, b.from.pos) })
	at, limit := c.from, c.to.pos
	if c.truncated {
		limit = c.rest().pos
	}
	for _, r := range c.taken {
		if r.from.pos >= limit {
			return
		}
		if r.from != at {
			c.jumps = append(c.jumps, jump{from: at, to: r.from, judged: at != c.from && c.looksSound(at)})
		}
		at = r.to
	}
	if at != c.from && at != c.to && c.looksSound(at) {
		c.jumps = append(c.jumps, jump{from: at, to: c.to, judged: true})
	}
}

// looksSound says whether there is what looks like a sound batch at an edge.
func (c *chart) looksSound(at edge) bool {
	h, err := c.w.win.at(at.pos, batch.HeaderSize)
	if err != nil || checkHeader(h, c.w.v.end-at.pos, at.next, c.w.s.log.place) != nil {
		return false
	}
	n, _ := batch.Size(h, maxBatch)
	end := at.pos + int64(n)
	return end > c.to.pos || c.w.check(at.pos, end) == nil
}

// A claim is what the header of a damaged batch says.
type claim struct {
	candidate
	is    bool // it is a header of this log
	of    bool // and of the batch that is due
	known bool // the checksum is right, but for what it does not cover: end and next are certain
}

// headerAt reads the header at the beginning of what is damaged.
func (c *chart) headerAt(at edge) (d claim, err error) {
	if at == c.from && c.end > 0 && c.delta >= 0 {
		d.pos, d.end, d.base, d.next = at.pos, c.end, at.next, at.next+c.delta+1
		d.is, d.of, d.known = true, true, true
		return d, nil
	}
	var p [batch.HeaderSize]byte
	n, err := c.w.file.ReadAt(p[:], at.pos)
	h := batch.Batch(p[:n])
	size, bad := batch.Size(h, maxBatch)
	if bad != nil || !c.w.s.log.place.holds(h) {
		return d, ignoreEOF(err)
	}
	d.pos, d.end = at.pos, at.pos+int64(size)
	d.base, d.next = h.BaseOffset(), max(h.BaseOffset(), h.NextOffset())
	d.is, d.of = true, d.base == at.next
	return d, ignoreEOF(err)
}

// explains says whether the damaged batch takes up all that is left.
func (d *claim) explains(right edge, certain bool) bool {
	return certain && (d.is && d.end == right.pos || d.of && d.next == right.next)
}

// isLast says whether the damaged batch takes up all that is left of a segment but for
// zeros. Its own last bytes may be zeros that were taken for such.
func (c *chart) isLast(d claim, right edge) bool {
	atEnd := right == c.to && right.pos == c.w.v.end && !c.truncated
	return atEnd && d.is && d.end >= c.used && d.end < right.pos+batch.HeaderSize
}

// endingAt is the run up to right.
func (c *chart) endingAt(left, right edge, d claim) (run, bool) {
	i, ok := c.runs[right]
	if !ok {
		return run{}, false
	}
	return c.within(i, left, d)
}

// endingLate is the run up to the end of the segment, before which there may be zeros, and
// offsets left out. One that ends where the damaged batch does is a part of that.
func (c *chart) endingLate(left, right edge, d claim) (run, bool) {
	if right != c.to || right.pos != c.w.v.end || c.truncated {
		return run{}, false
	}
	if c.latest == 0 {
		c.latest = 1 + c.findLatest()
	}
	best := c.latest - 1
	if best < 0 || c.isLast(d, right) && c.list[best].begins.pos > left.pos {
		return run{}, false
	}
	r, ok := c.within(best, left, d)
	alone := r.from.pos == c.list[best].pos
	return r, ok && !(alone && r.tooFar(left))
}

// findLatest is the candidate that ends where there are only zeros, of several the one whose
// run begins first; -1 if there is none.
func (c *chart) findLatest() int32 {
	best := int32(-1)
	for k := len(c.byEnd) - 1; k >= 0 && c.list[c.byEnd[k]].end >= c.used; k-- {
		i := c.byEnd[k]
		if best < 0 || c.list[i].begins.pos < c.list[best].begins.pos {
			best = i
		}
	}
	return best
}

// tooFar says whether more offsets have been left out before a run than the bytes that have
// been can stand for. A base offset has no checksum; another batch that follows confirms it.
func (r run) tooFar(left edge) bool { return r.from.next-left.next > recordsMax*(r.from.pos-left.pos) }

// within is the run that i ends, from left on. Where the header of the batch that is due is
// there, no other has its offset; and where bytes are left out, offsets are.
func (c *chart) within(i int32, left edge, d claim) (r run, ok bool) {
	r.to = edge{c.list[i].end, c.list[i].next}
	for ; i >= 0; i = c.list[i].before {
		b := &c.list[i]
		if b.pos < left.pos || b.base < left.next || b.base == left.next && d.of {
			break
		}
		r.from, ok = edge{b.pos, b.base}, true
	}
	return r, ok
}

// claimed is the run that begins where the damaged batch says that it ends.
func (c *chart) claimed(left, right edge, d claim) (r run, ok bool) {
	if !d.of {
		return r, false
	}
	at := edge{d.end, -1}
	for {
		i := sort.Search(len(c.list), func(i int) bool { return c.list[i].pos >= at.pos })
		if i == len(c.list) || c.list[i].pos != at.pos || !c.list[i].sound {
			return r, ok
		}
		b := &c.list[i]
		if b.base <= left.next || ok && b.base != at.next || b.end > right.pos || b.next > right.next {
			return r, ok
		}
		if !ok {
			r.from, ok = edge{b.pos, b.base}, true
		}
		at = edge{b.end, b.next}
		r.to = at
	}
}

// beforeAnother is the run that ends where another damaged batch begins, of which the header
// says that it reaches to right; another says that there is one directly behind the first.
func (c *chart) beforeAnother(left, right edge, certain bool, d claim) (best run, another, ok bool) {
	if !certain {
		return best, false, false
	}
	if c.all == nil {
		for i := range c.list {
			c.all = append(c.all, int32(i))
		}
		c.sortByEnd(c.all)
	}
	k := sort.Search(len(c.all), func(k int) bool { return c.list[c.all[k]].end >= right.pos })
	for ; k < len(c.all) && c.list[c.all[k]].end == right.pos; k++ {
		h := &c.list[c.all[k]]
		if h.next != right.next || h.pos <= left.pos {
			continue
		}
		another = another || d.of && d.next == h.base
		i, follows := c.runs[edge{h.pos, h.base}]
		if !follows || ok && c.list[i].begins.pos >= best.from.pos {
			continue
		}
		if r, fits := c.within(i, left, d); fits && r.from.next > left.next {
			best, ok = r, true
		}
	}
	return best, another, ok
}

// others takes what is left between two edges: runs that nothing is known of, where they do
// not contradict those taken before.
func (c *chart) others(left, right edge, certain bool, d claim) {
	order := slices.Clone(c.byEnd)
	slices.SortStableFunc(order, func(a, b int32) int {
		x, y := &c.list[a], &c.list[b]
		if certain {
			return cmp.Or(cmp.Compare(y.end, x.end), cmp.Compare(x.begins.pos, y.begins.pos))
		}
		return cmp.Compare(y.end-y.begins.pos, x.end-x.begins.pos)
	})
	var more []run // ascending
	for _, i := range order {
		b := &c.list[i]
		r := run{b.begins, edge{b.end, b.next}}
		if len(more) == maxIslands {
			break
		}
		if r.from.pos <= left.pos || r.from.next <= left.next || r.to.pos > right.pos || r.to.next > right.next || !c.credible(r, left, certain, d) {
			continue
		}
		k := sort.Search(len(more), func(k int) bool { return more[k].from.pos >= r.from.pos })
		if k > 0 && !more[k-1].leaves(r) || k < len(more) && !r.leaves(more[k]) {
			continue
		}
		more = slices.Insert(more, k, r)
	}
	c.taken = append(c.taken, more...)
}

// leaves says whether another run can lie behind r.
func (r run) leaves(other run) bool {
	return other.from.pos >= r.to.pos && other.from.next >= r.to.next
}

// credible says whether there can be a run of batches between two damaged ones of which the
// first one's header is there. It has to begin where that one says that the next offset is,
// or the header of another damaged one; and where the end is not certain, a header follows.
func (c *chart) credible(r run, left edge, certain bool, d claim) bool {
	if !certain && r.tooFar(left) {
		return false
	}
	if !d.of {
		return true
	}
	if c.nexts == nil {
		c.nexts = make(map[int64]bool, len(c.list))
		for i := range c.list {
			c.nexts[c.list[i].next] = true
		}
	}
	if r.from.next != d.next && !c.nexts[r.from.next] {
		return false
	}
	if certain {
		return true
	}
	i := sort.Search(len(c.list), func(i int) bool { return c.list[i].pos >= r.to.pos })
	return i < len(c.list) && c.list[i].pos == r.to.pos && c.list[i].base == r.to.next
}

// recordsMax is how many records a byte of a batch stands for at most, compressed.
const recordsMax = 256

// jumps are the ways past damage that were found in a segment. They are looked at again
// before they are gone: what they begin with is damaged still, and what they lead to sound.
type jumps struct {
	judged atomic.Int64 // how many are

	mu   sync.Mutex // guards what follows
	list []jump     // ascending
}

const maxJumps = 4096

// from is where the jump from d leads to.
func (j *jumps) from(d mark) (to mark, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := sort.Search(len(j.list), func(i int) bool { return j.list[i].from.pos >= d.pos })
	if i == len(j.list) || j.list[i].from != d.edge() || !j.list[i].until.IsZero() && time.Now().After(j.list[i].until) {
		return to, false
	}
	return mark{pos: j.list[i].to.pos, next: j.list[i].to.next}, true
}

// add remembers jumps, in place of those in the same part of the segment.
func (j *jumps) add(list []jump) {
	j.mu.Lock()
	defer j.mu.Unlock()
	first, last := list[0].from.pos, list[len(list)-1].from.pos
	j.list = slices.DeleteFunc(j.list, func(o jump) bool { return o.from.pos >= first && o.from.pos <= last })
	if len(j.list)+len(list) > maxJumps {
		j.list = j.list[:0]
	}
	j.list = append(j.list, list[:min(len(list), maxJumps)]...)
	slices.SortFunc(j.list, func(a, b jump) int { return cmp.Compare(a.from.pos, b.from.pos) })
	judged := int64(0)
	for _, o := range j.list {
		if o.judged {
			judged++
		}
	}
	j.judged.Store(judged)
}

// stop is the first place at or behind pos where what looks like a sound batch is none.
func (j *jumps) stop(pos int64) (at edge, ok bool) {
	if j.judged.Load() == 0 {
		return at, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range j.list {
		if o.judged && o.from.pos >= pos {
			return o.from, true
		}
	}
	return at, false
}

// errWithin is what is wrong with the batch at such a place.
var errWithin = fmt.Errorf("%w: what looks like a batch lies within another one", errDamaged)
