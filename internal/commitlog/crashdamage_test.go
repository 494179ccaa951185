package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/vfs/crashfs"
)

// Whenever the power is cut, and one batch that was acknowledged is damaged on top: all
// others are there, and that one is reported by its offsets. Only if it is the last one
// of its log it may be taken for a torn tail.
func TestPowerCutAndDamageAtAnyCallCostThatBatchOnly(t *testing.T) {
	tried := 0
	for _, w := range workloads {
		if w.syncEvery > 0 {
			continue // an answer does not mean that it is there
		}
		t.Run(w.name, func(t *testing.T) {
			w.eachCut(t, func(t *testing.T, n int, disk *crashfs.FS, ps *promises) {
				for i := range 2 {
					left := disk.Crash([]crashfs.Policy{crashfs.Nothing(), crashfs.Torn(uint64(n))}[i])
					what, err := ps.damage(left, n+i)
					if errors.Is(err, errNotThere) && w.journal > 0 {
						what, err = "", nil
					}
					if err == nil && what != "" {
						tried++
						err = ps.checkDisk(left)
					}
					ps.forgive()
					if err != nil {
						t.Errorf("power cut before call %d, then %s: %v", n, what, err)
					}
				}
			})
		})
	}
	if tried < 200/stride() {
		t.Errorf("only %d times was there something to damage", tried)
	}
}

// damage spoils a batch that must be on the disk, the n-th in a way, and notes that it
// may be lost. It says what it has done, nothing if there is no such batch.
func (ps *promises) damage(disk *crashfs.FS, n int) (what string, err error) {
	for _, topic := range slices.Sorted(maps.Keys(ps.topics)) {
		t := ps.topics[topic]
		if t.uncertain {
			continue
		}
		for i, l := range t.logs {
			var safe []int64
			for base, b := range l.batches {
				if base >= l.maxStart && batch.Batch(b).NextOffset() <= l.safe {
					safe = append(safe, base)
				}
			}
			if len(safe) == 0 || n%2 == 1 && topic == "orders" && len(ps.topics) > 1 {
				continue
			}
			slices.Sort(safe)
			base := safe[n/2%len(safe)]
			h := hole{base, batch.Batch(l.batches[base]).NextOffset(), false}
			kinds := slices.Sorted(maps.Keys(spoilers))
			kind := kinds[n%len(kinds)]
			l.lost, l.before = []hole{h}, &logNote{safe: l.safe, minStart: l.minStart}
			// A log start that the log has not reached any more, it seems, is not believed, and
			// what was trimmed may be missing.
			l.minStart, l.lost = 0, append(l.lost, hole{0, l.maxStart, false})
			if base == safe[len(safe)-1] {
				l.safe = base
			}
			what := fmt.Sprintf("%s of the batch at %d of %s/%d", kind, base, topic, i)
			return what, spoilIn(disk, fmt.Sprintf("/data/topics/%s/%d", topic, i), l.batches[base], spoilers[kind])
		}
	}
	return "", nil
}

// forgive takes back that something may be lost.
func (ps *promises) forgive() {
	for _, t := range ps.topics {
		for _, l := range t.logs {
			if l.before != nil {
				l.lost, l.safe, l.minStart, l.before = nil, l.before.safe, l.before.minStart, nil
			}
		}
	}
}

// errNotThere says that a batch is in no segment. It may be in the journal.
var errNotThere = errors.New("the acknowledged batch is in no file")

// spoilIn spoils a batch where it is in the segments of a directory.
func spoilIn(disk *crashfs.FS, dir string, b []byte, spoil func([]byte)) error {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, ".log") {
			continue
		}
		f, err := disk.Open(dir + "/" + e.Name)
		if err != nil {
			return err
		}
		defer f.Close()
		content := make([]byte, e.Size)
		if n, err := f.ReadAt(content, 0); int64(n) < e.Size {
			return err
		}
		if pos := bytes.Index(content, b); pos >= 0 {
			spoil(content[pos : pos+len(b)])
			if _, err := f.WriteAt(content[pos:pos+len(b)], int64(pos)); err != nil {
				return err
			}
			return f.Sync()
		}
	}
	return errNotThere
}
