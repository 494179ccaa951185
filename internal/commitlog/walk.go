package commitlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"mbus/internal/batch"
)

// maxBatch bounds what a stored header may claim, in bytes. It is above what
// any broker takes in, so that a changed limit makes no batch unreadable.
const maxBatch = 1 << 30

// A window reads a file forwards in large steps and gives out small pieces.
type window struct {
	f    io.ReaderAt
	end  int64 // nothing is read from here on
	step int
	pos  int64
	buf  []byte
}

// at returns n bytes at pos, or as many as there are before the end. They are
// valid until the next call.
func (w *window) at(pos int64, n int) ([]byte, error) {
	n = int(max(0, min(int64(n), w.end-pos)))
	if n == 0 {
		return nil, nil
	}
	if pos < w.pos || pos+int64(n) > w.pos+int64(len(w.buf)) {
		size := int(min(int64(max(n, w.step)), w.end-pos))
		if cap(w.buf) < size {
			w.buf = make([]byte, size)
		}
		got, err := w.f.ReadAt(w.buf[:size], pos)
		if err != nil && !errors.Is(err, io.EOF) {
			w.buf = w.buf[:0]
			return nil, err
		}
		w.pos, w.buf = pos, w.buf[:got]
	}
	p := w.buf[pos-w.pos:]
	return p[:min(n, len(p))], nil
}

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

// A walker goes through the headers of a segment's batches, past damage.
type walker struct {
	win    window
	file   *sectorReader // nil after an error
	s      *segment
	strict bool // stop at the first damage

	v    view
	at   mark        // where the batch begins
	h    batch.Batch // its header; nil before the first and after the last
	sure bool        // its checksum has been found right
	hole error       // what was wrong just before the batch, or at the end
	bad  int64       // where that was
	err  error       // of the file system
	buf  [batch.HeaderSize]byte
}

// walk begins at e. The caller ends with w.close.
func walk(s *segment, v view, e entry) *walker {
	w := &walker{s: s, v: v, at: mark{e.pos, e.offset, e.before}}
	w.file, w.err = s.reader()
	if w.err == nil {
		w.win = window{f: w.file, end: v.end, step: 16 << 10}
	}
	return w
}

func (w *walker) close() {
	if w.file != nil {
		w.file.close()
	}
}

// next moves to the next batch. After false, w.at is the end that was reached
// and w.hole or w.err says what is wrong with it, if anything is.
func (w *walker) next() bool {
	if w.err != nil {
		return false
	}
	w.at, w.h, w.hole = w.end(), nil, nil
	if w.at.pos >= w.v.end {
		return false
	}
	h, err := w.win.at(w.at.pos, batch.HeaderSize)
	if err == nil {
		if hole := w.checkHeader(h, w.at); hole != nil {
			return w.skip(hole)
		}
		if at, ok := w.s.jumps.stop(w.at.pos); ok && at == w.at.edge() {
			return w.skip(errWithin)
		}
	}
	return w.take(h, err)
}

// nextSound is next for those that believe no header: the checksum of the batch is right.
func (w *walker) nextSound() bool {
	more := w.next()
	if !more {
		return false
	}
	err := w.intact()
	if errors.Is(err, errDamaged) {
		return w.skip(err)
	}
	w.err = err
	return err == nil
}

// checkHeader is checkHeader of what was read at m.
func (w *walker) checkHeader(h batch.Batch, m mark) error {
	err := checkHeader(h, w.v.end-m.pos, m.next, w.s.log.epoch)
	if err != nil {
		if lost := w.file.lost(m.pos, m.pos+batch.HeaderSize); lost != nil {
			return lost
		}
	}
	return err
}

func (w *walker) take(h batch.Batch, err error) bool {
	w.err, w.sure = err, false
	if err != nil || h == nil {
		return false
	}
	w.h = append(w.buf[:0], h[:batch.HeaderSize]...)
	return true
}

// end is the mark behind the batch, or where the walk ended.
func (w *walker) end() mark {
	if w.h == nil {
		return w.at
	}
	n, _ := batch.Size(w.h, maxBatch)
	return w.at.behind(w.h, n)
}

// intact reads the whole batch and says, as errDamaged, whether its checksum is
// wrong.
func (w *walker) intact() error {
	if w.sure {
		return nil
	}
	n, _ := batch.Size(w.h, maxBatch)
	err := w.check(w.at.pos, w.at.pos+int64(n))
	w.sure = err == nil
	return err
}

// check is intact for the batch between two positions. It needs no memory for what a
// header claims.
func (w *walker) check(from, to int64) error {
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

// crcBegins is where in a batch the bytes begin that its checksum covers.
const crcBegins = 21

var errShort = fmt.Errorf("%w: the file ends within a batch", errDamaged)

// skip gives up the batch at w.at for the reason given and moves to the first
// sound one behind.
func (w *walker) skip(reason error) bool {
	w.hole, w.bad, w.h = reason, w.at.pos, nil
	if w.strict {
		return false
	}
	h, err := w.resync()
	more := w.take(h, err)
	w.sure = more
	return more
}

// resync moves w.at to the first sound batch behind the damage at w.at and returns its
// header; or to the end, if there is none.
func (w *walker) resync() (batch.Batch, error) {
	to, found, err := w.past(w.at)
	if err != nil {
		return nil, err
	}
	if !found {
		w.at.pos = w.v.end
		return nil, nil
	}
	w.at.pos, w.at.next = to.pos, to.next
	return w.win.at(to.pos, batch.HeaderSize)
}
