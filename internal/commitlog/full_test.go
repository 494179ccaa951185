package commitlog_test

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// noSpace is what a full disk answers to a call that needs space; it syncs.
func noSpace(c crashfs.Call) error {
	if c.Op == crashfs.Sync || c.Op == crashfs.SyncDir || c.Op == crashfs.Remove {
		return nil
	}
	return syscall.ENOSPC
}

func TestFullDiskRefusesAtOnceAndResumesWithSpace(t *testing.T) {
	r := newRig(t, oneSegment())
	for range 3 {
		r.fill(3)
		r.disk.SetHook(noSpace)
		for range 3 {
			r.refuses(store.ErrFull, r.Batch(3, 200))
		}
		r.holdsStored()
		r.disk.SetHook(nil)
	}
	r.goesOn()
}

// A batch that the disk took whole before it was full must not come back, as its
// producer got an error for it.
func TestFullDiskLeavesNothingOfWhatWasRefused(t *testing.T) {
	var m batchtest.Maker
	first, second := m.Batch(3, 200), m.Batch(3, 200)
	for _, n := range []int{1, len(first) - 1, len(first), len(first) + 1, len(first) + len(second)} {
		r := newRig(t, oneSegment())
		r.fill(2)
		r.disk.SetHook(shortWrites(n))
		r.refuses(store.ErrFull, first, second)
		r.disk.SetHook(nil)
		r.holdsStored()
		r.reopen(r.disk.KillClone())
		r.holdsStored()
		r.goesOn()
	}
}

// The same with something appended over it that is as long as its first batch.
func TestFullDiskLeavesNothingBehindALaterAppend(t *testing.T) {
	for _, truncates := range []bool{true, false} {
		r := newRig(t, oneSegment())
		r.fill(2)
		r.disk.SetHook(fullAfter(1<<20, truncates))
		r.refuses(store.ErrFull, r.Batch(3, 200), r.Batch(3, 200), r.Batch(3, 200))
		r.disk.SetHook(nil)
		r.fill(1)
		r.holdsStored()
		r.reopen(r.disk.KillClone())
		r.holdsStored()
		r.goesOn()
	}
}

// The same where the next append goes into another segment, whatever a power cut
// keeps of what was not synced.
func TestFullDiskLeavesNothingInACompleteSegment(t *testing.T) {
	for _, truncates := range []bool{true, false} {
		for seed := range uint64(20) {
			r := newRig(t, smallSegments())
			r.fill(2)
			r.disk.SetHook(fullAfter(1<<20, truncates))
			r.refuses(store.ErrFull, r.Batch(3, 200), r.Batch(1, 200))
			r.disk.SetHook(nil)
			r.append(r.Batch(1, segmentBytes))
			r.holdsStored()
			r.reopen(r.disk.Crash(crashfs.Some(seed)))
			r.holdsStored()
			r.goesOn()
		}
	}
}

// shortWrites has writes to segments end after n bytes because of a full disk.
func shortWrites(n int) crashfs.Hook {
	return func(c crashfs.Call) error {
		if c.Op == crashfs.WriteAt && isLog(c) {
			return &crashfs.ShortWrite{N: n, Err: syscall.ENOSPC}
		}
		return nil
	}
}

// fullAfter is shortWrites where truncates may fail, too.
func fullAfter(n int, truncates bool) crashfs.Hook {
	short := shortWrites(n)
	return func(c crashfs.Call) error {
		if c.Op == crashfs.Truncate && !truncates {
			return syscall.ENOSPC
		}
		return short(c)
	}
}

// failNth fails the n-th call that needs space from now on, and reports whether
// it came.
func failNth(disk *crashfs.FS, n int64) *atomic.Bool { return failNthOf(disk, n, noSpace) }

// failNthOf fails the n-th call that h fails.
func failNthOf(disk *crashfs.FS, n int64, h crashfs.Hook) *atomic.Bool {
	var calls atomic.Int64
	failed := new(atomic.Bool)
	disk.SetHook(func(c crashfs.Call) error {
		err := h(c)
		if err == nil || calls.Add(1) != n {
			return nil
		}
		failed.Store(true)
		return err
	})
	return failed
}

func TestFullDiskAtAnyCallOfABeginningSegment(t *testing.T) {
	for n := int64(1); ; n++ {
		r := newRig(t, smallSegments())
		r.fill(3)
		failed := failNth(r.disk, n)
		large := r.Batch(1, segmentBytes)
		done := make(chan answer, 1)
		err := store.Append(r, large, func(base int64, err error) { done <- answer{base, err} })
		if err == nil { // the call that failed was none that matters
			if a := wait(t, done, "the answer"); a.err != nil {
				t.Fatalf("call %d: answered %v", n, a.err)
			}
			stamped, _ := batchtest.Split(large)
			r.stored = append(r.stored, stamped...)
		} else if !errors.Is(err, store.ErrFull) {
			t.Fatalf("call %d: append: %v, want ErrFull", n, err)
		}
		r.disk.SetHook(nil)
		t.Logf("call %d: append: %v", n, err)
		r.holdsStored()
		r.fill(5)
		r.holdsStored()
		r.goesOn()
		if !failed.Load() {
			if n < 4 {
				t.Errorf("a new segment takes only %d calls", n)
			}
			return
		}
	}
}

