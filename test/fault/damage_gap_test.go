package fault

import (
	"fmt"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// F13. Segments are missing, in the middle, at the beginning or at the end, with or
// without their indexes: an explicit gap, and their offsets are not given to others.
// Of the last one the index has to be left: nothing else knows of it.
func TestF13MissingSegments(t *testing.T) {
	var c tally
	for seed := range uint64(runs(4, 60)) {
		s := newSpecimen(t, seed, 20+int(seed)%15, seed%2 == 0, nil)
		for _, at := range shelves {
			segments := s.segments(at)
			for from := range segments {
				for to := from + 1; to <= len(segments); to++ {
					for _, indexed := range []bool{true, false} {
						if indexed || to < len(segments) {
							c.add(s.without(t, at, segments[from:to], indexed))
						}
					}
				}
			}
		}
	}
	report(t, c)
	c.mustKeep(t)
}

// without takes segments away.
func (s *specimen) without(t *testing.T, at shelf, segments []string, indexed bool) tally {
	t.Helper()
	var want []span
	disk := s.clone()
	for _, name := range segments {
		want = append(want, batchesFrom(at, logOf(s.files[name]), -1)...)
		drop(t, disk, name)
		if !indexed {
			drop(t, disk, indexOf(name))
		}
	}
	x := s.examine(disk)
	what := fmt.Sprintf("without %q, with their indexes %v", segments, indexed)
	x.costs(t, what, want...)
	s.goesOn(t, disk.KillClone(), at, what)
	return x.tally
}

// goesOn opens a directory that has been opened before, and says that what is
// appended gets an offset that nothing had before.
func (s *specimen) goesOn(t *testing.T, disk vfs.FS, at shelf, what string) {
	t.Helper()
	st, err := commitlog.Open(specimenRoot, commitlog.Options{FS: disk, SegmentBytes: segmentBytes})
	if err != nil {
		t.Errorf("%s, opened again: %v", what, err)
		return
	}
	defer st.Close()
	p, err := st.Partition(at.topic, at.partition)
	if err != nil {
		t.Fatal(err)
	}
	var b batch.Builder
	b.Add(1, nil, []byte("more"))
	b.Close(0)
	base, err := store.AppendAndWait(p, b.Bytes())
	if before := last(s.logs[at]).next; err != nil || base < before {
		t.Errorf("%s: the next record gets offset %d, %v; up to %d were given before", what, base, err, before)
	}
}
