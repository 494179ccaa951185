package commitlog_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
)

// newHealingRig is a rig whose log is healed with the next append.
func newHealingRig(t *testing.T, o commitlog.Options) *rig {
	r := &rig{T: t, disk: crashfs.New(), options: o}
	r.start(r.disk)
	r.store.SetHealAfter(0)
	if _, err := r.store.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	r.connect()
	t.Cleanup(func() { r.store.Close() })
	return r
}

func newHealingRigOnAWornDisk(t *testing.T) (*rig, *crashfs.Worn) {
	r := &rig{T: t, disk: crashfs.New(), log: new(recorder)}
	d := &crashfs.Worn{FS: r.disk, Err: syscall.EIO}
	r.options = commitlog.Options{FS: d, Log: r.log.logger(), SegmentBytes: 1 << 20}
	s, err := commitlog.Open("/data", r.options)
	if err != nil {
		t.Fatal(err)
	}
	s.SetHealAfter(0)
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	r.store = s
	r.connect()
	t.Cleanup(func() { r.store.Close() })
	return r, d
}

// fails appends, and says that it was not acknowledged.
func (r *rig) fails() {
	r.Helper()
	answers := make(chan error, 1)
	err := store.Append(r, r.Batch(3, 200), func(_ int64, err error) { answers <- err })
	if err == nil {
		err = wait(r.T, answers, "the answer")
	}
	if !errors.Is(err, store.ErrFailed) {
		r.Fatalf("an append that can't be synced: %v, want %v", err, store.ErrFailed)
	}
}

// A failed sync, or write, does not end a log until the next start: what was acknowledged is
// copied, and no more. The old file is never synced again.
func TestALogGoesOnAfterAFailedSync(t *testing.T) {
	for _, op := range []crashfs.Op{crashfs.Sync, crashfs.WriteAt} {
		for _, before := range []int{0, 1, 7} { // 0: nothing of the file is durable
			r := newHealingRig(t, oneSegment())
			for range 3 { // it may happen again
				r.fill(before)
				failAll(r, op)
				r.fails()
				r.disk.SetHook(nil)
				r.holdsStored() // readers go on with what was visible
				r.fill(2)
				r.holdsStored()
			}
			if logs := files(t, r.disk, ""); len(logs) != 2 {
				t.Errorf("left are %q", logs)
			}
			r.reopen(r.disk.Crash(crashfs.Nothing()))
			r.holdsStored()
			r.goesOn()
		}
	}
}

// As long as the disk takes nothing the log refuses, and readers go on.
func TestALogIsHealedWhenTheDiskTakesSomethingAgain(t *testing.T) {
	r := newHealingRig(t, smallSegments())
	r.fill(6)
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 5 {
		r.fails()
		r.holdsStored()
		if left := files(t, r.disk, ".tmp"); len(left) > 0 {
			t.Errorf("a copy that failed takes space: %q", left)
		}
	}
	r.disk.SetHook(nil)
	r.fill(6)
	r.holdsStored()
	r.goesOn()
}

// What an interval has let be acknowledged is still in memory, and is copied, too.
func TestAHealedLogKeepsWhatWasAcknowledgedBeforeTheSync(t *testing.T) {
	r := newHealingRig(t, commitlog.Options{SyncEvery: time.Hour})
	r.fill(5)
	failAll(r, crashfs.Sync)
	if err := wait(t, r.ask(), "the sync"); !errors.Is(err, store.ErrFailed) {
		t.Fatalf("the sync: %v", err)
	}
	r.disk.SetHook(nil)
	r.fill(1)
	if err := wait(t, r.ask(), "the sync after it was healed"); err != nil {
		t.Fatal(err)
	}
	r.reopen(r.disk.Crash(crashfs.Nothing()))
	r.holdsStored()
}

// The system may have dropped what it could not write. Then it is gone, and the log must not
// go on as if it were there.
func TestALogIsNotHealedWithoutWhatWasAcknowledged(t *testing.T) {
	r := newHealingRig(t, commitlog.Options{SyncEvery: time.Hour})
	r.fill(5)
	failAll(r, crashfs.Sync)
	_ = wait(t, r.ask(), "the sync")
	r.disk.SetHook(nil)
	content := readFile(t, r.disk, activeLog)
	content[len(bytesOf(r.stored[:4]))+100] ^= 1
	f, err := r.disk.Open(activeLog)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	r.refuses(store.ErrFailed, r.Batch(1, 10))
	if !r.log.says("damaged") {
		t.Errorf("logged was %q", r.log.logged())
	}
}

