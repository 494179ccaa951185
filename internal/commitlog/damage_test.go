package commitlog_test

import (
	"bytes"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A bit flipped anywhere in a batch below the recovery point costs that batch and no
// other, in the active segment and in a sealed one.
func TestFlippedBitCostsThatBatchOnly(t *testing.T) {
	for name, segment := range map[string]int{"sealed": 1, "active": -1} {
		for _, indexed := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", with its index", false: ", without its index"}[indexed], func(t *testing.T) {
				r := newRig(t, smallSegments())
				r.fill(11)
				if err := r.store.Close(); err != nil {
					t.Fatal(err)
				}
				logs := files(t, r.disk, ".log")
				log := logs[(segment+len(logs))%len(logs)]
				r.flipEach(log, indexed)
			})
		}
	}
}

// flipEach flips one bit after the other in the second batch of a segment.
func (r *rig) flipEach(log string, indexed bool) {
	r.Helper()
	closed := r.disk.KillClone()
	content := readFile(r.T, closed, log)
	first := indexOf(r, content)
	b := r.stored[first+1]
	pos := len(r.stored[first].Bytes)
	for i := range b.Bytes {
		if i > 80 && i%11 != 0 {
			continue
		}
		damaged := bytes.Clone(content)
		damaged[pos+i] ^= 1 << (i % 8)
		disk := closed.KillClone()
		writeFile(r.T, disk, log, damaged)
		if !indexed {
			r.removeFile(disk, strings.TrimSuffix(log, ".log")+".index")
		}
		r.reopen(disk)
		if err := r.shows(hole{b.Base, b.Next, false}); err != nil {
			r.Fatalf("bit %d of byte %d of a batch flipped: %v", i%8, i, err)
		}
		if n := r.store.Stats().Damage.Load(); n != 1 {
			r.Fatalf("bit %d of byte %d of a batch flipped: %d damaged places are counted", i%8, i, n)
		}
	}
	r.fill(1)
	if err := r.shows(hole{b.Base, b.Next, false}); err != nil {
		r.Fatalf("appended behind the damage: %v", err)
	}
}

// indexOf finds the batch that a segment begins with.
func indexOf(r *rig, content []byte) int {
	for i, b := range r.stored {
		if bytes.HasPrefix(content, b.Bytes) {
			return i
		}
	}
	r.Fatal("the segment begins with no batch that was stored")
	return 0
}

func (r *rig) removeFile(disk *crashfs.FS, name string) {
	r.Helper()
	if err := errors.Join(disk.Remove(name), disk.SyncDir(path.Dir(name))); err != nil {
		r.Fatal(err)
	}
}

func TestDamageIsFoundInALogThatIsOpen(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(11)
	for _, log := range files(t, r.disk, ".log") {
		content := readFile(t, r.disk, log)
		b := r.stored[indexOf(r, content)+1]
		damaged := bytes.Clone(content)
		damaged[len(content)/2] ^= 0x40
		writeFile(t, r.disk, log, damaged)
		if _, holes, err := survey(r.Partition, 1<<20); err != nil || len(holes) != 1 || holes[0].next > b.Next+3 {
			t.Errorf("%s: %+v are missing, %v", log, holes, err)
		}
		writeFile(t, r.disk, log, content)
	}
	r.holdsStored()
}

// Damage in the middle of what one read covers: what lies before it is given out.
func TestDamageOfSeveralBatchesInARow(t *testing.T) {
	for _, indexed := range []bool{true, false} {
		r := newRig(t, oneSegment())
		r.fill(20)
		pos, size := len(bytesOf(r.stored[:6])), len(bytesOf(r.stored[6:11]))
		r.restartDamaged(indexed, func(content []byte) []byte {
			clear(content[pos+10 : pos+size-10])
			return content
		})
		if err := r.shows(hole{r.stored[6].Base, r.stored[10].Next, false}); err != nil {
			t.Errorf("with index %v: %v", indexed, err)
		}
	}
}

// restartDamaged closes the store, changes the active segment and opens it again.
func (r *rig) restartDamaged(indexed bool, change func(content []byte) []byte) {
	r.Helper()
	if err := r.store.Close(); err != nil {
		r.Fatal(err)
	}
	disk := r.disk.KillClone()
	writeFile(r.T, disk, activeLog, change(readFile(r.T, disk, activeLog)))
	if !indexed {
		r.removeFile(disk, strings.TrimSuffix(activeLog, ".log")+".index")
	}
	r.reopen(disk)
}

