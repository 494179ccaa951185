package commitlog_test

import (
	"strings"
	"syscall"
	"testing"

	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// leftovers are what a crash may leave of a rig's log that recovery has to write for.
var leftovers = map[string]func(r *rig) *crashfs.FS{
	"nothing": func(r *rig) *crashfs.FS { return r.disk.KillClone() },
	"a torn tail": func(r *rig) *crashfs.FS {
		disk := r.disk.Crash(crashfs.Nothing())
		writeFile(r.T, disk, activeLog, append(bytesOf(r.stored), r.nextTorn()...))
		return disk
	},
	"a hole behind the recovery point": func(r *rig) *crashfs.FS {
		disk := r.disk.Crash(crashfs.Nothing())
		content := readFile(r.T, disk, activeLog)
		garble(content[len(bytesOf(r.stored[:2])):][:100])
		writeFile(r.T, disk, activeLog, content)
		return disk
	},
	"no index": func(r *rig) *crashfs.FS {
		disk := r.disk.KillClone()
		r.removeFile(disk, strings.TrimSuffix(activeLog, ".log")+".index")
		return disk
	},
	"a segment that is shorter than its recovery point": func(r *rig) *crashfs.FS {
		r.marked()
		disk := r.disk.KillClone()
		writeFile(r.T, disk, activeLog, bytesOf(r.stored[:3]))
		return disk
	},
	"no segment": func(r *rig) *crashfs.FS {
		r.marked()
		disk := r.disk.KillClone()
		r.removeFile(disk, activeLog)
		return disk
	},
	"a last segment begun in vain": func(r *rig) *crashfs.FS {
		disk := r.disk.Crash(crashfs.Nothing())
		writeFile(r.T, disk, activeLog, append(bytesOf(r.stored), r.nextTorn()...))
		beginEmpty(r.T, disk, r.stored[len(r.stored)-1].Next)
		return disk
	},
}

// marked waits until the recovery point is at the end.
func (r *rig) marked() {
	r.Helper()
	r.store.SetPointsEvery(0)
	r.pointsAreDurable()
}

// A broker starts on a full disk, whatever a crash has left: what was acknowledged can be
// read, the log trimmed and the topic deleted. Appends are refused until there is space,
// and nothing is cut off that is not kept elsewhere.
func TestAFullDiskKeepsNoLogFromOpening(t *testing.T) {
	brokertest.Slow(t)
	for name, leave := range leftovers {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, oneSegment())
			r.fill(5)
			disk := leave(r)
			was := disk.KillClone()
			r.reopenFull(was.KillClone())
			full, holes, err := survey(r.Partition, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := store.Append(r, r.Batch(1, 10), func(int64, error) {}); name != "nothing" && err == nil {
					t.Fatal("appended on a full disk")
				}
			}
			r.disk.SetHook(nil)
			_, high := r.Offsets()
			answer, err := store.AppendAndWait(r.Partition, r.Batch(1, 10))
			if err != nil || answer < high {
				t.Fatalf("with space again: offset %d, where the log ended at %d: %v", answer, high, err)
			}
			after, found, err := survey(r.Partition, 1000)
			if err != nil || len(after) != len(full)+1 || len(found) < len(holes) {
				t.Errorf("%d batches and %+v on the full disk, then %d and %+v: %v", len(full), holes, len(after), found, err)
			}
			r.reopen(r.disk.Crash(crashfs.Nothing()))
			again, same, err := survey(r.Partition, 1000)
			if err != nil || string(bytesOf(again)) != string(bytesOf(after)) || len(same) != len(found) {
				t.Errorf("%d batches and %+v, after a power cut %d and %+v: %v", len(after), found, len(again), same, err)
			}
			r.deletesOnAFullDisk(was)
		})
	}
}

// reopenFull opens the log on a disk without space.
func (r *rig) reopenFull(disk *crashfs.FS) {
	r.Helper()
	disk.SetHook(fullAtStart)
	r.reopen(disk)
}

// fullAtStart is noSpace where the directories are there.
func fullAtStart(c crashfs.Call) error {
	if c.Op == crashfs.Mkdir || c.Op == crashfs.Rename {
		return nil
	}
	return noSpace(c)
}

