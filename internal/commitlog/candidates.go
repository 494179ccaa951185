package commitlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"mbus/internal/batch"
)

// A candidate is a position with a possible header of a batch.
type candidate struct {
	pos, end   int64 // bytes
	base, next int64 // offsets
	crc, front uint32
	valid      bool
	before     int32 // the batch that it continues, -1 for none
	begins     edge  // of the run that it ends
}

// A salvage is the search for valid batches in one region, between the edges from and to.
type salvage struct {
	w         *scanner
	from, to  edge
	exact     bool // a batch certainly begins at to, or the log ends there
	truncated bool // the region goes on behind to

	used  int64  // the end of the region without zeros
	crc   uint32 // in the header of the damaged batch at from
	delta int64  // last offset delta in that header
	end   int64  // of the damaged batch, by its checksum; 0 if that fits nowhere

	list   []candidate    // ascending by pos
	byEnd  []int32        // valid ones, ascending by end
	all    []int32        // all, ascending by end
	nexts  map[int64]bool // next offsets of all
	latest int32          // result of findLatest plus 1; 0 if not yet called
	runs   map[edge]int32 // valid ones by end; if several have the same, the one whose run begins first
	taken  []run
	jumps  []jump
}

// remainder is the edge to go on from if nothing was found.
func (c *salvage) remainder() edge {
	if c.truncated {
		return edge{c.from.pos + (c.to.pos-c.from.pos)/2, c.from.next}
	}
	return c.to
}

// scan finds the jumps of the region.
func (c *salvage) scan() error {
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

// collect finds all candidates of the region, or ends early at maxCandidates.
func (c *salvage) collect() error {
	limit := c.to.pos
	if limit > c.from.pos+salvageBytes {
		limit, c.truncated = c.from.pos+salvageBytes, true
	}
	pattern := binary.BigEndian.AppendUint32(nil, uint32(c.w.s.log.epoch))
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
			if c.header(batch.Batch(p[at:]), pos+int64(at)); len(c.list) == maxCandidates {
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

// header adds a candidate at pos if h may be a header.
func (c *salvage) header(h batch.Batch, pos int64) {
	n, err := batch.Size(h, maxBatch)
	base := h.BaseOffset()
	if err != nil || h.LastOffsetDelta() < 0 || base < c.from.next || base > c.to.next || h.NextOffset() > c.to.next {
		return
	}
	c.list = append(c.list, candidate{pos: pos, end: pos + int64(n), base: base, next: h.NextOffset(), crc: h.CRC(), before: -1})
}

// checksums finds the valid candidates, and the end of the damaged batch.
func (c *salvage) checksums() error {
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
			c.sumTo(&s, fronts[0].pos+crcBegins)
			fronts[0].front = s.sum
			fronts = fronts[1:]
		default:
			c.sumTo(&s, e.end)
			e.valid = !s.short && crcBehind(s.sum, e.front, e.end-e.pos-crcBegins) == e.crc && c.w.file.lost(e.pos, e.end) == nil
			ends = ends[1:]
		}
	}
	return c.endsLast(&s)
}

// sumTo is s.upTo. It also calls endsAt for the last byte before the zeros at the end of a segment, and
// for the zeros that may belong to the batch: a header may claim more of them.
func (c *salvage) sumTo(s *summing, pos int64) {
	if c.to.pos == c.w.v.end && !c.truncated {
		for at := max(s.pos, c.used); at < min(pos, c.used+batch.HeaderSize) && !s.short; at++ {
			c.endsAt(s, at)
		}
	}
	s.upTo(pos)
}

// endsAt sets the end of the damaged batch to pos if its checksum fits: that does not cover the length.
// The last such position counts.
func (c *salvage) endsAt(s *summing, pos int64) {
	if pos < c.from.pos+batch.HeaderSize {
		return
	}
	if s.upTo(pos); !s.short && s.sum == c.crc && c.w.file.lost(c.from.pos+crcBegins-4, pos) == nil {
		c.end = pos
	}
}

// endsLast is endsAt for the end of the region. Some of the zeros at the end of a segment may belong to
// the batch.
func (c *salvage) endsLast(s *summing) error {
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

// A summing is the CRC-32C of a segment up to a position.
type summing struct {
	w     *scanner
	pos   int64
	sum   uint32
	short bool // the file ended, or can't be read
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

// chain finds, for each end of a batch, the run that ends there and begins first.
func (c *salvage) chain() {
	for i := range c.list {
		if c.list[i].valid {
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

func (c *salvage) sortByEnd(list []int32) {
	slices.SortFunc(list, func(a, b int32) int { return cmp.Compare(c.list[a].end, c.list[b].end) })
}
