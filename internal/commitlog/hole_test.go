package commitlog_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
)

// spoilers are what a disk may do to a batch.
var spoilers = map[string]func(b []byte){
	"a bit of a record":       func(b []byte) { b[len(b)-20] ^= 4 },
	"a bit of the length":     func(b []byte) { b[9] ^= 0x40 },
	"a bit of the offset":     func(b []byte) { b[5] ^= 1 },
	"a header of zeros":       func(b []byte) { clear(b[:61]) },
	"zeros":                   func(b []byte) { clear(b) },
	"garbage":                 garble,
	"garbage from the middle": func(b []byte) { garble(b[len(b)/2:]) },
}

func garble(b []byte) {
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// A cutRig has batches of which the first five lie before the recovery point that is on the disk,
// and the others behind it. All are acknowledged.
func cutRig(t *testing.T, o commitlog.Options) *rig {
	r := newRig(t, o)
	r.store.SetPointsEvery(time.Millisecond)
	r.fill(5)
	r.pointsAreDurable()
	r.store.SetPointsEvery(time.Hour)
	r.fill(7)
	return r
}

// spoiled opens the log after the power was cut and some batches were spoiled.
func (r *rig) spoiled(spoil func(b []byte), batches ...int) (found []string) {
	r.Helper()
	disk := r.disk.Crash(crashfs.Nothing())
	content := readFile(r.T, disk, activeLog)
	for _, i := range batches {
		pos := len(bytesOf(r.stored[:i]))
		spoil(content[pos : pos+len(r.stored[i].Bytes)])
	}
	writeFile(r.T, disk, activeLog, content)
	_, found = verify(r.T, disk, r.options)
	r.reopen(disk.KillClone())
	return found
}

// staysAs says that the log shows all but the holes, now, after a restart, and after it
// has gone on and the power was cut once more.
func (r *rig) staysAs(holes ...hole) {
	r.Helper()
	next := r.stored[len(r.stored)-1].Next
	for i := range 3 {
		if err := r.shows(holes...); err != nil {
			r.Fatal(err)
		}
		if i < 2 {
			r.restart()
			r.fill(1)
			if base := r.stored[len(r.stored)-1].Base; base < next {
				r.Fatalf("offset %d was given again, the log ended at %d", base, next)
			}
		}
		r.reopen(r.disk.Crash(crashfs.Nothing()))
	}
}

func (r *rig) logsNoError() {
	r.Helper()
	for _, line := range r.log.logged() {
		if strings.HasPrefix(line, "ERROR") {
			r.Errorf("logged was %q", line)
		}
	}
}

// What was acknowledged in the last second before a power cut lies behind the recovery point. A batch
// of it that the disk has damaged costs no other one, and is reported by its offsets.
func TestDamageBehindTheRecoveryPointCostsThatBatchOnly(t *testing.T) {
	for what, spoil := range spoilers {
		for i := 5; i < 11; i++ {
			t.Run(fmt.Sprintf("%s of batch %d", what, i), func(t *testing.T) {
				r := cutRig(t, oneSegment())
				b := r.stored[i]
				found := r.spoiled(spoil, i)
				offsets := fmt.Sprintf("offsets=%d-%d", b.Base, b.Next-1)
				if len(found) != 1 || !strings.HasPrefix(found[0], "damage") || !strings.Contains(found[0], offsets) ||
					!strings.Contains(found[0], "may have been acknowledged") {
					t.Errorf("verify finds %q", found)
				}
				r.logsNoError()
				if want := fmt.Sprintf("may have been acknowledged; those behind them are kept topic=orders partition=0 first=%d next=%d", b.Base, b.Next); !r.log.says(want) {
					t.Errorf("logged was %q", r.log.logged())
				}
				r.staysAs(hole{b.Base, b.Next, false})
			})
		}
	}
}

func TestSeveralHolesBehindTheRecoveryPointAndATornEnd(t *testing.T) {
	for what, spoil := range spoilers {
		t.Run(what, func(t *testing.T) {
			r := cutRig(t, oneSegment())
			r.spoiled(spoil, 5, 7, 8, 11)
			r.logsNoError()
			holes := []hole{{r.stored[5].Base, r.stored[5].Next, false}, {r.stored[7].Base, r.stored[8].Next, false}}
			r.stored = r.stored[:11]
			r.staysAs(holes...)
		})
	}
}

// With nothing valid behind it a batch is a torn tail, as power cuts leave them: it is no
// damage, and is kept aside. Nobody says that it was never acknowledged.
func TestATornEndIsNoDamage(t *testing.T) {
	for what, spoil := range spoilers {
		t.Run(what, func(t *testing.T) {
			r := cutRig(t, oneSegment())
			torn := []int{10, 11}
			if what == "a bit of the offset" { // of two with the same one flipped nobody could tell
				torn = torn[1:]
			}
			found := r.spoiled(spoil, torn...)
			if what == "zeros" { // which is what the space is that was allocated ahead
				if len(found) > 0 || len(r.log.logged()) > 0 {
					t.Errorf("verify finds %q, logged was %q", found, r.log.logged())
				}
			} else {
				if len(found) != 1 || !strings.HasPrefix(found[0], "note") || strings.Contains(found[0], "never") {
					t.Errorf("verify finds %q", found)
				}
				logged := r.log.logged()
				if len(logged) != 1 || !strings.HasPrefix(logged[0], "WARN cut off a torn tail") || strings.Contains(logged[0], "never") {
					t.Errorf("logged was %q", logged)
				}
				if kept := asides(t, r.disk); len(kept) != 1 {
					t.Errorf("%d files are kept aside", len(kept))
				}
			}
			r.stored = r.stored[:torn[0]]
			r.staysAs()
		})
	}
}

// intervalRig has seven batches that were acknowledged and not synced, behind five that
// were.
func intervalRig(t *testing.T) *rig {
	o := oneSegment()
	o.SyncEvery = time.Hour
	r := newRig(t, o)
	r.fill(5)
	done := make(chan error, 1)
	r.Sync(func(err error) { done <- err })
	if err := wait(t, done, "the sync"); err != nil {
		t.Fatal(err)
	}
	r.pointsAreDurable()
	r.fill(7)
	return r
}

// A power cut takes any part of what was not synced yet, which is no damage: the log ends
// where the first of it is missing.
func TestAfterAPowerCutWithSyncsAtIntervalsTheLogEndsAtTheFirstTornBatch(t *testing.T) {
	cut := 0
	for seed := range uint64(60) {
		r := intervalRig(t)
		disk := r.disk.Crash(crashfs.Torn(seed))
		sum, _ := verify(t, disk, r.options)
		r.reopen(disk.KillClone())
		list, err := storetest.ReadAll(r.Partition, 1<<20)
		if err != nil || len(list) < 5 || sum.Damaged > 0 {
			t.Fatalf("seed %d: %d batches, %d places are damaged: %v", seed, len(list), sum.Damaged, err)
		}
		r.logsNoError()
		if cut += len(asides(t, r.disk)); len(list) < 12 {
			r.stored = r.stored[:len(list)]
		}
		r.options.SyncEvery = 0
		r.restart()
		r.goesOn()
	}
	if cut == 0 {
		t.Error("no power cut has torn anything")
	}
}

// After a kill all that was written is there, synced or not: what is not valid is damaged.
// So it is after the mode was changed.
func TestDamageAfterAKillCostsThatBatchOnly(t *testing.T) {
	for _, interval := range []time.Duration{time.Hour, 0} {
		r := intervalRig(t)
		disk := r.disk.KillClone()
		content := readFile(t, disk, activeLog)
		pos := len(bytesOf(r.stored[:8]))
		garble(content[pos : pos+200])
		writeFile(t, disk, activeLog, content)
		r.options.SyncEvery = interval
		r.reopen(disk)
		if err := r.shows(hole{r.stored[8].Base, r.stored[8].Next, false}); err != nil {
			t.Errorf("interval %v: %v", interval, err)
		}
	}
}

// A log that was synced before each answer may be opened with -fsync INTERVAL after a power
// cut: how it was written counts.
func TestDamageBehindTheRecoveryPointWhenTheModeIsChanged(t *testing.T) {
	r := cutRig(t, oneSegment())
	r.options.SyncEvery = time.Hour
	r.spoiled(garble, 7)
	if err := r.shows(hole{r.stored[7].Base, r.stored[7].Next, false}); err != nil {
		t.Error(err)
	}
}

// What was torn and is followed by more is not lost by a recovery that is cut, nor
// reported differently.
func TestCrashOfARecoveryThatPassesAHole(t *testing.T) {
	r := cutRig(t, oneSegment())
	damaged := r.disk.Crash(crashfs.Nothing())
	content := readFile(t, damaged, activeLog)
	for _, i := range []int{7, 11} {
		garble(content[len(bytesOf(r.stored[:i]))+30:][:300])
	}
	writeFile(t, damaged, activeLog, content)
	h := hole{r.stored[7].Base, r.stored[7].Next, false}
	r.stored = r.stored[:11]
	for m := int64(1); ; m++ {
		disk := damaged.KillClone()
		calls := killAt(disk, m)
		if s, err := commitlog.Open("/data", commitlog.Options{FS: disk}); err == nil {
			s.Close()
		}
		for _, next := range []*crashfs.FS{disk.KillClone(), disk.Crash(crashfs.Torn(uint64(m)))} {
			r.reopen(next)
			if err := r.shows(h); err != nil {
				t.Errorf("recovery cut before call %d: %v", m, err)
			}
		}
		if calls.Load() < m {
			return
		}
	}
}

// After another boot recovery has read what is on the disk: it writes over none of it. In
// the same boot it writes the valid batches once more, and nothing else.
func TestRecoveryWritesOverTheLogOnlyInTheSameBoot(t *testing.T) {
	for _, reboot := range []bool{true, false} {
		r := cutRig(t, oneSegment())
		b, pos := r.stored[7], int64(len(bytesOf(r.stored[:7])))
		disk := r.disk.Crash(crashfs.Nothing())
		content := readFile(t, disk, activeLog)
		garble(content[pos : pos+int64(len(b.Bytes))])
		writeFile(t, disk, activeLog, content)
		if !reboot { // a process opens it, and dies
			r.reopen(disk)
			r.disk.SetHook(failIndexWrites)
			r.fill(3)
			disk = r.disk.KillClone()
			pos = 0 // only what is behind the recovery point is looked at
		}
		wrote := false
		disk.SetHook(func(c crashfs.Call) error {
			if c.Op == crashfs.WriteAt && isLog(c) {
				wrote = true
				if reboot || c.Pos < pos+int64(len(b.Bytes)) && c.Pos+int64(c.Len) > pos && pos > 0 {
					t.Errorf("reboot %v: recovery writes %d bytes at %d", reboot, c.Len, c.Pos)
				}
			}
			return nil
		})
		r.start(disk)
		r.connect()
		if wrote == reboot {
			t.Errorf("reboot %v: recovery has written: %v", reboot, wrote)
		}
		disk.SetHook(nil)
		if err := r.shows(hole{b.Base, b.Next, false}); err != nil {
			t.Errorf("reboot %v: %v", reboot, err)
		}
	}
}

func failIndexWrites(c crashfs.Call) error {
	if c.Op == crashfs.WriteAt && strings.HasSuffix(c.Name, ".index") {
		return syscall.EIO
	}
	return nil
}

// A process that is killed between making an index and syncing it leaves one that a power
// cut may take. The next one syncs it before it appends.
func TestIndexIsSyncedBeforeItsSegmentIsWrittenTo(t *testing.T) {
	for name, lose := range map[string]func(r *rig) *crashfs.FS{
		"of a new segment": func(r *rig) *crashfs.FS {
			r.killAtIndexSync()
			return r.disk.KillClone()
		},
		"built again": func(r *rig) *crashfs.FS {
			r.store.Close()
			disk := r.disk.KillClone()
			r.removeFile(disk, strings.TrimSuffix(activeLog, ".log")+".index")
			return disk
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(40) {
				r := newRig(t, smallSegments())
				r.fill(1)
				r.reopen(lose(r))
				r.fill(1)
				g := r.gate()
				r.submit(r.Batch(3, 300))
				wait(t, g.arrived, "the sync")
				disk := r.disk.Crash(crashfs.Torn(seed))
				g.pass(crashfs.ErrDead)
				r.reopen(disk)
				if r.log.says("ERROR") {
					t.Fatalf("seed %d: a power cut without damage: %q", seed, r.log.logged())
				}
				r.goesOnFrom(2)
			}
		})
	}
}

