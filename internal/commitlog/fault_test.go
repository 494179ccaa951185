package commitlog_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A fault is what goes wrong from some mutating call on: it says with what error
// the call that is number n from there, from 0, fails.
type fault struct {
	name string
	err  func(n int64, c crashfs.Call) error
	heal time.Duration // after this long logs are healed
}

// failing fails calls of a kind from the first one on, so many calls long.
func failing(calls int64, err error, is func(crashfs.Call) bool) func(int64, crashfs.Call) error {
	return func(n int64, c crashfs.Call) error {
		if n < calls && is(c) {
			return err
		}
		return nil
	}
}

// inJournal tells the calls on the journal.
func inJournal(c crashfs.Call) bool { return strings.HasPrefix(c.Name, "/data/journal") }

// journalFaults are those of stores with a journal.
var journalFaults = []fault{
	{"the journal can't be written for a while", failing(30, syscall.EIO, inJournal), 0},
	{"no space for the journal", failing(1<<40, syscall.ENOSPC, func(c crashfs.Call) bool { return inJournal(c) && noSpace(c) != nil }), 0},
	{"syncs of the journal fail for a while", failing(30, syscall.EIO, func(c crashfs.Call) bool { return inJournal(c) && c.Op == crashfs.Sync }), 0},
	{"syncs of segments fail for a while, healed at once", failing(15, syscall.EIO, func(c crashfs.Call) bool { return isLog(c) && c.Op == crashfs.Sync }), 0},
	{"syncs of segments fail for a while", failing(40, syscall.EIO, func(c crashfs.Call) bool { return isLog(c) && c.Op == crashfs.Sync }), time.Hour},
	{"nothing can be synced for a while, healed at once", failing(20, syscall.EIO, func(c crashfs.Call) bool { return c.Op == crashfs.Sync || c.Op == crashfs.SyncDir }), 0},
}

func once(err error) func(int64, crashfs.Call) error {
	return func(n int64, _ crashfs.Call) error {
		if n > 0 {
			return nil
		}
		return err
	}
}

var faults = []fault{
	{"input/output error", once(syscall.EIO), time.Hour},
	{"input/output error, healed at once", once(syscall.EIO), 0},
	{"syncs of logs fail for a while, healed at once", func(n int64, c crashfs.Call) error {
		if n < 15 && c.Op == crashfs.Sync && !strings.HasSuffix(c.Name, ".index") {
			return syscall.ENOSPC
		}
		return nil
	}, 0},
	{"no space, once", once(syscall.ENOSPC), time.Hour},
	{"no space from then on", func(_ int64, c crashfs.Call) error { return noSpace(c) }, time.Hour},
	{"no space for a while", func(n int64, c crashfs.Call) error {
		if n > 7 {
			return nil
		}
		return noSpace(c)
	}, time.Hour},
	{"short writes for a while", func(n int64, c crashfs.Call) error {
		if n > 7 || noSpace(c) == nil {
			return nil
		}
		if c.Op == crashfs.WriteAt && c.Pos == 0 && strings.HasSuffix(c.Name, ".index") {
			return syscall.ENOSPC // a header lies within a sector, which is written whole or not at all
		}
		return &crashfs.ShortWrite{N: c.Len / 2, Err: syscall.ENOSPC}
	}, time.Hour},
}

// Calls fail, the process goes on as well as it can and ends, and either the
// next process finds the files as they are, or the power has failed meanwhile.
func TestErrorAtAnyCallLosesNothingAcknowledged(t *testing.T) {
	brokertest.Slow(t)
	for _, w := range workloads {
		list, step := faults, int64(stride())
		if w.journal > 0 {
			list, step = slices.Concat(faults, journalFaults), 5*step
		}
		for _, f := range list {
			t.Run(w.name+", "+f.name, func(t *testing.T) {
				for n := int64(1); !t.Failed(); n += step {
					disk, ps, failed, err := w.runWith(f, n)
					if err != nil {
						t.Errorf("error at call %d, the store while it is open: %v", n, err)
					}
					if err := ps.checkDisk(disk.KillClone()); err != nil {
						t.Errorf("error at call %d, then a restart: %v", n, err)
					}
					p := crashfs.Torn(uint64(n))
					if err := ps.checkDisk(disk.Crash(p)); err != nil {
						t.Errorf("error at call %d, then a power cut, %s: %v", n, p.Name, err)
					}
					if !failed {
						return
					}
				}
			})
		}
	}
}

// runWith runs the workload to its end, with a fault from its n-th mutating call
// on, and says what was wrong with the store before it was closed.
func (w workload) runWith(f fault, n int64) (disk *crashfs.FS, ps *promises, failed bool, problem error) {
	disk, ps = crashfs.New(), newPromises()
	var calls atomic.Int64
	disk.SetHook(func(c crashfs.Call) error {
		if i := calls.Add(1); i >= n {
			if err := f.err(i-n, c); err != nil {
				return err
			}
		}
		for _, h := range w.hooks {
			if err := h(c); err != nil {
				return err
			}
		}
		return nil
	})
	c, err := w.client(disk, ps, f.heal)
	if err == nil {
		c.stubborn = true
		_ = w.run(c)
		c.Close()
		problem = c.problem
	}
	return disk, ps, calls.Load() >= n, problem
}
