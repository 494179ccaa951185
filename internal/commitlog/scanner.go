package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"

	"mbus/internal/batch"
)

// maxBatch bounds what a stored header may claim, in bytes. It is above what
// any broker takes in, so that a changed limit makes no batch unreadable.
const maxBatch = 1 << 30

// errDamaged says that bytes of a segment are not a batch as it was written.
var errDamaged = errors.New("damaged")

// checkHeader says whether h, followed by what makes up room bytes, can be a
// batch with base offset want that was written here.
func checkHeader(h batch.Batch, room, want int64, here leaderEpoch) error {
	if _, err := batch.Size(h, int(min(room, maxBatch))); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if h.BaseOffset() != want {
		return fmt.Errorf("%w: the base offset is %d, not %d", errDamaged, h.BaseOffset(), want)
	}
	if h.LastOffsetDelta() < 0 {
		return fmt.Errorf("%w: the last offset delta is %d", errDamaged, h.LastOffsetDelta())
	}
	if !here.holds(h) {
		return fmt.Errorf("%w: the batch was not written to this partition", errDamaged)
	}
	return nil
}

// A kind is what a scanner finds.
type kind int

const (
	isBatch  kind = iota // a record batch
	isDamage             // bytes that are none; offsets may be lost with them
	isHole               // offsets that no batch has, and no bytes
)

// A search is how a scanner finds the next record batch behind damage.
type search int

const (
	plausible search = iota // by salvage
	inOrder                 // by salvage, if its offset is possible: offsets have no checksum
	written                 // as inOrder, behind the recovery point, where each byte is of a batch
	nothing                 // not at all: the damage is the beginning of a torn tail
)

// A scanner reads a segment as a sequence of record batches, damage and holes. Each begins where the
// one before ends, in bytes and in offsets. Reading, recovery, healing and Verify all use it.
type scanner struct {
	win     window
	file    *sectorReader // nil after an error
	s       *segment
	v       view
	search  search
	durable int64 // bytes up to here are searched even if search is nothing, as for written
	ahead   bool  // zeros up to the end are space that was allocated ahead, not damage

	at     position // where the present one begins
	kind   kind
	h      batch.Batch // the header of a batch
	to     position    // the end of damage or of a hole
	last   bool        // no batch follows
	reason error       // of damage

	used int64 // behind the last byte that is not zero; -1 if not known
	sure bool  // the batch, or the one at to, is valid
	err  error // of the file system
	buf  [batch.HeaderSize]byte
}

// scan begins at e. The caller ends with w.close.
func (s *segment) scan(v view, e entry) *scanner {
	w := &scanner{s: s, v: v, used: -1}
	w.goTo(position{e.pos, e.offset, e.before})
	w.file, w.err = s.reader()
	if w.err == nil {
		w.win = window{f: w.file, end: v.end, step: 16 << 10}
	}
	return w
}

// goTo continues at m with the next call of next.
func (w *scanner) goTo(m position) { w.kind, w.to, w.sure = isHole, m, false }

func (w *scanner) close() {
	w.win.close()
	if w.file != nil {
		w.file.close()
	}
}

// next moves to the next batch, damage or hole. It checks the header of a batch, and not the checksum:
// check does. It returns false at the end, and after an error.
func (w *scanner) next() bool {
	if w.err != nil {
		return false
	}
	sure := w.sure && w.kind != isBatch
	w.at, w.kind, w.h, w.sure, w.last, w.reason = w.end(), isBatch, nil, false, false, nil
	if w.at.pos >= w.v.end {
		return w.stop(nil)
	}
	h, err := w.win.at(w.at.pos, batch.HeaderSize)
	if err != nil {
		return w.stop(err)
	}
	if reason := w.fits(h); !sure && reason != nil {
		return w.damaged(reason)
	}
	w.h, w.sure = append(w.buf[:0], h...), sure
	return true
}

// nextChecked is next and check.
func (w *scanner) nextChecked() bool {
	return w.next() && (w.kind != isBatch || w.check() || w.err == nil)
}

// stop ends the scan.
func (w *scanner) stop(err error) bool {
	w.goTo(w.at)
	w.last, w.err = true, err
	return false
}

// fits returns what is wrong with the header h.
func (w *scanner) fits(h batch.Batch) error {
	err := checkHeader(h, w.v.end-w.at.pos, w.at.next, w.s.log.epoch)
	if err != nil {
		if lost := w.file.lost(w.at.pos, w.at.pos+batch.HeaderSize); lost != nil {
			return lost
		}
		return err
	}
	if at, ok := w.s.jumps.stop(w.at.pos); ok && at == w.at.edge() {
		return errWithin
	}
	return nil
}