// Bytes that belong to no batch cost no record, so that nothing is missing.
func TestBytesBetweenBatchesCostNothing(t *testing.T) {
	for _, n := range []int{1, 60, 61, 500} {
		r := newRig(t, oneSegment())
		r.fill(6)
		pos := len(bytesOf(r.stored[:3]))
		r.restartDamaged(false, func(content []byte) []byte {
			return slices.Concat(content[:pos], bytes.Repeat([]byte{0xA7}, n), content[pos:])
		})
		if err := r.shows(); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestDamageAtTheBeginningAndTheEnd(t *testing.T) {
	for _, i := range []int{0, 19} {
		r := newRig(t, oneSegment())
		r.fill(20)
		b, pos := r.stored[i], len(bytesOf(r.stored[:i]))
		r.restartDamaged(true, func(content []byte) []byte {
			clear(content[pos : pos+len(b.Bytes)])
			return content
		})
		if err := r.shows(hole{b.Base, b.Next, false}); err != nil {
			t.Errorf("batch %d cleared: %v", i, err)
		}
		r.fill(1)
		if err := r.shows(hole{b.Base, b.Next, false}); err != nil {
			t.Errorf("batch %d cleared, one appended: %v", i, err)
		}
	}
}

// What was synced and has vanished from the end is missing, not forgotten: its
// offsets are reported and never given to others.
func TestSegmentShorterThanItsRecoveryPoint(t *testing.T) {
	brokertest.Slow(t)
	r := newRig(t, oneSegment())
	r.fill(6)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	closed := r.disk.KillClone()
	all, content := r.stored, bytesOf(r.stored)
	for n := 0; n < len(content); n += 1 + n%7 {
		disk := closed.KillClone()
		writeFile(t, disk, activeLog, content[:n])
		r.stored = all
		r.reopen(disk)
		whole, _ := upTo(all, n)
		lost := hole{int64(3 * len(whole)), 18, false}
		r.losesTail(n, lost)
		r.fill(1)
		if base := r.stored[6].Base; base != 18 {
			t.Fatalf("cut to %d bytes, the log goes on at offset %d, want 18", n, base)
		}
		r.losesTail(n, lost)
		r.restart()
		r.losesTail(n, lost)
	}
}

// losesTail allows a GapError or a DamageError for what is lost.
func (r *rig) losesTail(n int, lost hole) {
	r.Helper()
	err := r.shows(lost)
	if err != nil {
		lost.gap = true
		err = r.shows(lost)
	}
	if err != nil {
		r.Fatalf("cut to %d bytes: %v", n, err)
	}
}

func TestMissingSegmentIsAGap(t *testing.T) {
	for which := range 3 {
		for _, suffixes := range [][]string{{".log", ".index"}, {".log"}} {
			r := newRig(t, smallSegments())
			r.fill(14)
			if err := r.store.Close(); err != nil {
				t.Fatal(err)
			}
			disk := r.disk.KillClone()
			logs := files(t, disk, ".log")
			first := r.stored[indexOf(r, readFile(t, disk, logs[which]))].Base
			next := r.stored[indexOf(r, readFile(t, disk, logs[which+1]))].Base
			for _, suffix := range suffixes {
				r.removeFile(disk, strings.TrimSuffix(logs[which], ".log")+suffix)
			}
			r.reopen(disk)
			if err := r.shows(hole{first, next, true}); err != nil {
				t.Errorf("segment %d of %d is missing: %v", which, len(logs), err)
			}
			r.readsGapAt(next-1, next)
			r.fill(1)
		}
	}
}

// readsGapAt reads in the middle of a gap.
func (r *rig) readsGapAt(offset, next int64) {
	r.Helper()
	var c store.Chunk
	defer c.Release()
	err := r.Read(offset, 1, &c)
	if e, ok := errors.AsType[*store.GapError](err); !ok || e.First > offset || e.Next != next {
		r.Errorf("read at %d: %v, want a gap up to %d", offset, err, next)
	}
}
