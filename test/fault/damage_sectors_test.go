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
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
)

// A worn disk can't read some sectors of some files.
type worn struct {
	*crashfs.FS
	err   error
	blunt bool // nothing of a read comes that meets one
	bad   map[string][][2]int64
}

type wornFile struct {
	vfs.File
	disk *worn
	name string
}

func (d *worn) Open(name string) (vfs.File, error) {
	f, err := d.FS.Open(name)
	return &wornFile{f, d, name}, err
}

func (d *worn) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	return &wornFile{f, d, name}, err
}

func (f *wornFile) ReadAt(p []byte, pos int64) (int, error) {
	to, failed := pos+int64(len(p)), false
	for _, b := range f.disk.bad[f.name] {
		if b[0] < to && b[1] > pos {
			to, failed = max(pos, b[0]), true
		}
	}
	if !failed {
		return f.File.ReadAt(p, pos)
	}
	if f.disk.blunt {
		to = pos
	}
	n, err := f.File.ReadAt(p[:to-pos], pos)
	if err == nil {
		err = fmt.Errorf("read %s: %w", f.name, f.disk.err)
	}
	return n, err
}

// wear makes some sectors of a file unreadable and gives the batches that this costs.
func (s *specimen) wear(r *rand.Rand, d *worn, at shelf, name string) (lost []span) {
	content := s.files[name]
	for range 1 + r.IntN(2) {
		size := []int64{512, 4096}[r.IntN(2)]
		from := int64(r.IntN(len(content)+1)) / size * size
		if from+size >= int64(len(content)) && from == 0 {
			size, from = 512, 512 // else nothing of the segment is left to read
		}
		d.bad[name] = append(d.bad[name], [2]int64{from, from + size})
	}
	if !strings.HasSuffix(name, ".log") {
		return nil
	}
	pos := int64(0)
	for rest := content; ; {
		b, after, err := batch.Next(rest)
		if err != nil {
			return lost
		}
		end := pos + int64(len(b))
		if slices.ContainsFunc(d.bad[name], func(bad [2]int64) bool { return bad[0] < end && bad[1] > pos }) {
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
		d := &worn{FS: s.clone(), err: errs[r.IntN(len(errs))], blunt: r.IntN(2) == 0, bad: make(map[string][][2]int64)}
		lost := s.wear(r, d, at, name)
		if r.IntN(3) == 0 && name != segments[len(segments)-1] { // without it, of the last nobody knows how many were lost
			s.wear(r, d, at, indexOf(name))
		}
		x := s.examine(d)
		c.add(x.tally)
		x.costs(t, fmt.Sprintf("%v of %v", d.err, d.bad), lost...)
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
	d := &worn{FS: s.clone(), err: errors.ErrUnsupported, bad: map[string][][2]int64{name: {{512, 1024}}}}
	if x := s.examine(d); x.problem == "" {
		t.Errorf("not seen: %+v", x)
	}
}
