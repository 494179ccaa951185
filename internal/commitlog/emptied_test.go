package commitlog_test

import (
	"fmt"
	"strings"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
)

// A segment that held something and has been emptied, or cut, is damage: whichever it is,
// with its index or without. It is said at each start, to readers, and by -verify.
func TestAnEmptiedSegmentIsReported(t *testing.T) {
	for which := range 3 {
		for _, indexed := range []bool{true, false} {
			t.Run(fmt.Sprintf("segment %d, with its index %v", which, indexed), func(t *testing.T) {
				r := newRig(t, smallSegments())
				r.fill(14)
				if err := r.store.Close(); err != nil {
					t.Fatal(err)
				}
				disk := r.disk.KillClone()
				logs := files(t, disk, ".log")
				first := r.stored[indexOf(r, readFile(t, disk, logs[which]))].Base
				next := r.stored[indexOf(r, readFile(t, disk, logs[which+1]))].Base
				writeFile(t, disk, logs[which], nil)
				if !indexed {
					r.removeFile(disk, strings.TrimSuffix(logs[which], ".log")+".index")
				}
				if sum, found := verify(t, disk, r.options); sum.Damaged == 0 || !strings.Contains(strings.Join(found, "\n"), fmt.Sprintf("offsets=%d-%d", first, next-1)) {
					t.Errorf("verify finds %q", found)
				}
				disk = disk.KillClone()
				for range 3 {
					r.reopen(disk)
					if want := fmt.Sprintf("first=%d next=%d", first, next); !r.log.says("ERROR a segment has been emptied") || !r.log.says(want) {
						t.Errorf("logged was %q", r.log.logged())
					}
					r.losesEither(hole{first, next, false})
					r.fill(1)
					if err := r.store.Close(); err != nil {
						t.Fatal(err)
					}
					disk = r.disk.KillClone()
				}
			})
		}
	}
}

// losesEither allows a GapError or a DamageError.
func (r *rig) losesEither(h hole) {
	r.Helper()
	err := r.shows(h)
	if err != nil {
		h.gap = true
		err = r.shows(h)
	}
	if err != nil {
		r.Error(err)
	}
}

// The last segment is emptied: its index says how far it went.
func TestAnEmptiedLastSegmentIsReported(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(14)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk := r.disk.KillClone()
	logs := files(t, disk, ".log")
	last := logs[len(logs)-1]
	first, next := r.stored[indexOf(r, readFile(t, disk, last))].Base, r.stored[13].Next
	writeFile(t, disk, last, nil)
	r.reopen(disk)
	if !r.log.says("ERROR synced bytes are missing") {
		t.Errorf("logged was %q", r.log.logged())
	}
	for range 2 {
		r.losesEither(hole{first, next, false})
		r.fill(1)
		r.restart()
		if !r.log.says("ERROR a segment has been emptied") {
			t.Errorf("at the next start was logged %q", r.log.logged())
		}
	}
}

// A complete segment that is shorter than its index says has lost its end: that is said
// when it is read, in each process.
func TestAShortenedSegmentIsReported(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(14)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk := r.disk.KillClone()
	logs := files(t, disk, ".log")
	i := indexOf(r, readFile(t, disk, logs[1]))
	next := r.stored[indexOf(r, readFile(t, disk, logs[2]))].Base
	for _, size := range []int{len(r.stored[i].Bytes), len(r.stored[i].Bytes) + 100} {
		cut := disk.KillClone()
		writeFile(t, cut, logs[1], readFile(t, cut, logs[1])[:size])
		r.reopen(cut)
		for range 2 {
			r.losesEither(hole{r.stored[i].Next, next, false})
			if !r.log.says("ERROR synced bytes are missing") {
				t.Errorf("cut to %d bytes, logged was %q", size, r.log.logged())
			}
			r.restart()
		}
	}
}

// An empty segment is left where beginning it has failed: that is no damage.
func TestASegmentBegunInVainIsNoDamage(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(2)
	disk := r.disk.KillClone()
	beginEmpty(t, disk, r.stored[1].Next)
	r.reopen(disk) // as the last
	r.logsNoError()
	r.holdsStored()
	r.fill(8)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk = r.disk.KillClone()
	content := readFile(t, disk, files(t, disk, ".log")[1])
	beginEmpty(t, disk, r.stored[indexOf(r, content)].Base+1) // between others, where one reaches further
	disk = disk.KillClone()
	if sum, err := commitlog.Verify("/data", commitlog.Options{FS: disk}, func(f commitlog.Finding) { t.Error(f) }); err != nil || sum.Damaged > 0 {
		t.Errorf("verify: %+v, %v", sum, err)
	}
	r.reopen(disk)
	r.logsNoError()
	r.holdsStored()
	r.goesOn()
}

// Where a log goes on in a new segment, because the end of the one before is lost, the one
// before is complete, whatever a power cut takes.
func TestASegmentThatIsGivenUpIsComplete(t *testing.T) {
	for seed := range uint64(20) {
		r := newRig(t, oneSegment())
		r.store.SetPointsEvery(0)
		r.fill(5)
		r.marked()
		disk := r.disk.KillClone()
		size := len(bytesOf(r.stored[:3]))
		writeFile(t, disk, activeLog, append(bytesOf(r.stored[:3]), make([]byte, 300)...))
		r.reopen(disk)
		lost := hole{r.stored[3].Base, r.stored[4].Next, false}
		r.fill(1)
		r.reopen(r.disk.Crash(crashfs.Some(seed)))
		if logged := r.log.logged(); len(logged) > 0 {
			t.Fatalf("seed %d: after the power cut was logged %q", seed, logged)
		}
		r.losesEither(lost)
		if kept := len(readFile(t, r.disk, activeLog)); kept != size {
			t.Fatalf("seed %d: the segment has %d bytes, %d of them sound", seed, kept, size)
		}
	}
}