// end is the position behind the present batch, damage or hole.
func (w *scanner) end() position {
	if w.kind != isBatch {
		return w.to
	}
	n, _ := batch.Size(w.h, maxBatch)
	return w.at.behind(w.h, n)
}

// lostUpTo is the offset behind the records that damage or a hole has cost.
func (w *scanner) lostUpTo() int64 {
	if w.last {
		return w.v.next
	}
	return w.to.next
}

// check reads the whole batch and says whether its checksum is right. If not, it becomes damage, unless
// reading has failed.
func (w *scanner) check() bool {
	if w.sure {
		return true
	}
	n, _ := batch.Size(w.h, maxBatch)
	err := w.checksum(w.at.pos, w.at.pos+int64(n))
	switch {
	case err == nil:
		w.sure = true
	case errors.Is(err, errDamaged):
		w.damaged(err)
	default:
		w.stop(err)
	}
	return err == nil
}

// damaged makes damage of the bytes up to the next batch. If ahead is set and only zeros follow, it ends
// the scan.
func (w *scanner) damaged(reason error) bool {
	if w.ahead {
		if w.used < 0 {
			var err error
			if w.used, err = w.lastUsed(); err != nil {
				return w.stop(err)
			}
		}
		if w.at.pos >= w.used {
			return w.stop(nil)
		}
	}
	to, found, err := w.resync()
	if err != nil {
		return w.stop(err)
	}
	w.kind, w.h, w.reason, w.sure, w.last = isDamage, nil, reason, found, !found
	w.to = position{w.v.end, w.at.next, w.at.maxTime}
	if found {
		w.to = position{to.pos, to.next, w.at.maxTime}
	}
	if w.to.pos == w.at.pos {
		w.kind = isHole
	}
	return true
}

// lastUsed is the position behind the last byte that is not zero, or w.at.pos.
func (w *scanner) lastUsed() (int64, error) {
	if p, err := w.win.at(w.at.pos, int(min(w.v.end-w.at.pos, int64(w.win.step)))); err == nil && w.at.pos+int64(len(p)) == w.v.end {
		return w.at.pos + int64(len(bytes.TrimRight(p, "\x00"))), nil
	}
	return lastUsed(w.s, w.at.pos, w.v.end)
}

// resync finds the next batch behind the damage that begins here. Unless the search is plausible, a
// batch that begins just here is skipped, because its offset is too high; and if the search is
// written, so is a later one whose offset leaves none for the damaged bytes.
func (w *scanner) resync() (to position, found bool, err error) {
	if w.search == nothing && w.at.pos >= w.durable {
		return to, false, nil
	}
	for at, from := w.at, w.at; ; from = at {
		to, found, err = w.past(from)
		if !found || err != nil || w.search == plausible {
			return to, found, err
		}
		h, err := w.win.at(to.pos, batch.HeaderSize)
		if err != nil {
			return to, false, err
		}
		n, _ := batch.Size(h, maxBatch)
		end := to.pos + int64(n)
		switch b := batch.Batch(h); {
		case to.pos == at.pos && b.BaseOffset() > at.next:
			at.next += b.NextOffset() - b.BaseOffset()
		case w.search == inOrder || to.pos == at.pos || b.BaseOffset() > at.next:
			return to, true, nil
		}
		at.pos = end
	}
}

// checksum returns errDamaged if the checksum of the batch between two positions is wrong. It reads in
// steps, so that a wrong length in a header costs no memory.
func (w *scanner) checksum(from, to int64) error {
	h, err := w.win.at(from, batch.HeaderSize)
	if err != nil {
		return err
	}
	if len(h) < batch.HeaderSize {
		return errShort
	}
	want, sum := batch.Batch(h).CRC(), uint32(0)
	for pos := from + crcBegins; pos < to; {
		p, err := w.win.at(pos, int(min(to-pos, 1<<20)))
		if err != nil {
			return err
		}
		if len(p) == 0 {
			return errShort
		}
		sum = crc32.Update(sum, castagnoli, p)
		pos += int64(len(p))
	}
	if lost := w.file.lost(from, to); lost != nil {
		return lost
	}
	if sum != want {
		return fmt.Errorf("%w: %w: CRC-32C is %08x, the header says %08x", errDamaged, batch.ErrCorrupt, sum, want)
	}
	return nil
}

// crcBegins is the first byte of a batch that its checksum covers.
const crcBegins = 21

var errShort = fmt.Errorf("%w: the file ends within a batch", errDamaged)
