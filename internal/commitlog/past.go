package commitlog

import (
	"errors"
	"math"
	"time"

	"mbus/internal/batch"
)

// The way past damage.
//
// Where a batch is damaged, the next place at which one is certain to begin is an entry of
// the index, or the segment's end. Between the two is a region of which every place may be
// the beginning of a valid batch. What looks like one there may also lie within a message,
// for which reason the first that has a right checksum is not taken: a message may have
// been made to look so, and claim the offsets of those behind it. A run is batches that
// follow on each other without a byte or an offset left out. In this order count
//
//  1. the run that begins where the damaged batch ends, if that is certain, or if the run
//     reaches the end of the region. A checksum does not cover a batch's length, base offset
//     and epoch: where only these are wrong, it says where the batch ends;
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
//   - A batch that is valid between two whose headers both are damaged may be taken for a part
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

// An edge is a place in a segment and the offset there.
type edge struct{ pos, next int64 }

func (m position) edge() edge { return edge{m.pos, m.next} }

// charting holds an element for each region that is charted. Where many readers come to the
// same damage, the first ones find the way, and the others find it remembered.
var charting = make(chan struct{}, 4)

// past finds the first valid batch behind d, where one is damaged.
func (w *scanner) past(d position) (to position, found bool, err error) {
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
func (w *scanner) remembered(d position) (to position, found bool, err error) {
	to, ok := w.s.jumps.from(d)
	if !ok || to.pos >= w.v.end {
		return d, false, nil
	}
	found, err = w.validAt(to)
	return to, found, err
}

// find is past where nothing is remembered.
func (w *scanner) find(d position) (to position, found bool, err error) {
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

// validAt says whether there is a valid batch at m.
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

// anchor is the next place behind another where a batch begins, or the end; exact says that
// this is certain.
func (w *scanner) anchor(behind edge) (to edge, exact bool) {
	e, ok := w.s.index.above(behind.pos, behind.next)
	if ok && e.pos < w.v.end && e.offset <= w.v.next {
		return edge{e.pos, e.offset}, true
	}
	return edge{w.v.end, w.v.next}, w.v.next < math.MaxInt64
}
