package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/vfs/crashfs"
)

// wear adds patches of a file that can't be read, and returns the batches that this costs.
func (s *specimen) wear(r *rand.Rand, patches []crashfs.Patch, at shelf, name string) (all []crashfs.Patch, lost []span) {
	content := s.files[name]
	for range 1 + r.IntN(2) {
		size := []int64{512, 4096}[r.IntN(2)]
		from := int64(r.IntN(len(content)+1)) / size * size
		if from+size >= int64(len(content)) && from == 0 {
			size, from = 512, 512 // else nothing of the segment is left to read
		}
		patches = append(patches, crashfs.Patch{Suffix: name, From: from, To: from + size})
	}
	if !strings.HasSuffix(name, ".log") {
		return patches, nil
	}
	pos := int64(0)
	for rest := content; ; {
		b, after, err := batch.Next(rest)
		if err != nil {
			return patches, lost
		}
		end := pos + int64(len(b))
		if slices.ContainsFunc(patches, func(bad crashfs.Patch) bool { return bad.From < end && bad.To > pos }) {
			lost = append(lost, span{at, b.BaseOffset(), b.NextOffset()})
		}
		pos, rest = end, after
	}
}

// F9, by the disk. Sectors of a segment that can't be read cost the batches in them: those
// are reported, to readers and by -verify, and every other batch is served byte for byte. An
// index that can't be read costs nothing.
func TestF09SectorsThatCannotBeRead(t *testing.T) {
	s := newSpecimen(t, 90, 40, false, nil)
	r := rand.New(rand.NewPCG(9, 9))
	errs := []error{syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.ENODATA, syscall.EREMOTEIO}
	var c tally
	for range runs(600, 40_000) {
		at := shelves[r.IntN(len(shelves))]
		segments := s.segments(at)
		name := segments[r.IntN(len(segments))]
		d := &crashfs.Worn{FS: s.clone(), Err: errs[r.IntN(len(errs))], Blunt: r.IntN(2) == 0}
		patches, lost := s.wear(r, nil, at, name)
		if r.IntN(3) == 0 && name != segments[len(segments)-1] { // without it, of the last nobody knows how many were lost
			patches, _ = s.wear(r, patches, at, indexOf(name))
		}
		d.Break(patches...)
		x := s.examine(d)
		c.add(x.tally)
		x.costs(t, fmt.Sprintf("%v of %v", d.Err, patches), lost...)
		if t.Failed() {
			break
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// F9, negative control: where such an error is none of a sector's, what is behind it can't
// be reached, and the judge sees it.
func TestF09SectorThatStopsReadersIsSeen(t *testing.T) {
	s := newSpecimen(t, 90, 40, false, nil)
	name := s.segments(shelves[0])[1]
	d := &crashfs.Worn{FS: s.clone(), Err: errors.ErrUnsupported}
	d.Break(crashfs.Patch{Suffix: name, From: 512, To: 1024})
	if x := s.examine(d); x.problem == "" {
		t.Errorf("not seen: %+v", x)
	}
}