// goesOnFrom says that the first n batches are there without damage, and that the log can
// be used.
func (r *rig) goesOnFrom(n int) {
	r.Helper()
	list, err := storetest.ReadAll(r.Partition, 1<<20)
	if err != nil || len(list) < n || !bytes.Equal(bytesOf(list[:n]), bytesOf(r.stored[:n])) {
		r.Fatalf("%d batches, %v", len(list), err)
	}
	r.stored = slices.Clone(list)
	r.goesOn()
}

// killAtIndexSync appends until a new segment's index is to be synced, and kills the
// process there.
func (r *rig) killAtIndexSync() {
	r.Helper()
	old, disk := files(r.T, r.disk, ".index"), r.disk
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && strings.HasSuffix(c.Name, ".index") && !slices.Contains(old, c.Name) {
			disk.Kill()
			return crashfs.ErrDead
		}
		return nil
	})
	for range 10 {
		if _, err := store.AppendAndWait(r.Partition, r.Batch(1, segmentBytes)); err != nil {
			return
		}
	}
	r.Fatal("no segment was begun")
}

// A torn sector may end within a batch's offset, which has no checksum: the batch is valid
// but for that.
func TestABatchWhoseOffsetIsTornAwayIsNotServedAtAnother(t *testing.T) {
	for _, last := range []int{7, 11} {
		r := cutRig(t, oneSegment())
		disk := r.disk.Crash(crashfs.Nothing())
		content := readFile(t, disk, activeLog)
		clear(content[len(bytesOf(r.stored[:last-1])):][:len(r.stored[last-1].Bytes)+8])
		writeFile(t, disk, activeLog, content)
		r.reopen(disk)
		r.logsNoError()
		if last == 11 {
			r.stored = r.stored[:10]
			r.staysAs()
		} else {
			r.staysAs(hole{r.stored[last-1].Base, r.stored[last].Next, false})
		}
	}
}
