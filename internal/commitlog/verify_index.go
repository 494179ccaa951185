package commitlog

import (
	"errors"
	"fmt"
)

// An indexCheck compares an index with the batches of its segment.
type indexCheck struct {
	entries []entry // those still to be met
	synced  position
	wrong   error
}

// newIndexCheck reads an index. known says that its header is valid, and failed is why it could not be
// read.
func newIndexCheck(s *segment, known bool, failed error) *indexCheck {
	x := &indexCheck{synced: s.index.synced, wrong: failed}
	if !known && failed == nil {
		x.wrong = errors.New("its header is missing, damaged, or can't be read")
	}
	if x.wrong != nil {
		return x
	}
	if x.wrong = s.index.check(); x.wrong != nil || s.index.count == 0 {
		return x
	}
	p := make([]byte, s.index.count*entrySize) // check has found them all there
	if _, err := s.index.file.readAt(p, indexHeader); err != nil {
		x.wrong = err
		return x
	}
	for ; len(p) > 0; p = p[entrySize:] {
		x.entries = append(x.entries, parseEntry(p))
	}
	return x
}

// batch is called with the position of each valid batch, ascending. Its time is checked if no damage
// came before.
func (x *indexCheck) batch(m position, whole bool) {
	for len(x.entries) > 0 && x.wrong == nil {
		e := x.entries[0]
		if e.pos > m.pos {
			return
		}
		x.entries = x.entries[1:]
		switch {
		case e.pos < m.pos && whole, e.pos == m.pos && e.offset != m.next, e.pos == m.pos && whole && e.before != m.maxTime:
			x.wrong = fmt.Errorf("its entry for offset %d, byte %d, fits no batch", e.offset, e.pos)
		}
	}
}

// end is called with the end of the segment. It returns what is wrong with the index.
func (x *indexCheck) end(m position, last, whole bool) error {
	switch {
	case x.wrong != nil || !whole:
		return x.wrong
	case len(x.entries) > 0:
		return fmt.Errorf("its entry for byte %d lies behind the end", x.entries[0].pos)
	case !last && x.synced != m:
		return fmt.Errorf("its recovery point is %+v, the segment ends at %+v", x.synced, m)
	}
	return nil
}
