package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
)

// wear closes the rig's store and opens it on a disk that has worn.
func (r *rig) wear(d *crashfs.Worn) {
	r.Helper()
	if err := r.store.Close(); err != nil {
		r.Fatal(err)
	}
	d.FS = r.disk.KillClone()
	r.startWorn(d)
}

func (r *rig) startWorn(d *crashfs.Worn) {
	r.Helper()
	r.log, r.disk = new(recorder), d.FS
	r.options.FS, r.options.Log = d, slog.New(r.log)
	s, err := commitlog.Open("/data", r.options)
	if err != nil {
		r.Fatalf("open: %v", err)
	}
	r.store = s
	r.connect()
}

// placed is a stored batch with its place in a segment.
type placed struct {
	batchtest.Stored
	from, to int64
}

// inSegment gives the batches of a segment.
func (r *rig) inSegment(disk *crashfs.FS, log string) (list []placed) {
	r.Helper()
	content := readFile(r.T, disk, log)
	pos := int64(0)
	for _, b := range r.stored[indexOf(r, content):] {
		if !bytes.HasPrefix(content[pos:], b.Bytes) {
			break
		}
		list = append(list, placed{b, pos, pos + int64(len(b.Bytes))})
		pos += int64(len(b.Bytes))
	}
	return list
}

// holesFor returns the holes that readers get if these bytes of a segment can't be read.
func holesFor(list []placed, from, to int64) (holes []hole) {
	for _, b := range list {
		if b.from >= to || b.to <= from {
			continue
		}
		if n := len(holes); n > 0 && holes[n-1].next == b.Base {
			holes[n-1].next = b.Next
		} else {
			holes = append(holes, hole{b.Base, b.Next, false})
		}
	}
	return holes
}

// Sectors that can't be read cost the batches in them and no others, wherever they are and
// whatever the disk says of them, with the index or without.
func TestUnreadableSectorsCostTheirBatchesOnly(t *testing.T) {
	errs := []error{syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.ENODATA, syscall.EILSEQ, syscall.EREMOTEIO, syscall.ESTALE, io.EOF}
	n := 0
	for _, which := range []int{1, -1} {
		for _, size := range []int64{512, 4096, 8192} {
			for from := int64(0); from < 24<<10; from += 512 * (1 + from/512%5) {
				n++
				r := newRig(t, commitlog.Options{SegmentBytes: 24 << 10})
				r.fill(50)
				d := &crashfs.Worn{Blunt: n%2 == 0, Err: errs[n%len(errs)]}
				logs := files(t, r.disk, ".log")
				log := logs[(which+len(logs))%len(logs)]
				list := r.inSegment(r.disk, log)
				d.Break(crashfs.Patch{Suffix: log, From: from, To: from + size})
				if from/512%3 == 0 && from+size <= list[len(list)-1].from { // else nobody knows how many are lost
					r.store.Close()
					r.removeFile(r.disk, strings.TrimSuffix(log, ".log")+".index")
				}
				r.wear(d)
				if err := r.shows(holesFor(list, from, from+size)...); err != nil {
					t.Fatalf("%s, %d bytes at %d (%v): %v", log, size, from, d.Err, err)
				}
				if err := r.store.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// The error says why, and where.
func TestUnreadableSectorIsNamed(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(11)
	d := new(crashfs.Worn)
	log := files(t, r.disk, ".log")[1]
	b := r.inSegment(r.disk, log)[1]
	d.Break(crashfs.Patch{Suffix: log, From: b.from &^ 511, To: b.from&^511 + 512})
	r.wear(d)
	var c store.Chunk
	defer c.Release()
	err := r.Read(b.Base, 1, &c)
	if err == nil {
		_, err = c.Load(nil)
	}
	e, ok := errors.AsType[*store.DamageError](err)
	want := fmt.Sprintf("512 bytes at byte %d can't be read: read %s: input/output error", b.from&^511, log)
	if !ok || e.File != log || !errors.Is(err, syscall.EIO) || !strings.Contains(e.Reason.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
}

// A disk that tries each bad sector for seconds is not asked for it by each reader, but
// after a while it is: the error may have gone.
func TestUnreadableSectorIsTriedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, oneSegment())
		r.fill(20)
		d := new(crashfs.Worn)
		list := r.inSegment(r.disk, activeLog)
		d.Break(crashfs.Patch{Suffix: ".log", From: 4096, To: 8192})
		r.wear(d)
		lost := holesFor(list, 4096, 8192)
		if err := r.shows(lost...); err != nil {
			t.Error(err)
		}
		once := d.Failed.Load()
		for range 50 {
			if err := r.shows(lost...); err != nil {
				t.Fatal(err)
			}
		}
		if n := d.Failed.Load(); n > once || once > 20 {
			t.Errorf("the disk was asked %d times, and %d times more for what it had failed to read", once, n-once)
		}
		d.Break()
		time.Sleep(time.Minute) // in the bubble: what is remembered of a bad sector is forgotten
		if err := r.shows(); err != nil {
			t.Errorf("once it can be read again: %v", err)
		}
		r.store.Close()
	})
}

// A device that is gone is no damage: nobody's position moves past what it holds.
func TestDeviceThatIsGoneIsAnError(t *testing.T) {
	for name, bad := range map[string]crashfs.Patch{
		"nothing can be read":   {Suffix: "", To: 1 << 40},
		"nothing can be opened": {Suffix: "", To: 1 << 40, Open: true},
	} {
		r := newRig(t, oneSegment())
		r.fill(20)
		d := new(crashfs.Worn)
		r.wear(d)
		d.Break(bad)
		for _, offset := range []int64{0, 31, 59} {
			var c store.Chunk
			err := r.Read(offset, 1<<20, &c)
			if err == nil {
				_, err = c.Load(nil)
			}
			c.Release()
			if _, damage := errors.AsType[*store.DamageError](err); damage || !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: read at %d: %v", name, offset, err)
			}
		}
		d.Break()
		r.holdsStored()
	}
}

