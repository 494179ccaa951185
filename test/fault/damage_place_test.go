package fault

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// F12. A piece of a segment shows other content: its own of earlier, zeros, or what
// was written elsewhere, even to another topic at the same offsets. None of it is
// served, and what it covers is reported, but see partsHeader.
func TestF12PieceOfOtherContent(t *testing.T) {
	var c tally
	for seed := range uint64(runs(2, 10)) {
		older := newHistory()
		s := newSpecimen(t, seed, 30, seed%2 == 0, older.add)
		r := rand.New(rand.NewPCG(12, seed))
		for range runs(350, 2000) {
			at := shelves[r.IntN(len(shelves))]
			name := s.segments(at)[r.IntN(len(s.segments(at)))]
			content := logOf(s.files[name])
			size := 512 << r.IntN(4)
			from := r.IntN(len(content)/size+1) * size
			to := min(from+size, len(content))
			if partsHeader(content, from) {
				continue
			}
			what, other := s.otherPiece(r, name, older)
			damaged := bytes.Clone(s.files[name])
			clear(damaged[from:to])
			copy(damaged[from:to], other[min(from, len(other)):])
			disk := s.clone()
			put(t, disk, name, damaged)
			x := s.examine(disk)
			c.add(x.tally)
			x.costs(t, fmt.Sprintf("%s from byte %d to %d %s", name, from, to, what), changed(at, content, damaged)...)
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// partsHeader says whether a piece that begins at pos parts a batch's checksum, and
// all that it covers, from the offset and the epoch before it. Nothing ties the two
// together, so what another batch of the same size has behind that point is not found:
// docs/decisions has it as "leader epoch".
func partsHeader(segment []byte, pos int) bool {
	const epochEnd, crcBegin = 16, 17
	for at := 0; at < len(segment); at += sizeAt(segment[at:]) {
		if n := pos - at; n == epochEnd || n == crcBegin {
			return true
		}
	}
	return false
}

// otherPiece gives content of which the same bytes are put in the place of a
// segment's.
func (s *specimen) otherPiece(r *rand.Rand, name string, older *history) (what string, content []byte) {
	if r.IntN(2) == 0 {
		list := older.files[name]
		i := r.IntN(len(list))
		return fmt.Sprintf("as of %d writes ago", len(list)-i), list[i]
	}
	at := shelves[r.IntN(len(shelves))]
	segments := s.segments(at)
	other := segments[r.IntN(len(segments))]
	return "those of " + other, s.files[other]
}

// changed are the batches of a segment that are not the same in damaged.
func changed(at shelf, segment, damaged []byte) (list []span) {
	from := 0
	for _, b := range batchesFrom(at, segment, -1) {
		to := from + sizeAt(segment[from:])
		if !bytes.Equal(segment[from:to], damaged[from:to]) {
			list = append(list, b)
		}
		from = to
	}
	return list
}

// F12. Segments in each other's place, with and without their indexes: of the same
// log, of another partition and of another topic with the same offsets and sizes.
func TestF12SegmentInAnothersPlace(t *testing.T) {
	s := newSpecimen(t, 12, 30, false, nil)
	var c tally
	for _, at := range shelves {
		for _, from := range shelves {
			for i, name := range s.segments(at) {
				for j, other := range s.segments(from) {
					if name == other {
						continue
					}
					for _, indexed := range []bool{true, false} {
						c.add(s.swap(t, at, from, i, j, indexed))
					}
				}
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// swap puts two segments in each other's place.
func (s *specimen) swap(t *testing.T, at, from shelf, i, j int, indexed bool) tally {
	t.Helper()
	name, other := s.segments(at)[i], s.segments(from)[j]
	disk := s.clone()
	put(t, disk, name, s.files[other])
	put(t, disk, other, s.files[name])
	if indexed {
		put(t, disk, indexOf(name), s.files[indexOf(other)])
		put(t, disk, indexOf(other), s.files[indexOf(name)])
	}
	x := s.examine(disk)
	if x.problem != "" || x.refused != nil || !x.damaged() {
		t.Errorf("%s and %s swapped, with their indexes %v: %s, %v, %v", name, other, indexed, x.problem, x.refused, x.found)
	}
	return x.tally
}
