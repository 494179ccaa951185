package fault

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"mbus/internal/batch"
)

// F7. The active segment is cut off at any byte, below what was synced: what lies
// before the cut is served, what lay behind is reported. Zeros or garbage behind its
// end cost nothing.
func TestF07ActiveSegmentCutOffOrLonger(t *testing.T) {
	at := shelves[0]
	var c tally
	for seed := range uint64(runs(1, 8)) {
		for _, kill := range []bool{true, false}[:runs(1, 2)] {
			s := newSpecimen(t, seed, 20+int(seed)%7, kill, nil)
			name := last(s.segments(at))
			content := logOf(s.files[name])
			for n := range len(content) {
				disk := s.clone()
				put(t, disk, name, content[:n])
				x := s.examine(disk)
				c.add(x.tally)
				x.costs(t, fmt.Sprintf("seed %d, cut at %d of %d", seed, n, len(content)), batchesFrom(at, content, n)...)
				if t.Failed() {
					t.FailNow()
				}
			}
			c.add(s.longer(t, name, content))
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// longer puts what a disk might have left behind a segment's end.
func (s *specimen) longer(t *testing.T, name string, content []byte) (c tally) {
	r := rand.New(rand.NewPCG(7, uint64(len(content))))
	for range runs(150, 1500) {
		tail := make([]byte, r.IntN(6000))
		what := "zeros"
		switch r.IntN(4) {
		case 0:
			what = "garbage"
			fillRandom(r, tail)
		case 1:
			what = "zeros and garbage"
			fillRandom(r, tail[len(tail)/2:])
		case 2:
			what = "its own bytes"
			from := r.IntN(len(content))
			tail = content[from : from+r.IntN(len(content)-from)]
		}
		disk := s.clone()
		put(t, disk, name, bytes.Join([][]byte{content, tail}, nil))
		x := s.examine(disk)
		c.add(x.tally)
		x.costs(t, fmt.Sprintf("%d bytes of %s behind the end", len(tail), what))
		if x.damaged() {
			t.Errorf("%d bytes of %s behind the end are damage to -verify: %v", len(tail), what, x.found)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	return c
}

// F10. A bit flipped in the active segment below its recovery point, with or without the
// index that has the mark: what was acknowledged later is kept.
func TestF10FlippedBitInTheActiveSegment(t *testing.T) {
	at := shelves[0]
	r := rand.New(rand.NewPCG(10, 1))
	var c tally
	for _, kill := range []bool{false, true} {
		s := newSpecimen(t, 10, 25, kill, nil)
		name := last(s.segments(at))
		content := logOf(s.files[name])
		for range runs(400, 10_000) {
			bit := r.IntN(8 * len(content))
			indexed := r.IntN(4) > 0
			want := batchAt(at, content, bit/8)
			disk := s.clone()
			put(t, disk, name, flip(s.files[name], bit))
			if !indexed {
				drop(t, disk, indexOf(name))
			}
			x := s.examine(disk)
			c.add(x.tally)
			x.costs(t, fmt.Sprintf("bit %d, index %v, killed %v", bit, indexed, kill), want)
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

func fillRandom(r *rand.Rand, p []byte) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
}

func last[T any](list []T) T { return list[len(list)-1] }

// logOf is a segment without the room behind its end.
func logOf(segment []byte) []byte {
	rest := segment
	for {
		_, after, err := batch.Next(rest)
		if err != nil {
			return segment[:len(segment)-len(rest)]
		}
		rest = after
	}
}

// batchesFrom are the batches of a segment that do not lie wholly in its first n
// bytes.
func batchesFrom(at shelf, segment []byte, n int) (list []span) {
	for pos := 0; pos < len(segment); {
		b, _, err := batch.Next(segment[pos:])
		if err != nil {
			return list
		}
		if pos += len(b); pos > n {
			list = append(list, span{at, b.BaseOffset(), b.NextOffset()})
		}
	}
	return list
}

// sizeAt is the size of the batch that p begins with.
func sizeAt(p []byte) int {
	b, _, err := batch.Next(p)
	if err != nil {
		return len(p)
	}
	return len(b)
}
