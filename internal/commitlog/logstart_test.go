package commitlog_test

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// isFullDisk is what a full disk answers: nothing can be made or written, and names can be
// changed.
func isFullDisk(c crashfs.Call) error {
	switch c.Op {
	case crashfs.WriteAt, crashfs.Create, crashfs.Allocate, crashfs.Mkdir:
		return syscall.ENOSPC
	}
	return nil
}

// forgetting are ways to free space, of a log with 36 offsets in 3 segments and more.
var forgetting = map[string]func(store.Partition) error{
	"retain by size": func(p store.Partition) error { _, err := p.Retain(store.Retention{Bytes: 3000}); return err },
	"retain by age": func(p store.Partition) error {
		_, err := p.Retain(store.Retention{Before: 1 << 50, Keep: 1 << 50})
		return err
	},
	"trim": func(p store.Partition) error { return p.Trim(20) },
}

func TestFullDiskIsNoReasonToKeepWhatMayGo(t *testing.T) {
	for name, forget := range forgetting {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, smallSegments())
			for range 3 { // the second time the name is used that the first has left
				r.fill(12)
				files1, start1 := len(files(t, r.disk, ".log")), r.startOffset()
				r.disk.SetHook(isFullDisk)
				forgetAgain := forget
				if start1 > 0 && name == "trim" {
					forgetAgain = func(p store.Partition) error { return p.Trim(start1 + 30) }
				}
				if err := forgetAgain(r); err != nil {
					t.Fatal(err)
				}
				if n := len(files(t, r.disk, ".log")); n >= files1 || r.startOffset() <= start1 {
					t.Fatalf("%d segments were there, %d are, from %d on", files1, n, r.startOffset())
				}
				start := r.startOffset()
				killed := r.disk.KillClone()
				sum, err := commitlog.Verify("/data", commitlog.Options{FS: killed}, func(f commitlog.Finding) { t.Error(f) })
				if err != nil || sum.Damaged > 0 {
					t.Errorf("-verify: %+v, %v", sum, err)
				}
				r.reopen(killed)
				if r.startOffset() != start {
					t.Fatalf("after a kill the log starts at %d, not %d", r.startOffset(), start)
				}
				r.reopen(r.disk.Crash(crashfs.Nothing()))
				if r.startOffset() != start {
					t.Fatalf("after a power cut the log starts at %d, not %d", r.startOffset(), start)
				}
				r.checkFrom(t)
			}
			if len(r.log.logged()) > 0 {
				t.Errorf("logged was %q", r.log.logged())
			}
			r.fill(1)
			if err := r.Trim(r.startOffset() + 1); err != nil {
				t.Fatal(err)
			}
			if left := files(t, r.disk, ".start"); len(left) > 0 {
				t.Errorf("with space again %q are left", left)
			}
			r.restart()
			r.checkFrom(t)
		})
	}
}

func (r *rig) startOffset() int64 {
	start, _ := r.Offsets()
	return start
}

// Whatever a crash leaves the log starts where it did or where it was to, and nothing from
// there on is missing.
func TestCrashAtAnyCallOfForgettingOnAFullDisk(t *testing.T) {
	for name, forget := range forgetting {
		t.Run(name, func(t *testing.T) {
			for n := int64(1); !t.Failed(); n++ {
				r := newRig(t, smallSegments())
				r.store.SetPointsEvery(time.Hour) // each call that is counted is one of these
				r.fill(12)
				_ = r.Trim(2) // there is a file that is older than the name to come
				var calls atomic.Int64
				r.disk.SetHook(func(c crashfs.Call) error {
					if calls.Add(1) == n {
						r.disk.Kill()
						return crashfs.ErrDead
					}
					return isFullDisk(c)
				})
				err := forget(r)
				was, died := r.startOffset(), calls.Load() >= n
				if err != nil && !died { // a call of the background may be the last, and err be nil
					t.Fatalf("call %d: %v", n, err)
				}
				for _, p := range policies(int(n)) {
					r.reopenFrom(r.disk.Crash(p))
					if got := r.startOffset(); err == nil && got != was {
						t.Errorf("call %d, %s: the log starts at %d, not %d", n, p.Name, got, was)
					}
					r.checkFrom(t)
					if r.log.says("missing") {
						t.Errorf("call %d, %s: %q", n, p.Name, r.log.logged())
					}
					r.store.Close()
				}
				if !died {
					return
				}
			}
		})
	}
}

// reopenFrom is reopen, with the store's own disk left as it is.
func (r *rig) reopenFrom(disk *crashfs.FS) {
	r.Helper()
	own := r.disk
	r.start(disk)
	r.connect()
	r.disk = own
}