// A segment of one block is no more than a sector: its index tells whether the device is there.
func TestUnreadableBlockThatHoldsAWholeSegment(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(11)
	d := new(crashfs.Worn)
	log := files(t, r.disk, ".log")[1]
	d.Break(crashfs.Patch{Suffix: log, From: 0, To: 4096})
	list := r.inSegment(r.disk, log)
	r.wear(d)
	if err := r.shows(hole{list[0].Base, list[len(list)-1].Next, false}); err != nil {
		t.Error(err)
	}
}

// An index that can't be read, or not even opened, is built again: at the start, for a
// reader, while the log is open, for retention, sizes and times.
func TestUnreadableIndexIsBuiltAgain(t *testing.T) {
	for _, size := range []int64{512, 1 << 20} {
		for _, open := range []bool{false, true} {
			for _, late := range []bool{false, true} {
				for _, from := range []int64{0, 64, 512} {
					r := newRig(t, commitlog.Options{SegmentBytes: 64 << 10})
					r.fill(300)
					d := new(crashfs.Worn)
					bad := crashfs.Patch{Suffix: ".index", From: from, To: from + size}
					bad.Open = open
					if !late {
						d.Break(bad)
					}
					r.wear(d)
					d.Break(bad)
					size := r.Size()
					if want := int64(len(bytesOf(r.stored))); size != want {
						t.Errorf("size %d, want %d", size, want)
					}
					r.findsTimes()
					r.holdsStored()
					r.fill(1)
					out, err := r.Retain(store.Retention{Bytes: size / 2})
					if err != nil || out.Freed == 0 {
						t.Errorf("%+v, opened late %v: retention frees %d bytes: %v", bad, late, out.Freed, err)
					}
					if err := r.store.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// A segment of which nothing can be read, without its index or with it, goes like others when
// it is time, and does not keep those behind it.
func TestRetentionRemovesSegmentsThatCannotBeRead(t *testing.T) {
	for name, bad := range map[string]crashfs.Patch{"opened": {To: 1 << 40, Open: true}, "read": {To: 1 << 40}} {
		for _, suffix := range []string{".log", ""} {
			for _, r := range []store.Retention{{Bytes: 5000}, {Before: 1 << 60, Keep: 1 << 60}} {
				rig := newRig(t, smallSegments())
				rig.fill(40)
				d := new(crashfs.Worn)
				bad.Suffix = strings.TrimSuffix(files(t, rig.disk, ".log")[1], ".log") + suffix
				d.Break(bad)
				if suffix == "" {
					other := bad
					bad.Suffix, other.Suffix = bad.Suffix+".log", bad.Suffix+".index"
					d.Break(bad, other)
				}
				rig.wear(d)
				out, err := rig.Retain(r)
				if err != nil || out.Start < 90 {
					t.Errorf("%+v, can't be %s: %+v, %v", r, name, out, err)
				}
			}
		}
	}
}

// What is appended first after an index has become one that can't be opened is stored, and found.
func TestAppendWhileTheIndexCannotBeOpened(t *testing.T) {
	r := newRig(t, commitlog.Options{SegmentBytes: 256 << 10})
	r.fill(300)
	d := new(crashfs.Worn)
	r.wear(d)
	d.Break(crashfs.Patch{Suffix: ".index", To: 1 << 40, Open: true})
	r.fill(3)
	r.holdsStored()
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	d.Break()
	d.FS = d.FS.KillClone()
	r.startWorn(d)
	r.holdsStored()
}

// Many read past the same sectors while others append.
func TestManyReadersPastUnreadableSectors(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(40)
	d := &crashfs.Worn{Blunt: true}
	log := files(t, r.disk, ".log")[2]
	list := r.inSegment(r.disk, log)
	d.Break(crashfs.Patch{Suffix: log, From: 512, To: 1024}, crashfs.Patch{Suffix: log, From: 2048, To: 2560}, crashfs.Patch{Suffix: ".index", To: 512})
	want := holesFor(list, 512, 2560)
	r.wear(d)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range 5 {
				if _, holes, err := survey(r.Partition, 1+700*i); err != nil || !slices.Equal(holes, want) {
					t.Errorf("%+v are missing, want %+v: %v", holes, want, err)
				}
			}
		})
	}
	r.fill(10)
	group.Wait()
}

// findsTimes looks each batch up by its time.
func (r *rig) findsTimes() {
	r.Helper()
	for i := 0; i < len(r.stored); i += 7 {
		b := r.stored[i]
		got, err := r.OffsetForTime(batchtest.FirstTime + b.Base)
		if err != nil || got != b.Base {
			r.Fatalf("the batch of offset %d is found at %d, %v", b.Base, got, err)
		}
	}
}

// An index that can't be read is not read again for each reader.
func TestUnreadableIndexIsBuiltOnce(t *testing.T) {
	r := newRig(t, commitlog.Options{SegmentBytes: 1 << 20})
	r.fill(600)
	d := new(crashfs.Worn)
	d.Break(crashfs.Patch{Suffix: ".index", To: 1 << 20})
	r.wear(d)
	for range 20 {
		if err := r.shows(); err != nil {
			t.Fatal(err)
		}
		r.fill(1)
	}
	built := slices.DeleteFunc(r.log.logged(), func(s string) bool { return !strings.Contains(s, "building an index again") })
	if len(built) != 1 {
		t.Errorf("%d times: %q", len(built), built)
	}
}

func TestUnreadableLogStartIsDamaged(t *testing.T) {
	for _, open := range []bool{false, true} {
		r := newRig(t, smallSegments())
		r.fill(20)
		if err := r.Trim(31); err != nil {
			t.Fatal(err)
		}
		first := r.stored[indexOf(r, readFile(t, r.disk, files(t, r.disk, ".log")[0]))].Base
		d := new(crashfs.Worn)
		d.Break(crashfs.Patch{Suffix: "log-start-offset", To: 512, Open: open})
		r.wear(d)
		if start, _ := r.Offsets(); start != first {
			t.Errorf("the log starts at %d, want %d", start, first)
		}
		if logged := r.log.logged(); len(logged) == 0 || !strings.Contains(logged[0], "log start offset that can't be read") {
			t.Errorf("logged was %q", logged)
		}
	}
}

// After a power cut what is found behind the recovery point is written once more. What can't be read is
// not, and it is not cut off as torn with what is valid behind it.
func TestWhatCannotBeReadIsNeverWritten(t *testing.T) {
	for from := int64(0); from < 14_000; from += 1536 {
		r := newRig(t, oneSegment())
		r.fill(20)
		d := &crashfs.Worn{FS: r.disk.Crash(crashfs.Nothing()), Blunt: true}
		whole := readFile(t, d.FS, activeLog)
		r.store.Close()
		d.Break(crashfs.Patch{Suffix: ".log", From: from, To: from + 512})
		d.Wrote = func(name string, p []byte, pos int64) {
			for i, b := range p {
				if at := pos + int64(i); strings.HasSuffix(name, ".log") && at < int64(len(whole)) && b != whole[at] {
					t.Fatalf("byte %d of %s is overwritten", at, name)
				}
			}
		}
		r.startWorn(d)
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What the system could not send is read from then on, and told of as other damage is.
func TestFileThatCannotBeSentIsRead(t *testing.T) {
	for name, failed := range map[string]error{
		"can't be read": fmt.Errorf("sendfile: %w", syscall.EIO), "has become shorter": fmt.Errorf("sendfile: %w", io.ErrUnexpectedEOF),
	} {
		r := newRig(t, oneSegment())
		d := new(crashfs.Worn)
		r.wear(d)
		r.fill(20)
		list := r.inSegment(d.FS, activeLog)
		d.Send = func(vfs.RawWriter, int64, int) error { return failed }
		var c store.Chunk
		if err := r.Read(0, 1<<20, &c); err != nil || !c.Sendable() {
			t.Fatalf("what was written can be sent: %v, %v", c.Sendable(), err)
		}
		if err := c.SendTo(nil); !errors.Is(err, failed) {
			t.Fatal(err)
		}
		d.Break(crashfs.Patch{Suffix: ".log", From: 4096, To: 4608})
		if c.Sendable() {
			t.Errorf("%s: it would be sent again", name)
		}
		c.Release()
		if err := r.shows(holesFor(list, 4096, 4608)...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if logged := r.log.logged(); len(logged) == 0 || !strings.HasPrefix(logged[0], "WARN can't send bytes of a file") ||
			!strings.Contains(logged[0], "topic=orders partition=0 file="+activeLog) {
			t.Errorf("%s: logged was %q", name, logged)
		}
	}
}

// A segment that somebody has cut while the log is open costs what was cut off.
func TestSegmentThatIsCutWhileTheLogIsOpen(t *testing.T) {
	for _, kept := range []int{0, 2, 5} {
		r := newRig(t, smallSegments())
		r.fill(11)
		for _, log := range files(t, r.disk, ".log")[:2] {
			content := readFile(t, r.disk, log)
			list := r.inSegment(r.disk, log)
			kept := min(kept, len(list)-1)
			writeFile(t, r.disk, log, content[:list[kept].from+20])
			if err := r.shows(hole{list[kept].Base, list[len(list)-1].Next, false}); err != nil {
				t.Errorf("%s ends in batch %d: %v", log, kept, err)
			}
			writeFile(t, r.disk, log, content)
		}
		if err := r.shows(); err != nil {
			t.Error(err)
		}
	}
}

// -verify goes on past whatever it can't read, and says what that costs.
func TestVerifyGoesOnPastWhatItCannotRead(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(20)
	for _, name := range []string{"aaa", "zzz"} {
		if _, err := r.store.CreateTopic(name, 1, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	logs := files(t, r.disk, ".log")
	list := r.inSegment(r.disk, logs[1])
	for name, test := range map[string]struct {
		bad  crashfs.Patch
		want string
	}{
		"a sector":  {crashfs.Patch{Suffix: logs[1], From: 512, To: 1024}, fmt.Sprintf("offsets=%d-", list[0].Base)},
		"a segment": {crashfs.Patch{Suffix: logs[1], To: 1 << 40, Open: true}, fmt.Sprintf("offsets=%d-%d ", list[0].Base, list[len(list)-1].Next-1)},
		"an index":  {crashfs.Patch{Suffix: strings.TrimSuffix(logs[1], ".log") + ".index", To: 512}, "index is built again"},
		"its index": {crashfs.Patch{Suffix: strings.TrimSuffix(logs[1], ".log") + ".index", To: 512, Open: true}, "index is built again"},
		"all of it": {crashfs.Patch{Suffix: ".log", To: 1 << 40}, "offsets=0-"},
		"a topic":   {crashfs.Patch{Suffix: "aaa/topic.json", To: 512}, `topic="aaa"`},
		"nothing":   {crashfs.Patch{Suffix: "nosuch", To: 1}, ""},
	} {
		d := &crashfs.Worn{FS: r.disk.KillClone(), Err: syscall.EIO}
		d.Break(test.bad)
		content := readFile(t, d.FS, "/data/topics/zzz/topic.json")
		writeFile(t, d.FS, "/data/topics/zzz/topic.json", content[:10])
		var found []string
		sum, err := commitlog.Verify("/data", commitlog.Options{FS: d}, func(f commitlog.Finding) { found = append(found, f.String()) })
		if err != nil || sum.Damaged != len(found) || sum.Topics != 3 {
			t.Errorf("%s: %+v, %q, %v", name, sum, found, err)
		}
		for _, want := range []string{test.want, `topic="zzz"`} {
			if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, want) }) {
				t.Errorf("%s: %q is missing in %q", name, want, found)
			}
		}
	}
}

// A segment that has gone, or whose file can't be opened, is damage of its offsets, while the log
// is open, too. Those behind it are found, and retention and publishers go on.
func TestSegmentThatCannotBeOpened(t *testing.T) {
	for _, removed := range []bool{false, true} {
		for which := range 3 {
			for _, used := range []bool{false, true} {
				r := newRig(t, smallSegments())
				r.fill(14)
				d := new(crashfs.Worn)
				r.wear(d)
				if used { // its index has been read
					r.holdsStored()
				}
				log := files(t, r.disk, ".log")[which]
				list := r.inSegment(r.disk, log)
				if removed {
					r.removeFile(r.disk, log)
				} else {
					d.Break(crashfs.Patch{Suffix: log, To: 1 << 40, Open: true})
				}
				lost := hole{list[0].Base, list[len(list)-1].Next, false}
				if err := r.shows(lost); err != nil {
					t.Fatalf("segment %d, removed %v, used %v: %v", which, removed, used, err)
				}
				if _, err := r.Tail(1 << 20); err != nil {
					t.Errorf("the log's tail: %v", err)
				}
				if offset, err := r.OffsetForTime(batchtest.FirstTime + 39); err != nil || offset != 39 {
					t.Errorf("segment %d, removed %v, used %v: record 39 is found at %d, %v", which, removed, used, offset, err)
				}
				r.fill(1)
				out, err := r.Retain(store.Retention{Bytes: 3000})
				if err != nil || out.Start < lost.next {
					t.Errorf("segment %d, removed %v, used %v: retained from %d, %v", which, removed, used, out.Start, err)
				}
			}
		}
	}
}

// Behind a sector that can't be read nothing can be written, as the system would have to read its
// block first: the log goes on in a new segment.
func TestAppendBehindAnUnreadableEnd(t *testing.T) {
	r := newRig(t, oneSegment())
	r.fill(11)
	list := r.inSegment(r.disk, activeLog)
	end := list[len(list)-1].to
	bad := crashfs.Patch{Suffix: activeLog, From: (end - 1) &^ 511, To: end}
	d := new(crashfs.Worn)
	d.Break(bad)
	r.wear(d)
	for range 2 {
		r.fill(3)
		if err := r.shows(holesFor(list, bad.From, bad.To)...); err != nil {
			t.Error(err)
		}
		for _, e := range files(t, r.disk, ".log") {
			if size := int64(len(readFile(t, r.disk, e))); e == activeLog && size != end {
				t.Errorf("the segment has %d bytes, not %d", size, end)
			}
		}
		r.store.Close()
		r.startWorn(d)
	}
}

// A disk may lose millions of sectors at once. They are remembered as one part: the time and
// the memory that each sector took grew with their number.
func TestLargePartThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, oneSegment())
		const size = 128 << 10
		for range 256 {
			r.append(r.Batch(1, size))
		}
		d := new(crashfs.Worn)
		d.Break(crashfs.Patch{Suffix: activeLog, From: 2 * size, To: 254 * size})
		r.wear(d)
		list, holes, err := survey(r.Partition, 1<<20)
		if err != nil || len(holes) != 1 || len(list) < 3 {
			t.Errorf("%d batches are left, missing is %+v: %v", len(list), holes, err)
		}
		if n := commitlog.BadSpans(r.Partition); n != 1 {
			t.Errorf("%d parts are remembered, want 1", n)
		}
		r.store.Close()
	})
}
