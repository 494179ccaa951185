package commitlog

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A view is how far a segment can be read, as of one moment.
type view struct {
	active bool
	end    int64 // bytes; of a sealed segment, known once it is loaded
	next   int64 // no record in the segment has this offset or a higher one
}

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

// find returns the mark of the batch that holds offset.
func (s *segment) find(v view, offset int64) (mark, error) {
	e, err := s.index.floor(func(e entry) bool { return e.offset > offset })
	if err != nil {
		return mark{}, err
	}
	w := walk(s, v, e)
	defer w.close()
	more := w.next()
	for more && offset >= w.h.BaseOffset() {
		if offset == w.h.BaseOffset() {
			return w.at, nil
		}
		if offset >= w.h.NextOffset() {
			more = w.next()
			continue
		}
		// In the middle of a batch all depends on a count that the header
		// states, so that it has to be true.
		if err := w.intact(); err == nil {
			return w.at, nil
		} else if !errors.Is(err, errDamaged) {
			return mark{}, err
		} else {
			more = w.skip(err)
		}
	}
	switch {
	case w.err != nil:
		return mark{}, w.err
	case more:
		return mark{}, s.damage(offset, w.h.BaseOffset(), w)
	case w.hole != nil:
		return mark{}, s.damage(offset, v.next, w)
	}
	return mark{}, &store.GapError{Topic: s.log.topic, Partition: s.log.number, First: offset, Next: v.next}
}

func (s *segment) damage(first, next int64, w *walker) error {
	return &store.DamageError{
		Topic: s.log.topic, Partition: s.log.number,
		First: first, Next: next, File: s.file.name, Pos: w.bad, Reason: w.hole,
	}
}

// cut ends a chunk that begins at m: max bytes behind it or less, but at least
// one batch.
func (s *segment) cut(v view, last mark, m mark, max int64) (mark, error) {
	if m.pos+max >= v.end {
		return last, nil
	}
	e, err := s.index.floor(func(e entry) bool { return e.pos > m.pos+max })
	if err != nil {
		return mark{}, err
	}
	if e.pos > m.pos {
		return mark{pos: e.pos, next: e.offset}, nil
	}
	w := walk(s, v, entry{offset: m.next, pos: m.pos})
	defer w.close()
	end := m
	for w.next() && w.hole == nil && (end == m || w.end().pos <= m.pos+max) {
		end = w.end()
	}
	if end == m {
		if w.err != nil {
			return m, w.err
		}
		next := v.next
		if w.h != nil {
			next = w.h.BaseOffset()
		}
		return m, s.damage(m.next, next, w)
	}
	return end, nil
}

// A pin keeps a segment open for a chunk.
type pin struct {
	s *segment
	v view
}

// Release implements store.Source.
func (p *pin) Release() { p.s.file.release() }

// Load implements store.Source.
func (p *pin) Load(buf []byte, pos int64, n int, first int64) ([]byte, error) {
	buf = slices.Grow(buf[:0], n)[:n]
	got, err := p.s.file.readAt(buf, pos)
	if err != nil {
		return nil, err
	}
	sound := 0
	for sound < got {
		b, _, err := batch.Next(buf[sound:got])
		if err != nil || b.BaseOffset() != first || b.LastOffsetDelta() < 0 || b.CheckCRC() != nil {
			break
		}
		sound, first = sound+len(b), b.NextOffset()
	}
	if sound > 0 {
		return buf[:sound], nil
	}
	return nil, p.s.explain(p.v, mark{pos: pos, next: first})
}

// explain is the error for a batch at m that is not sound.
func (s *segment) explain(v view, m mark) error {
	w := walk(s, v, entry{offset: m.next, pos: m.pos})
	defer w.close()
	more := w.next()
	if more && w.hole == nil {
		err := w.intact()
		if err == nil {
			return fmt.Errorf("%s: byte %d could not be read at first", s.file.name, m.pos)
		}
		more = w.skip(err)
	}
	if w.err != nil {
		return w.err
	}
	if more {
		return s.damage(m.next, w.h.BaseOffset(), w)
	}
	return s.damage(m.next, v.next, w)
}
