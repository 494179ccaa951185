package fault

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// F8. The index of a segment, which holds the offset index, the time index and the
// recovery point, is missing, empty, cut off, zeros, random, an older one of its own, or
// that of another segment or topic: no record is lost, in a sealed segment and in the
// active one.
func TestF08IndexThatIsNotTheSegments(t *testing.T) {
	var c tally
	for seed := range uint64(runs(2, 10)) {
		older := newHistory()
		s := newSpecimen(t, seed, 30, seed%2 == 0, older.add)
		r := rand.New(rand.NewPCG(8, seed))
		for range runs(350, 1500) {
			at := shelves[r.IntN(len(shelves))]
			segments := s.segments(at)
			name := indexOf(segments[r.IntN(len(segments))])
			what, content := s.anotherIndex(r, name, older)
			disk := s.clone()
			if content == nil {
				drop(t, disk, name)
			} else {
				put(t, disk, name, content)
			}
			x := s.examine(disk)
			c.add(x.tally)
			x.costs(t, fmt.Sprintf("%s %s", name, what))
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// anotherIndex makes what an index may hold after a fault; nil for no file.
func (s *specimen) anotherIndex(r *rand.Rand, name string, older *history) (what string, content []byte) {
	own := s.files[name]
	switch r.IntN(8) {
	case 0:
		return "missing", nil
	case 1:
		return "empty", []byte{}
	case 2:
		n := r.IntN(len(own))
		return fmt.Sprintf("cut off at %d", n), own[:n]
	case 3:
		return "zeros", make([]byte, r.IntN(len(own)+100))
	case 4:
		p := make([]byte, r.IntN(len(own)+100))
		fillRandom(r, p)
		return "random", p
	case 5:
		list := older.files[name]
		i := r.IntN(len(list))
		return fmt.Sprintf("as of %d writes ago", len(list)-i), list[i]
	case 6:
		bit := r.IntN(8 * len(own))
		return fmt.Sprintf("bit %d flipped", bit), flip(own, bit)
	default:
		at := shelves[r.IntN(len(shelves))]
		segments := s.segments(at)
		other := indexOf(segments[r.IntN(len(segments))])
		return "that of " + other, s.files[other]
	}
}

// F8, the mark ahead of the segment: synced bytes have gone, and that is reported. The
// offsets behind them are not given to others.
func TestF08MarkAheadOfTheSegment(t *testing.T) {
	older := newHistory()
	s := newSpecimen(t, 80, 25, true, older.add)
	at := shelves[0]
	name := last(s.segments(at))
	var c tally
	for _, content := range older.files[name] {
		content = logOf(content)
		disk := s.clone()
		put(t, disk, name, content)
		x := s.examine(disk)
		c.add(x.tally)
		x.costs(t, fmt.Sprintf("%d bytes", len(content)), batchesFrom(at, logOf(s.files[name]), len(content))...)
	}
	report(t, c)
	c.mustKeep(t)
}

// A history is all that files have held, the oldest first.
type history struct{ files map[string][][]byte }

func newHistory() *history { return &history{make(map[string][][]byte)} }

func (h *history) add(files map[string][]byte) {
	for name, content := range files {
		if list := h.files[name]; len(list) == 0 || !bytes.Equal(last(list), content) {
			h.files[name] = append(list, content)
		}
	}
}
