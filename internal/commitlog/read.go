package commitlog

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A view is how far a segment can be read at one time.
type view struct {
	active bool
	end    int64 // bytes; of a sealed segment, known once it is loaded
	next   int64 // no record in the segment has this offset or a higher one
}

// Read implements store.Partition.
func (l *partition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	p, err := l.locate(offset)
	if err != nil {
		return err
	}
	goesOn := c.Next == offset && !c.Lost
	if p == nil {
		if c.Clear(); !goesOn {
			c.Release()
		}
		c.First, c.Next = offset, offset
		return nil
	}
	last, same := c.Source.(*pin)
	goesOn = goesOn && same && last.s == p.s
	from := c.Pos + int64(c.N)
	c.Release()
	c.Source, c.Next = p, -1 // should this fail, the next Read looks again
	first, end, err := p.find(offset, from, goesOn, int64(maxBytes))
	if err != nil {
		return l.visible.removed(offset, err)
	}
	c.First, c.Next, c.Pos, c.N = first.next, end.next, first.pos, int(end.pos-first.pos)
	return nil
}

// locate opens the segment that has offset; nil at the high watermark.
func (l *partition) locate(offset int64) (*pin, error) {
	s, v, next, err := l.visible.holding(offset)
	if err == nil && next > offset {
		err = &store.GapError{Topic: l.topic, Partition: l.number, First: offset, Next: next}
	}
	if s == nil || err != nil {
		return nil, err
	}
	p, err := newPin(s, v)
	if err != nil {
		return nil, l.visible.removed(offset, s.absent(offset, v.next, err))
	}
	if err := l.visible.removed(offset, nil); err != nil { // the files may belong to another topic by now
		p.Release()
		return nil, err
	}
	return p, nil
}

// absent returns the error for a segment that can't be opened. Its offsets are damaged if its file is
// missing, or is unreadable and the index is not. Otherwise the device may be gone.
func (s *segment) absent(first, next int64, reason error) error {
	if !isNotExist(reason) && !(vfs.IsUnreadable(reason) && s.index.readable()) {
		return reason
	}
	s.log.damaged(s.file.name, 0)
	return &store.DamageError{
		Topic: s.log.topic, Partition: s.log.number, First: first, Next: next, File: s.file.name, Reason: reason,
	}
}

// find returns the position of the batch that holds offset.
func (s *segment) find(v view, offset int64) (position, error) {
	e, err := s.floor(v, func(e entry) bool { return e.offset > offset })
	if err != nil {
		return position{}, err
	}
	if at := (position{e.pos, e.offset, e.before}); e.offset == offset && s.begins(v, at) {
		return at, nil
	}
	w := s.scan(v, e)
	defer w.close()
	from, to := s.verified.both()
	for w.next() {
		if w.kind == isBatch && w.at.next == offset {
			return w.at, nil
		}
		// The length and the record count of the header have to be right.
		if w.kind == isBatch && (w.at.pos < from || w.end().pos > to) {
			w.check()
		}
		switch {
		case w.err != nil:
			return position{}, w.err
		case w.kind == isBatch && offset < w.end().next:
			return w.at, nil
		case w.kind != isBatch && offset < w.lostUpTo():
			return position{}, w.damage(offset)
		}
	}
	if w.err != nil {
		return position{}, w.err
	}
	return position{}, &store.GapError{Topic: s.log.topic, Partition: s.log.number, First: offset, Next: v.next}
}

// damage returns the error for damage or a hole, from offset on.
func (w *scanner) damage(offset int64) error {
	w.s.log.damaged(w.s.file.name, w.at.pos)
	return &store.DamageError{
		Topic: w.s.log.topic, Partition: w.s.log.number,
		First: offset, Next: w.lostUpTo(), File: w.s.file.name, Pos: w.at.pos, Reason: w.reason,
	}
}

// cut returns the end of a chunk that begins at m: at most max bytes, but at least one batch.
func (s *segment) cut(v view, last position, m position, max int64) (position, error) {
	if at, ok := s.jumps.stop(m.pos + 1); ok && at.pos <= min(m.pos+max, v.end) {
		return position{pos: at.pos, next: at.next}, nil
	}
	if m.pos+max >= v.end {
		return last, nil
	}
	e, err := s.floor(v, func(e entry) bool { return e.pos > m.pos+max })
	if err != nil {
		return position{}, err
	}
	if e.pos > m.pos {
		return position{pos: e.pos, next: e.offset}, nil
	}
	w := s.scan(v, entry{offset: m.next, pos: m.pos})
	defer w.close()
	end := m
	for w.next() && w.kind == isBatch && (end == m || w.end().pos <= m.pos+max) {
		end = w.end()
	}
	switch {
	case end != m:
		return end, nil
	case w.err != nil:
		return m, w.err
	}
	return m, w.damage(m.next)
}

// A pin keeps a segment's files open for a chunk, which can be read after the segment is removed.
type pin struct {
	s     *segment
	v     view
	index bool // the index is open, too; it may be missing
}

