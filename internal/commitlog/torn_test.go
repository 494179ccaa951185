package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
)

// torn makes a log of which four batches are acknowledged and three more were
// written and not synced when the process was killed.
func torn(t *testing.T) (r *rig, killed *crashfs.FS, all []batchtest.Stored) {
	r = newRig(t, oneSegment())
	r.fill(4)
	g := r.gate()
	all = r.stored
	for i := range 3 {
		_, stamped := r.submit(r.Batch(1+i, 20*i))
		all = append(all, stamped...)
	}
	wait(t, g.arrived, "the sync")
	killed = r.disk.KillClone()
	g.pass(crashfs.ErrDead)
	r.store.Close()
	return r, killed, all
}

// activeLog is the only segment of a log with one.
const activeLog = logDir + "/00000000000000000000.log"

// reopensWith puts content in the active segment's place and opens the log.
func (r *rig) reopensWith(killed *crashfs.FS, content []byte) {
	r.Helper()
	disk := killed.KillClone()
	writeFile(r.T, disk, activeLog, content)
	r.reopen(disk)
}

// upTo gives the batches that lie wholly in the first n bytes, and their size.
func upTo(all []batchtest.Stored, n int) (whole []batchtest.Stored, size int) {
	for _, b := range all {
		if size+len(b.Bytes) > n {
			break
		}
		whole, size = append(whole, b), size+len(b.Bytes)
	}
	return whole, size
}

func TestTailTornAtAnyByteIsCutOffThere(t *testing.T) {
	r, killed, all := torn(t)
	content := bytesOf(all)
	for n := len(bytesOf(all[:4])); n <= len(content); n++ {
		r.reopensWith(killed, content[:n])
		whole, size := upTo(all, n)
		r.holds(whole)
		r.cutOff(size, content[size:n])
	}
}

// Wherever the power fails while a tail is quarantined, its bytes are somewhere.
func TestTornTailIsNeverLost(t *testing.T) {
	r, killed, all := torn(t)
	content := bytesOf(all)
	content = content[:len(content)-20]
	_, size := upTo(all, len(content))
	tail := content[size:]
	for m := int64(1); ; m++ {
		disk := killed.KillClone()
		writeFile(t, disk, activeLog, content)
		calls := killAt(disk, m)
		if s, err := commitlog.Open("/data", commitlog.Options{FS: disk}); err == nil {
			s.Close()
		}
		disk = disk.Crash(crashfs.Nothing())
		found := bytes.Equal(readFile(t, disk, activeLog), content)
		for _, p := range asides(t, disk) {
			found = found || bytes.Equal(p, tail)
		}
		if !found {
			t.Errorf("recovery cut before call %d: the %d bytes cut off are nowhere", m, len(tail))
		}
		r.reopen(disk)
		whole, _ := upTo(all, size)
		r.holds(whole)
		if calls.Load() < m {
			return
		}
	}
}

// A cut that was not synced when recovery was killed must not be undone by a power
// cut once the log has gone on in another segment: a new one, or one that a full
// disk had left empty.
func TestTornTailDoesNotComeBackInACompleteSegment(t *testing.T) {
	for _, empty := range []bool{false, true} {
		for m := int64(1); ; m++ {
			r := newRig(t, smallSegments())
			r.fill(2)
			content := append(bytesOf(r.stored), r.nextTorn()...)
			disk := r.disk.KillClone()
			writeFile(t, disk, activeLog, content)
			if empty {
				beginEmpty(t, disk, r.stored[1].Next)
			}
			calls := killAt(disk, m)
			if s, err := openDisk(disk, 0); err == nil {
				s.Close()
			}
			r.reopen(disk.KillClone())
			r.append(r.Batch(1, segmentBytes))
			r.reopen(r.disk.Crash(crashfs.Nothing()))
			r.holdsStored()
			r.goesOn()
			if calls.Load() < m {
				break
			}
		}
	}
}

