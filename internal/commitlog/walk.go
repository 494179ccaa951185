package commitlog

import (
	"errors"
	"fmt"
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
func checkHeader(h batch.Batch, room, want int64, here place) error {
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
	close  func()
	here   place
	strict bool // stop at the first damage

	v     view
	prev  mark        // where the batch before begins; at.pos if it is not known
	at    mark        // where the batch begins
	h     batch.Batch // its header; nil before the first and after the last
	least int64       // the base offset that the next batch has at the least
	hole  error       // what was wrong just before the batch, or at the end
	bad   int64       // where that was
	err   error       // of the file system
	buf   [batch.HeaderSize]byte
}

// walk begins at e. The caller ends with w.close.
func walk(s *segment, v view, e entry) *walker {
	w := &walker{v: v, here: s.log.place, at: mark{e.pos, e.offset, e.before}, least: e.offset, close: func() {}}
	f, err := s.file.acquire()
	if err != nil {
		w.err = err
		return w
	}
	w.win = window{f: f, end: v.end, step: 16 << 10}
	w.close = s.file.release
	return w
}

// next moves to the next batch. After false, w.at is the end that was reached
// and w.hole or w.err says what is wrong with it, if anything is.
func (w *walker) next() bool {
	if w.err != nil {
		return false
	}
	w.prev, w.at, w.h, w.hole = w.at, w.end(), nil, nil
	if w.at.pos >= w.v.end {
		return false
	}
	h, err := w.win.at(w.at.pos, batch.HeaderSize)
	if err == nil {
		if hole := checkHeader(h, w.v.end-w.at.pos, w.at.next, w.here); hole != nil {
			return w.lost(hole)
		}
	}
	return w.take(h, err)
}

func (w *walker) take(h batch.Batch, err error) bool {
	w.err = err
	if err != nil || h == nil {
		return false
	}
	w.h = append(w.buf[:0], h[:batch.HeaderSize]...)
	w.least = w.h.BaseOffset() + 1
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

// lost is for a place where no batch begins: it may be the length or the count
// of the batch before that is wrong.
func (w *walker) lost(hole error) bool {
	if w.prev.pos < w.at.pos && !w.strict {
		p, err := w.win.at(w.prev.pos, int(w.at.pos-w.prev.pos))
		if err != nil {
			return w.take(nil, err)
		}
		if err := batch.Batch(p).CheckCRC(); err != nil {
			w.at, hole = w.prev, fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return w.skip(hole)
}

// intact reads the whole batch and says, as errDamaged, whether its checksum is
// wrong.
func (w *walker) intact() error {
	n, _ := batch.Size(w.h, maxBatch)
	p, err := w.win.at(w.at.pos, n)
	if err != nil {
		return err
	}
	if len(p) < n {
		return fmt.Errorf("%w: the file ends within a batch", errDamaged)
	}
	if err := batch.Batch(p).CheckCRC(); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

// skip gives up the batch at w.at for the reason given and moves to the first
// sound one behind.
func (w *walker) skip(reason error) bool {
	w.hole, w.bad, w.h = reason, w.at.pos, nil
	if w.strict {
		return false
	}
	return w.take(w.resync())
}

// resync moves w.at to the first sound batch at or behind it and returns it; or
// to the end, if there is none. It tries the place itself (the header before
// may be the one that is wrong) and where a damaged header says that the next
// batch is, before it tries every byte.
func (w *walker) resync() (batch.Batch, error) {
	pos := w.at.pos
	h, err := w.win.at(pos, batch.HeaderSize)
	if err != nil {
		return nil, err
	}
	if n, err := batch.Size(h, maxBatch); err == nil {
		after, err := w.sound(pos + int64(n))
		if err != nil {
			return nil, err
		}
		// The base offset has no checksum: it is true if what follows agrees.
		follows := w.v.next
		if after != nil {
			follows = after.BaseOffset()
		}
		if b, err := w.sound(pos); err != nil || b != nil && b.NextOffset() == follows {
			return b, err
		}
		if after != nil {
			return w.sound(pos + int64(n))
		}
	}
	w.win.step = 1 << 20
	for pos++; pos+batch.HeaderSize <= w.v.end; pos++ {
		b, err := w.sound(pos)
		if err == nil && b != nil && w.contradicted(b) {
			continue
		}
		if b != nil || err != nil {
			return w.sound(pos)
		}
	}
	w.at.pos = w.v.end
	return nil, nil
}

// contradicted says whether a sound batch follows on b, which is at w.at, with another
// base offset than b's, which has no checksum, lets expect.
func (w *walker) contradicted(b batch.Batch) bool {
	next := b.NextOffset()
	after, err := w.sound(w.at.pos + int64(len(b)))
	return err == nil && after != nil && after.BaseOffset() != next
}

// sound moves to the batch at pos and returns it, if there is one with the
// right checksum and offsets that can follow.
func (w *walker) sound(pos int64) (batch.Batch, error) {
	h, err := w.win.at(pos, batch.HeaderSize)
	if err != nil {
		return nil, err
	}
	b := batch.Batch(h)
	if len(h) < batch.HeaderSize || !w.here.holds(b) || b.BaseOffset() < w.least || b.LastOffsetDelta() < 0 || b.NextOffset() > w.v.next {
		return nil, nil
	}
	n, err := batch.Size(h, int(max(0, min(w.v.end-pos, maxBatch))))
	if err != nil {
		return nil, nil
	}
	p, err := w.win.at(pos, n)
	if err != nil || len(p) < n || batch.Batch(p).CheckCRC() != nil {
		return nil, err
	}
	w.at.pos, w.at.next = pos, batch.Batch(p).BaseOffset()
	return p, nil
}
