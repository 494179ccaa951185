package fault

import (
	"bytes"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// journalBytes leaves each file 15 small rounds.
const journalBytes = 256 << 10

// newJournalSpecimen is newSpecimen with all logs at once, so that a journal holds a part of them. end
// ends the process, and gives its disk.
func newJournalSpecimen(t *testing.T, seed uint64, batches int, end func(*crashfs.FS) *crashfs.FS) *specimen {
	t.Helper()
	s := &specimen{logs: make(map[shelf][]kept), journal: journalBytes}
	disk := crashfs.New()
	points := newPointWatch(disk)
	st, err := commitlog.Open(specimenRoot, commitlog.Options{FS: disk, SegmentBytes: segmentBytes, JournalBytes: journalBytes})
	if err != nil {
		t.Fatal(err)
	}
	for topic, partitions := range map[string]int{"orders": 2, "bills": 1} {
		if _, err := st.CreateTopic(topic, partitions, ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range batches {
		var answers sync.WaitGroup
		for _, at := range shelves {
			s.appendSoon(t, st, at, rand.New(rand.NewPCG(seed, uint64(i))), &answers)
		}
		answers.Wait()
	}
	// Damage to what was synced, and lies behind the recovery point, is a torn tail.
	brokertest.Await(t, patience, "the recovery points are written", points.areWritten)
	s.disk = end(disk)
	st.Close()
	s.files = allFiles(t, s.clone(), specimenRoot)
	return s
}

// appendSoon is append, and does not wait for the answer.
func (s *specimen) appendSoon(t *testing.T, st store.Store, at shelf, r *rand.Rand, answers *sync.WaitGroup) {
	t.Helper()
	p, err := st.Partition(at.topic, at.partition)
	if err != nil {
		t.Fatal(err)
	}
	stamped := someRecords(at, r)
	answers.Add(1)
	err = store.Append(p, stamped, func(_ int64, err error) {
		if err != nil {
			t.Error(err)
		}
		answers.Done()
	})
	if err != nil {
		t.Fatal(err)
	}
	one := batch.Batch(bytes.Clone(stamped))
	s.logs[at] = append(s.logs[at], kept{one.BaseOffset(), one.NextOffset(), one})
}

// A pointWatch knows which segments were synced since their recovery point was written.
type pointWatch struct {
	mu     sync.Mutex
	behind map[string]bool
}

func newPointWatch(disk *crashfs.FS) *pointWatch {
	w := &pointWatch{behind: make(map[string]bool)}
	disk.SetHook(func(c crashfs.Call) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		stem := strings.TrimSuffix(c.Name, path.Ext(c.Name))
		switch {
		case c.Op == crashfs.Sync && path.Ext(c.Name) == ".log":
			w.behind[stem] = true
		case c.Op == crashfs.WriteAt && path.Ext(c.Name) == ".index" && c.Pos == 0:
			delete(w.behind, stem)
		}
		return nil
	})
	return w
}

func (w *pointWatch) areWritten() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.behind) == 0
}

// written is how much of a file of the journal has been written to, in bytes.
func written(content []byte) int { return len(bytes.TrimRight(content, "\x00")) }

// mangleWritten is mangle for the part of a journal file that has been written to.
func mangleWritten(r *rand.Rand, content []byte) (how string, p []byte) {
	n := written(content)
	if n == 0 {
		return "missing", nil
	}
	how, p = mangle(r, content[:n], content[:n])
	if p != nil && !strings.HasPrefix(how, "cut off") {
		p = append(p, content[min(len(p), len(content)):]...)
	}
	return how, p
}

// isOfJournal tells what -verify says about the journal.
func isOfJournal(f commitlog.Finding) bool { return isJournal(f.File) || f.Topic == "" }