func newPin(s *segment, v view) (*pin, error) {
	if _, err := s.file.acquire(); err != nil {
		return nil, err
	}
	_, err := s.index.file.acquire()
	if err != nil && !isNotExist(err) && !vfs.IsUnreadable(err) {
		s.file.release()
		return nil, err
	}
	return &pin{s, v, err == nil}, nil
}

// Release implements store.Source.
func (p *pin) Release() {
	p.s.file.release()
	if p.index {
		p.s.index.file.release()
	}
}

// find returns the beginning and end of a chunk whose first batch has offset. If goesOn is set that
// batch is expected at position from.
func (p *pin) find(offset, from int64, goesOn bool, maxBytes int64) (first, end position, err error) {
	if err := p.s.load(p.v); err != nil {
		return first, end, err
	}
	last := position{pos: p.v.end, next: p.v.next}
	if !p.v.active {
		last, _ = p.s.state.sealedAt()
		p.v.end = last.pos
	}
	first = position{pos: from, next: offset}
	if !goesOn || !p.s.begins(p.v, first) {
		if first, err = p.s.find(p.v, offset); err != nil {
			return first, end, err
		}
	}
	end, err = p.s.cut(p.v, last, first, maxBytes)
	return first, end, err
}

// begins says whether the header of a batch is at m.
func (s *segment) begins(v view, m position) bool {
	if at, ok := s.jumps.stop(m.pos); ok && at == m.edge() {
		return false
	}
	var h [batch.HeaderSize]byte
	n, err := s.readAt(h[:max(0, min(int64(len(h)), v.end-m.pos))], m.pos)
	return err == nil && checkHeader(h[:n], v.end-m.pos, m.next, s.log.epoch) == nil
}

// readAt fills p from pos and returns fewer bytes only at the end of the file.
func (s *segment) readAt(p []byte, pos int64) (int, error) {
	f, err := s.file.acquire()
	if err != nil {
		return 0, err
	}
	defer s.file.release()
	if !s.sectors.some.Load() {
		if n, err := vfs.ReadAt(f, p, pos); !vfs.IsUnreadable(err) {
			return n, ignoreEOF(err)
		}
	}
	r := &sectorReader{f: f, segment: s}
	n, err := r.ReadAt(p, pos)
	if i := slices.IndexFunc(r.bad, func(b badSpan) bool { return b.to > pos }); i >= 0 {
		n = int(max(0, min(int64(n), r.bad[i].from-pos)))
	}
	return n, ignoreEOF(err)
}

// Load implements store.Source.
func (p *pin) Load(buf []byte, pos int64, n int, first int64) ([]byte, error) {
	buf = slices.Grow(buf[:0], n)[:n]
	got, err := p.s.readAt(buf, pos)
	if err != nil {
		return nil, err
	}
	valid := 0
	for valid < got {
		b, _, err := batch.Next(buf[valid:got])
		if err != nil || b.BaseOffset() != first || b.LastOffsetDelta() < 0 || !p.s.log.epoch.holds(b) || b.CheckCRC() != nil {
			break
		}
		valid, first = valid+len(b), b.NextOffset()
	}
	if valid < n {
		p.s.verified.cut(pos+int64(valid), pos+int64(n))
	}
	if valid > 0 {
		p.s.verified.add(pos, pos+int64(valid))
		return buf[:valid], nil
	}
	from, to, err := p.s.explain(p.v, position{pos: pos, next: first})
	if err != nil {
		return nil, err
	}
	buf = slices.Grow(buf[:0], int(to-from))[:to-from]
	got, err = p.s.readAt(buf, from)
	return buf[:got], err
}

// Sendable implements store.Sender.
func (p *pin) Sendable(pos int64, n int) bool { return p.s.verified.holds(pos, n) }

// SendTo implements store.Sender. The files are open until Release. After an error of the
// file, and not of the connection, the next request for these bytes has them read, and gets the
// damage as its error.
func (p *pin) SendTo(conn store.RawWriter, pos int64, n int) error {
	err := p.s.file.file.SendTo(conn, pos, n)
	if vfs.IsUnreadable(err) || errors.Is(err, io.ErrUnexpectedEOF) {
		p.s.verified.refuse(pos, pos+int64(n))
		p.s.log.warn("can't send bytes of a file: they are read and checked from now on; look at the disk", "file", p.s.file.name,
			"position", pos, "bytes", n, "reason", err)
	}
	return err
}

// explain returns the error for a damaged batch at m; or the bytes of a valid one with the same base
// offset that follows.
func (s *segment) explain(v view, m position) (from, to int64, err error) {
	w := s.scan(v, entry{offset: m.next, pos: m.pos})
	defer w.close()
	if w.next() && w.kind == isBatch && w.check() {
		return 0, 0, fmt.Errorf("%s: byte %d could not be read at first", s.file.name, m.pos)
	}
	if w.err == nil && !w.last && w.to.next == m.next && w.next() {
		return w.at.pos, w.end().pos, nil
	}
	if w.err != nil {
		return 0, 0, w.err
	}
	return 0, 0, w.damage(m.next)
}