// beginEmpty makes a segment without an index, as where there was no space for it.
func beginEmpty(t *testing.T, disk *crashfs.FS, base int64) {
	t.Helper()
	f, err := disk.Create(path.Join(logDir, fmt.Sprintf("%020d.log", base)))
	if err == nil {
		err = errors.Join(f.Close(), disk.SyncDir(logDir))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nextTorn is a batch as the log would append it next, with its end torn.
func (r *rig) nextTorn() []byte {
	b := r.Batch(3, 200)
	last := r.stored[len(r.stored)-1]
	batch.Batch(b).Stamp(last.Next, batch.Batch(last.Bytes).LeaderEpoch())
	b[len(b)-1] ^= 1
	return b
}

// asides gives the contents of the files that were quarantined from the segment.
func asides(t *testing.T, disk *crashfs.FS) [][]byte {
	t.Helper()
	list, err := disk.ReadDir(logDir)
	if err != nil {
		t.Fatal(err)
	}
	var kept [][]byte
	for _, e := range list {
		if name := path.Join(logDir, e.Name); strings.HasPrefix(name, activeLog) && name != activeLog {
			kept = append(kept, readFile(t, disk, name))
		}
	}
	return kept
}

// cutOff says that these bytes, found at pos, were quarantined with one warning,
// but for zeros at their end, which are what space that is not used yet holds.
func (r *rig) cutOff(pos int, tail []byte) {
	r.Helper()
	kept := asides(r.T, r.disk)
	wantKept, wantLogged := 1, 1
	tail = bytes.TrimRight(tail, "\x00")
	if len(tail) == 0 {
		wantKept, wantLogged = 0, 0
	}
	if len(kept) != wantKept || (len(kept) == 1 && !bytes.Equal(bytes.TrimRight(kept[0], "\x00"), tail)) {
		r.Fatalf("%d bytes cut off at %d: %d files are kept aside, want %d with just these", len(tail), pos, len(kept), wantKept)
	}
	logged := r.log.logged()
	if len(logged) != wantLogged {
		r.Fatalf("%d bytes cut off at %d were reported as %q", len(tail), pos, logged)
	}
	for _, line := range logged {
		if !strings.HasPrefix(line, "WARN") || !strings.Contains(line, activeLog) || !strings.Contains(line, fmt.Sprint(pos)) {
			r.Fatalf("%d bytes cut off at %d were reported as %q", len(tail), pos, line)
		}
	}
}

func TestGarbageBehindTheEndIsCutOff(t *testing.T) {
	r, killed, all := torn(t)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 11, 12, 60, 61, 62, 511, 512, 4096, 100_000, 3 << 20} {
		garbage := make([]byte, n)
		for i := range garbage {
			garbage[i] = byte(rng.Uint32() | 1)
		}
		for _, tail := range [][]byte{garbage, make([]byte, n), append(make([]byte, n), garbage...), append([]byte{}, append(garbage, make([]byte, n)...)...)} {
			content := bytesOf(all)
			r.reopensWith(killed, append(content, tail...))
			r.holds(all)
			r.cutOff(len(content), tail)
		}
	}
}

// What looks like the beginning of a batch must not be waited for, or believed.
func TestTailThatPretendsToBeABatchIsCutOff(t *testing.T) {
	r, killed, all := torn(t)
	content := bytesOf(all)
	header := bytes.Clone(all[6].Bytes[:61])
	header[7] = byte(all[6].Next) // the base offset that comes next
	for _, length := range []uint32{0, 48, 49, 50, 1 << 20, 1<<30 - 12, 1 << 30, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		tail := bytes.Clone(header)
		tail[8], tail[9], tail[10], tail[11] = byte(length>>24), byte(length>>16), byte(length>>8), byte(length)
		r.reopensWith(killed, append(bytes.Clone(content), tail...))
		r.holds(all)
		r.cutOff(len(content), tail)
	}
}

func TestLogGoesOnBehindATornTail(t *testing.T) {
	for _, cut := range []int{0, 1, 80} {
		r, killed, all := torn(t)
		content := bytesOf(all)
		r.reopensWith(killed, content[:len(content)-cut])
		whole, _ := upTo(all, len(content)-cut)
		r.stored = whole
		r.goesOn()
		if cut > 0 && len(r.log.logged()) > 0 {
			t.Errorf("the next start says %q", r.log.logged())
		}
	}
}

// Without its index it is not known what was synced: the valid beginning counts, and
// what follows is damage, which stays where it is.
func TestTailTornAtAnyByteWithoutAnIndex(t *testing.T) {
	r, killed, all := torn(t)
	content := bytesOf(all)
	for n := 0; n <= len(content); n += 1 + n%13 {
		disk := killed.KillClone()
		writeFile(t, disk, activeLog, content[:n])
		if err := disk.Remove(strings.TrimSuffix(activeLog, ".log") + ".index"); err != nil {
			t.Fatal(err)
		}
		r.reopen(disk)
		whole, size := upTo(all, n)
		torn := bytes.TrimRight(content[size:n], "\x00")
		if r.stored = whole; len(torn) == 0 {
			r.holds(whole)
			continue
		}
		first := all[len(whole)].Base
		lost := hole{first, first + int64(len(torn)), false}
		for range 2 {
			if err := r.shows(lost); err != nil {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
			r.restart()
		}
		if kept := readFile(t, r.disk, activeLog); !bytes.HasPrefix(kept, content[:size+len(torn)]) {
			t.Fatalf("cut to %d bytes: the segment has %d bytes", n, len(kept))
		}
	}
}

func TestRecoveryReadsNoMoreThanLiesAboveTheRecoveryPoint(t *testing.T) {
	r, killed, all := torn(t)
	size := int64(len(readFile(t, killed, activeLog)))
	marked := int64(len(bytesOf(all[:4])))
	before, tail := killed.BytesRead(".log"), size-marked
	r.reopen(killed)
	// To check it, to write it once more, to see what is zeros; and what lies between the
	// last entry of the index and the recovery point, to see that it is there.
	if n := r.disk.BytesRead(".log") - before; n > 3*tail+marked {
		t.Errorf("recovery read %d bytes, above the recovery point are %d", n, tail)
	}
	r.restart()
	if n := r.disk.BytesRead(".log"); n > 0 {
		t.Errorf("opening what was closed in order read %d bytes", n)
	}
}

func TestOpeningReadsAsMuchOfALargeLogAsOfASmallOne(t *testing.T) {
	var read []int64
	for _, batches := range []int{30, 300} {
		r := newRig(t, smallSegments())
		r.fill(batches)
		r.reopen(r.disk.KillClone())
		read = append(read, r.disk.BytesRead(""))
	}
	if read[1] > read[0]+segmentBytes {
		t.Errorf("opening read %d bytes of the small log and %d of the large one", read[0], read[1])
	}
}
