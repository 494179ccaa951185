package commitlog

import (
	"errors"
	"math"
	"time"

	"mbus/internal/batch"
)

// Salvage finds the valid batches behind a damaged one.
//
// Behind a damaged batch, the next certain beginning of a batch is in an entry of the index, or is
// the end of the segment. Any position in the region between may begin a valid batch. The first one
// with a correct checksum may lie within a message, which somebody may have published to look like a
// batch with the offsets of later ones, so it is not taken. A run is a sequence of batches without a
// byte or an offset between them. In this order salvage takes
//
//  1. the run that begins at the end of the damaged batch, if that end is certain, or if the run
//     reaches the end of the region. The checksum does not cover a batch's length, base offset and
//     epoch: if only these are damaged, the checksum finds the end;
//  2. the run that reaches the end of the region, the one that begins first of several, because that
//     is not part of a message of another;
//  3. the run at the end or next offset in the damaged batch's header. If one of them agrees with 2,
//     the damaged batch reaches to it, and there is nothing else to find;
//  4. the run up to a header that reaches to 2: that is another damaged batch;
//  5. runs behind the damaged batch, if its header is right: the ones that end last, or the longest
//     ones if it is not certain that a batch ends at the end of the region.
//
// So if one batch of a region (32 KiB, or a batch and 32 KiB) is damaged, in one bit or in its
// records, no message is ever taken for a batch. This holds without an index, too, with the whole
// segment as the region. These cases remain:
//
//   - If the header of a batch of several records is destroyed, a message in it may be read as a batch
//     with some of its offsets.
//   - If two batches are damaged, and the destroyed header of one was published by an attacker, a
//     message in it may have offsets of the other one.
//   - If the header of a batch is destroyed, a message in it may contain what others will publish, byte
//     for byte up to the end of the region, and be read in its place.
//   - A valid batch between two with damaged headers may be taken for a part of the first one, and be
//     reported as damaged.
//
// The cost is two passes over the region, whatever its content: one finds the headers, the other
// computes the checksums of all batches that they may begin, each from the checksums up to two
// positions (crcBehind). A large region is salvaged in parts of at most salvageBytes and
// maxCandidates headers, and each part completes at least half of it. The result is kept (jumps), so
// that later readers do not pay again.
const (
	salvageBytes  = 128 << 20 // more than twice the largest batch
	maxCandidates = 1 << 18   // of 80 bytes of memory each
	maxIslands    = 256       // runs of step 5 in a region
	// maxBelieved is the number of damaged batches in a row whose headers are used in a region.
	// Each one costs a look at all candidates.
	maxBelieved = 64
)

// An edge is a position between two batches, with the offset of the second one.
type edge struct{ pos, next int64 }

func (m position) edge() edge { return edge{m.pos, m.next} }

// salvaging bounds the regions that are salvaged at a time. If many readers reach the same damage, the
// first ones salvage, and the others find the result.
var salvaging = make(chan struct{}, 4)

// past finds the first valid batch behind the damaged one at d.
func (w *scanner) past(d position) (to position, found bool, err error) {
	if to, found, err = w.remembered(d); found || err != nil {
		return to, found, err
	}
	salvaging <- struct{}{}
	defer func() { <-salvaging }()
	if to, found, err = w.remembered(d); found || err != nil {
		return to, found, err
	}
	return w.find(d)
}

// remembered is past with an earlier result.
func (w *scanner) remembered(d position) (to position, found bool, err error) {
	to, ok := w.s.jumps.from(d)
	if !ok || to.pos >= w.v.end {
		return d, false, nil
	}
	found, err = w.validAt(to)
	return to, found, err
}

// find is past without an earlier result.
func (w *scanner) find(d position) (to position, found bool, err error) {
	step := w.win.step
	w.win.step = max(step, 64<<10)
	defer func() { w.win.step = step }()
	var list []jump
	for at := d.edge(); len(list) == 0; {
		c := &salvage{w: w, from: at}
		c.to, c.exact = w.anchor(at)
		if err := c.scan(); err != nil {
			return d, false, err
		}
		if list = c.jumps; len(list) > 0 {
			break
		}
		if at = c.remainder(); at.pos >= w.v.end {
			return d, false, nil
		}
		if c.truncated {
			continue
		}
		valid, err := w.validAt(position{pos: at.pos, next: at.next})
		if err != nil {
			return d, false, err
		}
		if valid {
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
	return position{pos: list[0].to.pos, next: list[0].to.next}, true, nil
}

// validAt says whether a valid batch begins at m.
func (w *scanner) validAt(m position) (bool, error) {
	h, err := w.win.at(m.pos, batch.HeaderSize)
	if err != nil || checkHeader(h, w.v.end-m.pos, m.next, w.s.log.epoch) != nil {
		return false, err
	}
	n, _ := batch.Size(h, maxBatch)
	if to, _ := w.anchor(m.edge()); m.pos+int64(n) > to.pos {
		return false, nil
	}
	err = w.checksum(m.pos, m.pos+int64(n))
	if errors.Is(err, errDamaged) {
		return false, nil
	}
	return err == nil, err
}

// anchor returns the next certain beginning of a batch behind a position, or the end of the segment;
// exact says that this is certain, too.
func (w *scanner) anchor(behind edge) (to edge, exact bool) {
	e, ok := w.s.index.above(behind.pos, behind.next)
	if ok && e.pos < w.v.end && e.offset <= w.v.next {
		return edge{e.pos, e.offset}, true
	}
	return edge{w.v.end, w.v.next}, w.v.next < math.MaxInt64
}