func TestFullDiskAtAnyCallOfATopicBeingMade(t *testing.T) {
	for n := int64(1); ; n++ {
		r := newRig(t, oneSegment())
		failed := failNth(r.disk, n)
		_, err := r.store.CreateTopic("billing", 2, "")
		r.disk.SetHook(nil)
		if !failed.Load() {
			if err != nil || n < 6 {
				t.Errorf("a topic takes %d calls: %v", n, err)
			}
			return
		}
		if err != nil {
			if !errors.Is(err, store.ErrFull) {
				t.Fatalf("call %d: %v, want ErrFull", n, err)
			}
			if _, err := r.store.CreateTopic("billing", 2, ""); err != nil {
				t.Fatalf("call %d failed, with space again: %v", n, err)
			}
		}
		r.restart()
		if list := r.store.Topics(); len(list) != 2 || list[0].Name != "billing" || list[0].Partitions != 2 {
			t.Fatalf("call %d: topics are %v", n, list)
		}
	}
}

func TestFullDiskAtAnyCallOfATopicBeingAltered(t *testing.T) {
	for name, alter := range map[string]func(*rig) error{
		"grow":      func(r *rig) error { _, err := r.store.AddPartitions("orders", 3); return err },
		"configure": func(r *rig) error { return r.store.Configure("orders", `{"a":"1"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			for n := int64(1); ; n++ {
				r := newRig(t, oneSegment())
				failed := failNth(r.disk, n)
				err := alter(r)
				r.disk.SetHook(nil)
				if err != nil {
					if !errors.Is(err, store.ErrFull) {
						t.Fatalf("call %d: %v, want ErrFull", n, err)
					}
					if got := r.store.Topics()[0]; got.Partitions != 1 || got.Config != "" {
						t.Fatalf("call %d failed, and the topic is %+v", n, got)
					}
					if err := alter(r); err != nil {
						t.Fatalf("call %d failed, with space again: %v", n, err)
					}
				}
				r.fill(3)
				r.reopen(r.disk.Crash(crashfs.Nothing()))
				r.holdsStored()
				if got := r.store.Topics()[0]; got.Partitions != 3 && got.Config != `{"a":"1"}` {
					t.Fatalf("call %d: the topic is %+v", n, got)
				}
				if !failed.Load() {
					if n < 4 {
						t.Errorf("it takes only %d calls", n)
					}
					return
				}
			}
		})
	}
}

func TestFullDiskAtAnyCallOfForgetting(t *testing.T) {
	for name, forget := range map[string]func(*rig) error{
		"trim":   func(r *rig) error { return r.Trim(15) },
		"retain": func(r *rig) error { _, err := r.Retain(store.Retention{Bytes: 3000}); return err },
		"delete": func(r *rig) error { return r.store.DeleteTopic("billing") },
	} {
		t.Run(name, func(t *testing.T) {
			for n := int64(1); ; n++ {
				r := newRig(t, smallSegments())
				if _, err := r.store.CreateTopic("billing", 1, ""); err != nil {
					t.Fatal(err)
				}
				r.fill(12)
				failed := failNth(r.disk, n)
				err := forget(r)
				r.disk.SetHook(nil)
				if err != nil {
					if err := forget(r); err != nil {
						t.Fatalf("call %d failed, with space again: %v", n, err)
					}
				}
				r.checkFrom(t)
				r.restart()
				r.checkFrom(t)
				if !failed.Load() {
					return
				}
			}
		})
	}
}

// checkFrom says that everything from the log start offset on is there.
func (r *rig) checkFrom(t *testing.T) {
	t.Helper()
	start, _ := r.Offsets()
	for i, b := range r.stored {
		if b.Next > start {
			r.holds(r.stored[i:])
			return
		}
	}
}

// A directory that can't be opened has not failed to be synced.
func TestNoDescriptorsForANewSegmentIsNotTheEndOfTheLog(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(3)
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.SyncDir {
			return syscall.EMFILE
		}
		return nil
	})
	var err error
	for range 10 {
		if err = store.Append(r, r.Batch(3, 200), func(int64, error) {}); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.EMFILE) || errors.Is(err, store.ErrFailed) {
		t.Fatalf("a new segment without descriptors: %v", err)
	}
	r.disk.SetHook(nil)
	if _, err := store.AppendAndWait(r.Partition, r.Batch(3, 200)); err != nil {
		t.Errorf("with descriptors again: %v", err)
	}
	_, high := r.Offsets()
	r.reopen(r.disk.Crash(crashfs.Nothing()))
	if _, found := r.Offsets(); found != high {
		t.Errorf("offsets up to %d after a power cut, not %d", found, high)
	}
}

func TestATopicCanBeMadeAfterNoDescriptorsAtAnyDirectory(t *testing.T) {
	for n := int64(1); ; n++ {
		r := newRig(t, oneSegment())
		var calls atomic.Int64 // the partitions are made at the same time
		r.disk.SetHook(func(c crashfs.Call) error {
			if c.Op == crashfs.SyncDir {
				if calls.Add(1) == n {
					return syscall.EMFILE
				}
			}
			return nil
		})
		_, err := r.store.CreateTopic("billing", 2, "")
		r.disk.SetHook(nil)
		if calls.Load() < n {
			if err != nil || n < 3 {
				t.Errorf("a topic takes %d syncs of directories: %v", n, err)
			}
			return
		}
		if !errors.Is(err, syscall.EMFILE) {
			t.Fatalf("directory %d: %v", n, err)
		}
		made, err := r.store.CreateTopic("billing", 1, "")
		if err != nil {
			t.Fatalf("directory %d failed, with descriptors again: %v", n, err)
		}
		r.reopen(r.disk.Crash(crashfs.Nothing()))
		if list := r.store.Topics(); len(list) != 2 || !list[0].Equal(&made) {
			t.Fatalf("directory %d: topics are %v, one of them was %v", n, list, made)
		}
	}
}
