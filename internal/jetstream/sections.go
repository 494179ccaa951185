package jetstream

import (
	"fmt"
	"sync"
	"time"

	"mbus/internal/store"
)

// sections are where the sections of a log begin. They are read backwards, from head to head, when they
// are first needed, and as far as they are needed.
type sections struct {
	log *partition

	loading sync.Mutex // held while heads are read

	mu    sync.Mutex // guards what follows
	heads []section  // ascending; the last one is the present section's
	below uint64     // sequence of the head before these, 0 for none
}

// A section is one that a head begins, with the times of the section before.
type section struct {
	seq      uint64
	base     int64
	pos      int64
	latest   int64  // time of a record in the section before
	last     uint32 // append to it
	appended uint32 // when the head was written; less than last if the clock was ahead then
}

// add adds the head that begins the present section.
func (s *sections) add(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heads) == 0 && s.below == 0 || len(s.heads) > 0 {
		s.heads = append(s.heads, sectionOf(m))
		return
	}
	s.below = m.seq // the others are read from this one on
}

func sectionOf(m *message) section {
	return section{m.seq, m.base, m.pos, m.latest, m.first, m.appended}
}

// drop forgets the heads before the section that holds the log start offset.
func (s *sections) drop(start int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.heads) > 1 && s.heads[1].base <= start {
		s.heads = s.heads[1:]
		s.below = 0
	}
	if len(s.heads) > 0 && s.heads[0].base <= start {
		s.below = 0
	}
}

// load reads heads until those of all sections are known, or enough says that of the first known one.
func (s *sections) load(start int64, enough func(section) bool) ([]section, error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	for {
		s.drop(start)
		s.mu.Lock()
		heads, below := s.heads, s.below
		s.mu.Unlock()
		if below == 0 || len(heads) > 0 && enough != nil && enough(heads[0]) {
			return heads, nil
		}
		m, err := s.head(below)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.below == below {
			s.below = 0
			if m != nil {
				s.heads, s.below = append([]section{sectionOf(m)}, s.heads...), m.section
			}
		}
		s.mu.Unlock()
	}
}

// head reads the head with a sequence; nil if it was removed, because the log starts behind it.
func (s *sections) head(seq uint64) (*message, error) {
	list, err := s.log.messages.fetch(seq, 1, true, func(m *message) error {
		if m.seq == seq && m.kind != head {
			return fmt.Errorf("sequence %d is no head of a section", seq)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("a head of a section can't be read: %w", err)
	}
	if list[0].seq != seq {
		return nil, nil
	}
	return list[0], nil
}

// An extent is a section as retention sees it.
type extent struct {
	base, pos int64 // where it begins
	end       int64 // offset behind it
	bytes     int64
	latest    int64  // time of its records
	last      uint32 // append to it
	limit     uint32 // when the head behind it was written
}

// laterBound limits how far the time of a record may lie behind the last append to its section and still
// count for the section's age, in milliseconds.
const laterBound = int64(time.Hour / time.Millisecond)

// age is the time from which the age counts, in milliseconds since 1970.
func (e *extent) age(now int64) int64 {
	last := min(millis(e.last), now)
	return max(last, min(e.latest, last+laterBound))
}

// extents gives the sections of a log in a view, the present one last, with the times of t for it.
func (s *sections) extents(v view, t *tail) ([]extent, error) {
	heads, err := s.load(v.start, nil)
	if err != nil {
		return nil, err
	}
	list := []extent{{base: v.start, pos: v.removed}}
	for _, h := range heads {
		if h.base > v.high || h.seq > t.section {
			break // it is newer than the view
		}
		if h.base <= v.start {
			list[0] = extent{base: v.start, pos: v.removed}
			continue
		}
		l := &list[len(list)-1]
		l.latest, l.last, l.limit = h.latest, h.last, h.appended
		list = append(list, extent{base: h.base, pos: h.pos})
	}
	l := &list[len(list)-1]
	l.latest, l.last, l.limit = t.latest, t.appended, t.appended
	limit := t.appended
	for i := len(list) - 1; i >= 0; i-- {
		e := &list[i]
		e.end, e.bytes = v.high, v.pos-e.pos
		if i+1 < len(list) {
			e.end, e.bytes = list[i+1].base, list[i+1].pos-e.pos
		}
		e.last = min(e.last, e.limit, limit)
		limit = e.last
	}
	return list, nil
}

// byAge returns the offset below which all records are old enough to be removed, and whether Keep holds
// back some that are.
func byAge(list []extent, r store.Retention, now int64) (before int64, held bool) {
	for _, e := range list {
		age := e.age(now)
		if e.bytes == 0 {
			continue
		}
		if age >= r.Before {
			return before, false
		}
		if e.end > r.Keep && age >= r.Unread {
			return before, true
		}
		before = e.end
	}
	return before, false
}

// bySize returns the offset below which sections have to be removed so that the others have at most bound
// bytes. The last one stays.
func bySize(list []extent, bound int64) int64 {
	if bound <= 0 {
		return 0
	}
	var sum int64
	for i := len(list) - 1; i >= 0; i-- {
		if sum += list[i].bytes; sum > bound {
			return list[min(i+1, len(list)-1)].base
		}
	}
	return 0
}
