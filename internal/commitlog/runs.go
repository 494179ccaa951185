package commitlog

import (
	"cmp"
	"slices"
	"sort"

	"mbus/internal/batch"
)

// A run is a sequence of batches without a byte or an offset between them.
type run struct{ from, to edge }

// decide takes runs, in the order that salvage.go explains.
func (c *salvage) decide() error {
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

// upTo is the run up to right, or up to the end of the segment, even if offsets are missing there.
func (c *salvage) upTo(left, right edge, d claim) (run, bool) {
	r, ok := c.endingAt(left, right, d)
	if !ok && !d.explains(right, right != c.to || c.exact) {
		r, ok = c.endingLate(left, right, d)
	}
	if ok && d.known && r.from.pos < d.end && r.from.pos > left.pos {
		return r, false // a part of the damaged batch
	}
	return r, ok
}

// leap makes jumps over the gaps between the runs that were taken.
func (c *salvage) leap() {
	slices.SortFunc(c.taken, func(a, b run) int { return cmp.Compare(a.from.pos, b.from.pos) })
	at, limit := c.from, c.to.pos
	if c.truncated {
		limit = c.remainder().pos
	}
	for _, r := range c.taken {
		if r.from.pos >= limit {
			return
		}
		if r.from != at {
			c.jumps = append(c.jumps, jump{from: at, to: r.from, judged: at != c.from && c.looksValid(at)})
		}
		at = r.to
	}
	if at != c.from && at != c.to && c.looksValid(at) {
		c.jumps = append(c.jumps, jump{from: at, to: c.to, judged: true})
	}
}

// looksValid says whether the bytes at an edge look like a valid batch.
func (c *salvage) looksValid(at edge) bool {
	h, err := c.w.win.at(at.pos, batch.HeaderSize)
	if err != nil || checkHeader(h, c.w.v.end-at.pos, at.next, c.w.s.log.epoch) != nil {
		return false
	}
	n, _ := batch.Size(h, maxBatch)
	end := at.pos + int64(n)
	return end > c.to.pos || c.w.checksum(at.pos, end) == nil
}

// A claim is the content of the header of a damaged batch.
type claim struct {
	candidate
	is    bool // it is a header of this log
	of    bool // and has the next offset
	known bool // the checksum fits: end and next are certain
}

// headerAt reads the header of the damaged batch at an edge.
func (c *salvage) headerAt(at edge) (d claim, err error) {
	if at == c.from && c.end > 0 && c.delta >= 0 {
		d.pos, d.end, d.base, d.next = at.pos, c.end, at.next, at.next+c.delta+1
		d.is, d.of, d.known = true, true, true
		return d, nil
	}
	var p [batch.HeaderSize]byte
	n, err := c.w.file.ReadAt(p[:], at.pos)
	h := batch.Batch(p[:n])
	size, bad := batch.Size(h, maxBatch)
	if bad != nil || !c.w.s.log.epoch.holds(h) {
		return d, ignoreEOF(err)
	}
	d.pos, d.end = at.pos, at.pos+int64(size)
	d.base, d.next = h.BaseOffset(), max(h.BaseOffset(), h.NextOffset())
	d.is, d.of = true, d.base == at.next
	return d, ignoreEOF(err)
}

// explains says whether the damaged batch reaches to right.
func (d *claim) explains(right edge, certain bool) bool {
	return certain && (d.is && d.end == right.pos || d.of && d.next == right.next)
}

// isLast says whether only zeros follow the damaged batch in the segment. Its own last bytes may be
// zeros, too.
func (c *salvage) isLast(d claim, right edge) bool {
	atEnd := right == c.to && right.pos == c.w.v.end && !c.truncated
	return atEnd && d.is && d.end >= c.used && d.end < right.pos+batch.HeaderSize
}

// endingAt is the run up to right.
func (c *salvage) endingAt(left, right edge, d claim) (run, bool) {
	i, ok := c.runs[right]
	if !ok {
		return run{}, false
	}
	return c.within(i, left, d)
}

// endingLate is the run up to the end of the segment without zeros, even if offsets are missing behind
// it. A run that ends with the damaged batch is a part of that.
func (c *salvage) endingLate(left, right edge, d claim) (run, bool) {
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

// findLatest is the candidate behind which there are only zeros, the one whose run begins first of
// several; -1 if there is none.
func (c *salvage) findLatest() int32 {
	best := int32(-1)
	for k := len(c.byEnd) - 1; k >= 0 && c.list[c.byEnd[k]].end >= c.used; k-- {
		i := c.byEnd[k]
		if best < 0 || c.list[i].begins.pos < c.list[best].begins.pos {
			best = i
		}
	}
	return best
}

// tooFar says whether more offsets are missing before a run than the bytes before it can hold. The
// checksum does not cover a base offset, but a batch that continues it confirms it.
func (r run) tooFar(left edge) bool { return r.from.next-left.next > recordsMax*(r.from.pos-left.pos) }

// within is the run that candidate i ends, from left on. If the header with the next offset is at left,
// no other batch has that offset; and if bytes are missing before the run, offsets are, too.
func (c *salvage) within(i int32, left edge, d claim) (r run, ok bool) {
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

// claimed is the run that begins at the end in the header of the damaged batch.
func (c *salvage) claimed(left, right edge, d claim) (r run, ok bool) {
	if !d.of {
		return r, false
	}
	at := edge{d.end, -1}
	for {
		i := sort.Search(len(c.list), func(i int) bool { return c.list[i].pos >= at.pos })
		if i == len(c.list) || c.list[i].pos != at.pos || !c.list[i].valid {
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

// beforeAnother is the run up to another damaged batch whose header reaches to right; another says that
// there is one directly behind the first.
func (c *salvage) beforeAnother(left, right edge, certain bool, d claim) (best run, another, ok bool) {
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

// others takes the remaining runs between two edges that do not contradict the runs taken before.
func (c *salvage) others(left, right edge, certain bool, d claim) {
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

// leaves says whether another run can follow r.
func (r run) leaves(other run) bool {
	return other.from.pos >= r.to.pos && other.from.next >= r.to.next
}

// credible says whether a run can lie between two damaged batches, the first of which has its header.
// It must begin at the next offset of that header, or of the header of another damaged batch; and if
// the end is not certain, a header must follow it.
func (c *salvage) credible(r run, left edge, certain bool, d claim) bool {
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

// recordsMax is the highest number of records in a byte of a compressed batch.
const recordsMax = 256
