package jetstream

import (
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// maxChunk bounds a chunk of several batches, in bytes.
const maxChunk = 4 << 20

// A source is where the batches of a chunk are: in messages that are held in memory for it, while the
// budget for that lasts. Others are read again when the chunk is loaded.
type source struct {
	log   *partition
	first int64      // offset of the chunk's first record
	held  []*message // ascending, from the one with the first batch on, as far as the budget lasts
	bytes int        // of the budget
}

// Read implements store.Partition.
func (p *partition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	v, ended := p.visible.view()
	if ended != nil {
		return ended
	}
	if offset < v.start || offset > v.high {
		return store.ErrOutOfRange
	}
	s, same := c.Source.(*source)
	goesOn := c.Next == offset && !c.Lost
	if offset == v.high {
		p.messages.passed.Store(true)
		if c.Clear(); !goesOn {
			c.Release()
		}
		if same {
			s.drop()
		}
		c.First, c.Next = offset, offset
		return nil
	}
	var m *message
	from := c.Pos + int64(c.N)
	if goesOn = goesOn && same && s.log == p; goesOn && len(s.held) > 0 {
		if m = s.held[len(s.held)-1]; m.next <= offset || m.pos > from {
			m = nil
		}
	}
	if m == nil {
		var err error
		if m, err = p.messages.holding(offset, v); err != nil {
			c.Release()
			c.Next = -1 // the next Read looks again
			return err
		}
	}
	if !goesOn || from < m.pos || from >= m.end() {
		from = m.find(offset)
	}
	c.Release()
	return p.cut(c, m, from, min(maxBytes, maxChunk), v)
}

// find gives the position of the batch with the record at an offset.
func (m *message) find(offset int64) int64 {
	at := m.pos
	for rest := m.data; len(rest) > 0; {
		b, behind, err := batch.Next(rest)
		if err != nil || b.NextOffset() > offset {
			break
		}
		at += int64(len(b))
		rest = behind
	}
	return at
}

// cut points c at the batches from a position in m on, of at most max bytes but at least one.
func (p *partition) cut(c *store.Chunk, m *message, from int64, max int, v view) error {
	s := &source{log: p, first: batch.Batch(m.data[from-m.pos:]).BaseOffset()}
	c.Source, c.First, c.Next, c.Pos, c.N = s, s.first, s.first, from, 0
	for rest := m.data[from-m.pos:]; ; rest = m.data {
		s.hold(m)
		for len(rest) > 0 {
			b, behind, err := batch.Next(rest)
			if err != nil {
				return err // parse has seen it
			}
			if c.N > 0 && c.N+len(b) > max {
				return nil
			}
			c.N, c.Next, rest = c.N+len(b), b.NextOffset(), behind
		}
		if c.Next >= v.high || c.N >= max {
			return nil
		}
		var err error
		if m, err = p.messages.holding(c.Next, v); err != nil {
			return nil //nolint:nilerr // the next Read meets it
		}
	}
}

// hold keeps a message in memory for the chunk, if the budget lasts.
func (s *source) hold(m *message) {
	if n := m.cost(); s.log.held.try(n) {
		s.held, s.bytes = append(s.held, m), s.bytes+n
	}
}

// drop gives the memory back.
func (s *source) drop() {
	s.log.held.give(s.bytes)
	s.held, s.bytes = nil, 0
}

// Release implements store.Source.
func (s *source) Release() { s.drop() }

// Load implements store.Source. The batches were verified when they were written or read.
func (s *source) Load(buf []byte, pos int64, n int, first int64) ([]byte, error) {
	buf = slices.Grow(buf[:0], n)
	for next := first; len(buf) < n; {
		m := s.at(next)
		if m == nil {
			v, err := s.log.visible.view()
			if err == nil {
				m, err = s.log.messages.holding(next, v)
			}
			if err != nil {
				err = s.log.visible.explain(next, err)
				if len(buf) > 0 {
					err = nil
				}
				return buf, err
			}
		}
		from := int(pos + int64(len(buf)) - m.pos)
		buf = append(buf, m.data[from:min(len(m.data), from+n-len(buf))]...)
		next = m.next
	}
	return buf, nil
}

// at gives the held message with the record at an offset.
func (s *source) at(offset int64) *message {
	for _, m := range s.held {
		if m.base <= offset && offset < m.next {
			return m
		}
	}
	return nil
}
