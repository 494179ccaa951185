package fault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// segmentBytes is the size of a specimen's segments: a handful of batches.
const segmentBytes = 3 << 10

// specimenRoot is the data directory in memory.
const specimenRoot = "/data"

// A specimen is a data directory in memory that is damaged again and again, and
// what its logs hold. Its topics "orders", of two partitions, and "bills" have been
// given the same records at the same offsets, but for the names in their texts, so
// that the files of one fit the other in all but what they say.
type specimen struct {
	disk  *crashfs.FS       // as it was when the process ended, to be cloned
	files map[string][]byte // its files by name
	logs  map[shelf][]kept  // what was acknowledged

	journal int64 // bytes of the store's journal; 0 for none
}

// A shelf is a partition of a topic.
type shelf struct {
	topic     string
	partition int
}

var shelves = []shelf{{"orders", 0}, {"orders", 1}, {"bills", 0}}

func (s shelf) dir() string {
	return path.Join(specimenRoot, "topics", s.topic, string(rune('0'+s.partition)))
}

// A kept batch is one that was acknowledged, as readers see it.
type kept struct {
	base, next int64
	bytes      []byte
}

// newSpecimen fills the logs with so many batches, and closes the store or kills its
// process. snapshot, if not nil, is called with the files after each batch.
func newSpecimen(t *testing.T, seed uint64, batches int, kill bool, snapshot func(files map[string][]byte)) *specimen {
	t.Helper()
	s := &specimen{logs: make(map[shelf][]kept)}
	disk := crashfs.New()
	st, err := commitlog.Open(specimenRoot, commitlog.Options{FS: disk, SegmentBytes: segmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	for topic, partitions := range map[string]int{"orders": 2, "bills": 1} {
		if _, err := st.CreateTopic(topic, partitions, ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range batches {
		for _, at := range shelves {
			s.append(t, st, at, rand.New(rand.NewPCG(seed, uint64(i))))
		}
		if snapshot != nil {
			snapshot(allFiles(t, disk, specimenRoot))
		}
	}
	s.awaitMarks(t, disk)
	if !kill {
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.disk = disk.KillClone()
	st.Close()
	live := s.clone()
	s.files = allFiles(t, live, specimenRoot)
	return s
}

// awaitMarks waits until the recovery points, which are written after the answers, say
// what was acknowledged: damage behind them is a torn tail.
func (s *specimen) awaitMarks(t *testing.T, disk *crashfs.FS) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, at := range shelves {
		for {
			files := allFiles(t, disk, specimenRoot)
			header := files[indexOf(last(segmentsIn(files, at)))]
			if int64(binary.BigEndian.Uint64(header[24:])) == last(s.logs[at]).next {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the recovery point of %+v is never written", at)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// append appends a batch of a few records, the same for each shelf but for the
// letters in its texts.
func (s *specimen) append(t *testing.T, st store.Store, at shelf, r *rand.Rand) {
	t.Helper()
	p, err := st.Partition(at.topic, at.partition)
	if err != nil {
		t.Fatal(err)
	}
	one := batch.Batch(someRecords(at, r))
	if _, err := store.AppendAndWait(p, one); err != nil {
		t.Fatal(err)
	}
	s.logs[at] = append(s.logs[at], kept{one.BaseOffset(), one.NextOffset(), one})
}

// someRecords is a batch of a few records.
func someRecords(at shelf, r *rand.Rand) []byte {
	var b batch.Builder
	for range 1 + r.IntN(4) {
		text := make([]byte, r.IntN(250))
		for i := range text {
			text[i] = 'a' + byte(r.IntN(25)) + byte(slices.Index(shelves, at))%2
		}
		b.Add(1_700_000_000_000+r.Int64N(1000), []byte(at.topic[:1]), text)
	}
	b.Close(0)
	return bytes.Clone(b.Bytes())
}

// clone is a copy to be damaged.
func (s *specimen) clone() *crashfs.FS { return s.disk.KillClone() }

// segments names the segment files of a shelf, ascending; the last is active.
func (s *specimen) segments(at shelf) []string { return segmentsIn(s.files, at) }

func segmentsIn(files map[string][]byte, at shelf) (names []string) {
	for name := range files {
		if path.Dir(name) == at.dir() && strings.HasSuffix(name, ".log") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func indexOf(segment string) string { return strings.TrimSuffix(segment, ".log") + ".index" }

// allFiles reads all files below dir.
func allFiles(t testing.TB, disk *crashfs.FS, dir string) map[string][]byte {
	t.Helper()
	list, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, e := range list {
		name := path.Join(dir, e.Name)
		if e.Dir {
			for name, content := range allFiles(t, disk, name) {
				files[name] = content
			}
			continue
		}
		f, err := disk.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		content := make([]byte, e.Size)
		if n, err := f.ReadAt(content, 0); n < len(content) {
			t.Fatal(err)
		}
		f.Close()
		files[name] = content
	}
	return files
}

// put gives a file this content, whether it is there or not.
func put(t testing.TB, disk *crashfs.FS, name string, content []byte) {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		f, err = disk.Create(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Truncate(0)
	if err == nil && len(content) > 0 {
		_, err = f.WriteAt(content, 0)
	}
	if err = errors.Join(err, f.Sync(), disk.SyncDir(path.Dir(name))); err != nil {
		t.Fatal(err)
	}
}

// drop removes a file.
func drop(t testing.TB, disk *crashfs.FS, name string) {
	t.Helper()
	if err := errors.Join(disk.Remove(name), disk.SyncDir(path.Dir(name))); err != nil {
		t.Fatal(err)
	}
}

// flip is content with one bit changed.
func flip(content []byte, bit int) []byte {
	p := bytes.Clone(content)
	p[bit/8] ^= 1 << (bit % 8)
	return p
}

// materialize writes the files of a disk into a directory of the system, for a
// broker process.
func materialize(t testing.TB, disk *crashfs.FS, dir string) {
	t.Helper()
	for name, content := range allFiles(t, disk, specimenRoot) {
		name = filepath.Join(dir, strings.TrimPrefix(name, specimenRoot))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"topics", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
