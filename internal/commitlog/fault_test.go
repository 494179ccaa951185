package commitlog_test

import (
	"sync/atomic"
	"syscall"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/commitlog/crashfs"
)

// One call fails, the process goes on as well as it can and ends, and either the
// next process finds the files as they are, or the power has failed meanwhile.
func TestErrorAtAnyCallLosesNothingAcknowledged(t *testing.T) {
	for _, w := range workloads {
		for _, fault := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			t.Run(w.name+", "+fault.Error(), func(t *testing.T) {
				for n := int64(1); !t.Failed(); n++ {
					disk, j, failed := w.runWithError(n, fault)
					if err := j.checkDisk(disk.KillClone()); err != nil {
						t.Errorf("error at call %d, then a restart: %v", n, err)
					}
					for _, p := range []crashfs.Policy{crashfs.Nothing(), crashfs.Torn(uint64(n))} {
						if err := j.checkDisk(disk.Crash(p)); err != nil {
							t.Errorf("error at call %d, then a power cut, %s: %v", n, p.Name, err)
						}
					}
					if !failed {
						return
					}
				}
			})
		}
	}
}

// runWithError runs the workload with an error at its n-th mutating call.
func (w workload) runWithError(n int64, fault error) (disk *crashfs.FS, j *journal, failed bool) {
	disk, j = crashfs.New(), newJournal()
	var calls atomic.Int64
	disk.SetHook(func(crashfs.Call) error {
		if calls.Add(1) == n {
			return fault
		}
		return nil
	})
	s, err := commitlog.Open("/data", commitlog.Options{FS: disk, SegmentBytes: segmentBytes, SyncEvery: w.syncEvery})
	if err == nil {
		c := newClient(s, j)
		c.acknowledges = w.syncEvery == 0
		_ = w.run(c) // its errors are those of the call
		s.Close()
	}
	return disk, j, calls.Load() >= n
}