// Of the old file and the new one a crash leaves one, whole.
func TestCrashAtAnyCallOfHealingLosesNothing(t *testing.T) {
	for n := int64(1); !t.Failed(); n++ {
		r := newHealingRig(t, smallSegments())
		r.fill(6)
		failAll(r, crashfs.Sync)
		r.fails()
		calls := killAt(r.disk, n)
		_, err := store.AppendAndWait(r.Partition, r.Batch(3, 200))
		acknowledged := err == nil
		died := calls.Load() >= n
		if err != nil && !died {
			t.Fatalf("call %d: %v", n, err)
		}
		for _, p := range policies(int(n)) {
			disk := r.disk.Crash(p)
			r.reopenFrom(disk)
			list, err := storetest.ReadAll(r.Partition, 1<<20)
			if err != nil || len(list) < 6 || acknowledged && len(list) < 7 {
				t.Errorf("call %d, %s: %d batches are left of 6: %v", n, p.Name, len(list), err)
			}
			sameBatches(t, list[:min(6, len(list))], r.stored)
			if left := files(t, disk, ".tmp"); len(left) > 0 {
				t.Errorf("call %d, %s: left is %q", n, p.Name, left)
			}
			r.store.Close()
		}
		if !died {
			return
		}
	}
}

// The same with a kill: the next process must not rely on the new file before its name is durable.
func TestAKillWhileALogHealsLosesNothing(t *testing.T) {
	for n := int64(1); !t.Failed(); n++ {
		r := newHealingRig(t, oneSegment())
		r.fill(6)
		failAll(r, crashfs.Sync)
		r.fails()
		calls := killAt(r.disk, n)
		_, _ = store.AppendAndWait(r.Partition, r.Batch(3, 200))
		if calls.Load() < n {
			return
		}
		r.reopen(r.disk.KillClone())
		shown, err := storetest.ReadAll(r.Partition, 1<<20)
		if err != nil || len(shown) < 6 {
			t.Fatalf("call %d: %d batches are shown after the kill: %v", n, len(shown), err)
		}
		r.stored = shown
		r.fill(1)
		r.reopen(r.disk.Crash(crashfs.Nothing()))
		r.holdsStored()
	}
}

// Each attempt takes a copy: they come further and further apart.
func TestHealingIsNotTriedAllTheTime(t *testing.T) {
	r := newRig(t, oneSegment())
	r.store.SetHealAfter(20 * time.Millisecond)
	if _, err := r.store.CreateTopic("billing", 1, ""); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.Partition, err = r.store.Partition("billing", 0); err != nil {
		t.Fatal(err)
	}
	var copies atomic.Int64
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Create && strings.HasSuffix(c.Name, ".tmp") {
			copies.Add(1)
		}
		if c.Op == crashfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	r.fails()
	for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
		r.refuses(store.ErrFailed, r.Batch(1, 10))
	}
	if n := copies.Load(); n < 1 || n > 4 { // after 20, 60, 140 ms
		t.Errorf("%d attempts within 200 ms", n)
	}
}

// An index that is lost, or can't be read, is no reason to give up the log: it is built again.
func TestALogIsHealedWhateverHasBecomeOfItsIndex(t *testing.T) {
	index := strings.TrimSuffix(activeLog, ".log") + ".index"
	for name, spoil := range map[string]func(r *rig, d *crashfs.Worn){
		"unreadable":      func(_ *rig, d *crashfs.Worn) { d.Break(crashfs.Patch{Suffix: ".index", To: 1 << 40}) },
		"can't be opened": func(_ *rig, d *crashfs.Worn) { d.Break(crashfs.Patch{Suffix: ".index", To: 1 << 40, Open: true}) },
		"removed":         func(r *rig, _ *crashfs.Worn) { r.removeFile(r.disk, index) },
		"emptied":         func(r *rig, _ *crashfs.Worn) { writeFile(r.T, r.disk, index, nil) },
		"damaged": func(r *rig, _ *crashfs.Worn) {
			content := readFile(r.T, r.disk, index)
			content[20] ^= 1
			writeFile(r.T, r.disk, index, content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, d := newHealingRigOnAWornDisk(t)
			r.fill(60)
			if !commitlog.IsAtRecoveryPoint(r.Partition) { // waits for the writing of the recovery point
				t.Fatal("the recovery point is not at the end")
			}
			spoil(r, d)
			failAll(r, crashfs.Sync)
			r.fails()
			r.disk.SetHook(nil)
			r.fill(60)
			r.holdsStored()
			d.Break()
			r.reopen(r.disk.Crash(crashfs.Nothing()))
			r.holdsStored()
			r.goesOn()
		})
	}
}

// A new segment whose name can't be made durable is removed, and the next append begins it again:
// nothing is in it.
func TestALogBeginsASegmentAgainWhoseNameCouldNotBeSynced(t *testing.T) {
	for _, reason := range []error{syscall.EIO, syscall.ENOSPC} {
		r := newRig(t, smallSegments())
		r.disk.SetHook(func(c crashfs.Call) error {
			if c.Op == crashfs.SyncDir {
				return reason
			}
			return nil
		})
		r.fill(4)
		for range 3 {
			r.refuses(reason, r.Batch(3, 200))
			r.holdsStored()
		}
		r.disk.SetHook(nil)
		r.fill(6)
		if logs := files(t, r.disk, ".log"); len(logs) != 3 {
			t.Errorf("segments are %q", logs)
		}
		r.goesOn()
	}
}
