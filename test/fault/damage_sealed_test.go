package fault

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"mbus/internal/batch"
)

// F9. A bit flipped anywhere in a sealed segment: its batch is reported, to readers
// and by -verify, and every other batch is served byte for byte.
func TestF09FlippedBitInASealedSegment(t *testing.T) {
	s := newSpecimen(t, 9, 40, false, nil)
	at := shelves[0]
	segments := s.segments(at)
	r := rand.New(rand.NewPCG(9, 1))
	var c tally
	for range runs(800, 60_000) {
		name := segments[r.IntN(len(segments)-1)]
		content := s.files[name]
		bit := r.IntN(8 * len(content))
		disk := s.clone()
		put(t, disk, name, flip(content, bit))
		if r.IntN(4) == 0 {
			drop(t, disk, indexOf(name))
		}
		x := s.examine(disk)
		c.add(x.tally)
		x.costs(t, fmt.Sprintf("bit %d of %s", bit, name), batchAt(at, content, bit/8))
		if t.Failed() {
			break
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// batchAt is the batch of a segment that the byte at pos belongs to.
func batchAt(at shelf, segment []byte, pos int) span {
	for rest := segment; ; {
		b, after, err := batch.Next(rest)
		if err != nil {
			return span{}
		}
		if pos < len(segment)-len(after) {
			return span{at, b.BaseOffset(), b.NextOffset()}
		}
		rest = after
	}
}