// deletesOnAFullDisk trims the log and deletes the topic.
func (r *rig) deletesOnAFullDisk(disk *crashfs.FS) {
	r.Helper()
	disk = disk.KillClone()
	disk.SetHook(fullAtStart)
	r.reopen(disk)
	_, high := r.Offsets()
	_ = r.Trim(high) // may find no space for the new log start
	if list, _, err := survey(r.Partition, 1000); err != nil {
		r.Errorf("%d batches, %v", len(list), err)
	}
}

// A copy that the disk had no space for is not left behind, nor made again and again.
func TestATornEndIsKeptWholeOrNotCutOff(t *testing.T) {
	r := newRig(t, oneSegment())
	r.fill(3)
	disk := leftovers["a torn tail"](r)
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.WriteAt && strings.Contains(c.Name, ".cut-") {
			return &crashfs.ShortWrite{N: 10, Err: syscall.ENOSPC}
		}
		return nil
	})
	before := string(readFile(t, disk, activeLog))
	r.reopen(disk)
	for range 3 {
		r.refuses(store.ErrFull, r.Batch(1, 10))
	}
	r.holdsStored()
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk = r.disk.KillClone()
	if kept := asides(t, disk); len(kept) > 0 || string(readFile(t, disk, activeLog)) != before {
		t.Errorf("%d copies are left, and the segment has %d bytes of %d", len(kept), len(readFile(t, disk, activeLog)), len(before))
	}
	r.reopen(disk)
	if kept := asides(t, r.disk); len(kept) != 1 || !strings.HasSuffix(before, string(kept[0])) {
		t.Errorf("with space %d copies are kept", len(kept))
	}
	r.holdsStored()
	r.goesOn()
}

// A full disk at any call of a start costs nothing.
func TestFullDiskAtAnyCallOfAStart(t *testing.T) {
	brokertest.Slow(t)
	for name, leave := range leftovers {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, oneSegment())
			r.fill(5)
			left := leave(r)
			r.reopen(left.KillClone())
			want, holes, err := survey(r.Partition, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for n := int64(1); ; n++ {
				disk := left.KillClone()
				failed := failNthOf(disk, n, fullAtStart)
				r.reopen(disk)
				disk.SetHook(nil)
				if _, err := store.AppendAndWait(r.Partition, r.Batch(1, 10)); err != nil {
					t.Fatalf("call %d failed, with space again: %v", n, err)
				}
				r.reopen(disk.Crash(crashfs.Nothing()))
				got, lost, err := survey(r.Partition, 1000)
				if err != nil || len(got) != len(want)+1 || string(bytesOf(got[:len(want)])) != string(bytesOf(want)) || len(lost) < len(holes) {
					t.Fatalf("call %d failed: %d batches and %+v, want %d and one, and %+v: %v", n, len(got), lost, len(want), holes, err)
				}
				if !failed.Load() {
					return
				}
			}
		})
	}
}

// A log that could not be put right at a start, because the disk was full or failed, is not closed in
// order with the store: the system may have dropped what the next start reads, which has to write it
// again.
func TestAStopBeforeALogIsPutRightIsNoCleanClose(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EIO} { // the latter makes the topic unusable
		r := newRig(t, oneSegment())
		r.fill(3)
		r.disk.SetHook(syncsFail(syscall.EIO))
		answers, unsure := r.submit(r.Batch(3, 200))
		if a := wait(t, answers, "the answer"); a.err == nil {
			t.Fatal("an append whose sync failed was acknowledged")
		}
		r.store.Close()
		disk := r.disk.KillClone()
		disk.SetHook(syncsFail(failure))
		r.start(disk)
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		r.reopen(disk.KillClone())
		r.stored = append(r.stored, unsure...) // it is shown now
		r.holdsStored()
		r.reopen(r.disk.Crash(crashfs.Nothing()))
		r.holdsStored()
		r.goesOn()
	}
}

// syncsFail fails syncs of segments.
func syncsFail(err error) crashfs.Hook {
	return func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isLog(c) {
			return err
		}
		return nil
	}
}
