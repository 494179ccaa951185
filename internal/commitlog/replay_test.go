package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
)

// These tests put data directories together as a power cut leaves them: the journal holds what the
// segments lack.

const (
	journalDir = "/data/journal"
	testSalt   = 0x0123456789abcdef
)

var journalFile = journalDir + "/" + commitlog.JournalName(1, testSalt)

// A cut is a log before a power cut, of which the segment has lost all but some batches.
type cut struct {
	*rig
	topic store.Topic
	disk  *crashfs.FS
	kept  int // batches in the segment
}

// cutAt makes a log with that many batches, of which a power cut leaves some in the segment. More is in
// the journal.
func cutAt(t *testing.T, o commitlog.Options, kept, batches int) *cut {
	t.Helper()
	o.JournalBytes = 1 << 20
	r := newRig(t, o)
	r.fill(kept)
	commitlog.IsAtRecoveryPoint(r.Partition) // it waits until that is written
	index := readFile(t, r.disk, activeIndex)
	r.fill(batches - kept)
	c := &cut{r, r.store.Topics()[0], r.disk.Crash(crashfs.Everything()), kept}
	writeFile(t, c.disk, activeLog, bytesOf(r.stored[:kept]))
	writeFile(t, c.disk, activeIndex, index)
	return c
}

// frame is the frame of some batches of the log.
func (c *cut) frame(from, to int) commitlog.JournalFrame {
	return commitlog.JournalFrame{
		Topic: c.topic, Pos: int64(len(bytesOf(c.stored[:from]))),
		First: c.stored[from].Base, Next: c.stored[to-1].Next, Data: bytesOf(c.stored[from:to]),
	}
}

// other is a frame of the log in another epoch.
func (c *cut) other() commitlog.JournalFrame {
	topic := c.topic
	topic.Epoch--
	return commitlog.JournalFrame{Topic: topic, Next: 1, Data: []byte("of another log")}
}

// journal writes a journal file with these rounds, and returns where the frames begin.
func (c *cut) journal(rounds ...[]commitlog.JournalFrame) []int {
	c.Helper()
	content, at := commitlog.JournalFile(testSalt, rounds...)
	makeJournal(c.T, c.disk, map[string][]byte{journalFile: content})
	return at
}

// makeJournal makes the files of a journal that holds something.
func makeJournal(t *testing.T, disk *crashfs.FS, files map[string][]byte) {
	t.Helper()
	if err := disk.Mkdir(journalDir); err != nil {
		t.Fatal(err)
	}
	files = maps.Clone(files)
	for name, content := range files { // there are always two
		if len(files) == 1 {
			files[path.Join(path.Dir(name), commitlog.JournalName(1<<40, 77))] = make([]byte, len(content))
		}
	}
	for name, content := range files {
		f, err := disk.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		writeFile(t, disk, name, content)
	}
	if err := errors.Join(disk.SyncDir(journalDir), disk.SyncDir("/data")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, disk, "/data/format", []byte("mbus J\n"))
}

// damage flips a bit in the journal.
func (c *cut) damage(at int) {
	c.Helper()
	content := readFile(c.T, c.disk, journalFile)
	content[at] ^= 0x10
	writeFile(c.T, c.disk, journalFile, content)
}

// opens opens the store as it is after the power cut. What -verify finds is checked by found.
func (c *cut) opens() *rig {
	c.Helper()
	r := &rig{T: c.T, Maker: c.Maker, options: c.options, stored: slices.Clone(c.stored)}
	r.start(c.disk.KillClone())
	r.connect()
	c.Cleanup(func() { r.store.Close() })
	return r
}

// single are rounds of one frame of each batch.
func (c *cut) single() (rounds [][]commitlog.JournalFrame) {
	for i := c.kept; i < len(c.stored); i++ {
		rounds = append(rounds, []commitlog.JournalFrame{c.other(), c.frame(i, i+1)})
	}
	return rounds
}

func TestReplayWritesWhatTheSegmentLacks(t *testing.T) {
	for kept := range 10 {
		c := cutAt(t, oneSegment(), kept, 10)
		c.journal(c.single()...)
		sum, found := verify(t, c.disk, c.options)
		if sum.Records != 30 || sum.Damaged > 0 {
			t.Errorf("%d batches kept: -verify counts %d records, and says %q", kept, sum.Records, found)
		}
		r := c.opens()
		r.holdsStored()
		if log := r.log.logged(); len(log) > 0 {
			t.Errorf("%d batches kept: logged was %q", kept, log)
		}
		r.goesOn()
	}
}

// A crash during the replay, at any call, leads to another one.
func TestReplayIsRepeatedAfterACrash(t *testing.T) {
	for _, kept := range []int{0, 4} {
		c := cutAt(t, oneSegment(), kept, 10)
		c.journal(c.single()...)
		for n, died := int64(1), true; died && !t.Failed(); n++ {
			disk := c.disk.KillClone()
			calls := killAt(disk, n)
			o := c.options
			o.FS = disk
			if s, err := commitlog.Open("/data", o); err == nil {
				s.Close()
			}
			died = calls.Load() >= n
			for seed := range uint64(8) {
				again := &cut{c.rig, c.topic, disk.Crash(crashfs.Torn(seed)), kept}
				if seed == 0 {
					again.disk = disk.KillClone()
				}
				r := again.opens()
				r.holdsStored()
				r.goesOn()
				r.store.Close()
			}
		}
	}
}

// The last frame of the log is damaged: wherever a start is cut short, the next one goes on behind it.
func TestReplayOfADamagedFrameIsRepeatedAfterACrash(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	starts := c.journal(append(c.single(), []commitlog.JournalFrame{c.other()})...)
	c.damage(starts[11] + 300)
	for n, died := int64(1), true; died && !t.Failed(); n++ {
		disk := c.disk.KillClone()
		calls := killAt(disk, n)
		o := c.options
		o.FS = disk
		if s, err := commitlog.Open("/data", o); err == nil {
			s.Close()
		}
		died = calls.Load() >= n
		for seed := range uint64(8) {
			again := &cut{c.rig, c.topic, disk.Crash(crashfs.Some(seed)), 4}
			r := again.opens()
			for range 2 {
				if err := r.shows(hole{c.stored[9].Base, c.stored[9].Next, true}); err != nil {
					t.Errorf("killed before call %d, outcome %d: %v", n, seed, err)
				}
				r.fill(1)
			}
			if at := r.stored[10].Base; at != c.stored[9].Next {
				t.Errorf("killed before call %d, outcome %d: the log goes on at %d", n, seed, at)
			}
			r.store.Close()
		}
	}
}

// A frame is damaged, and later ones are valid: what it holds is lost, what follows is there.
func TestDamageInTheJournalIsReportedWithOffsets(t *testing.T) {
	for lost := 4; lost < 9; lost++ {
		for name, at := range map[string]int{"header": 40, "data": 200, "salt": 8} {
			c := cutAt(t, oneSegment(), 4, 10)
			starts := c.journal(c.single()...)
			c.damage(starts[2*(lost-4)+1] + at)
			_, found := verify(t, c.disk, c.options)
			first, next := c.stored[lost].Base, c.stored[lost].Next
			if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, fmt.Sprintf("offsets=%d-%d ", first, next-1)) }) ||
				!slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, journalFile) }) {
				t.Errorf("%s of batch %d: -verify says %q", name, lost, found)
			}
			r := c.opens()
			if err := r.shows(hole{first, next, false}); err != nil {
				t.Errorf("%s of batch %d: %v", name, lost, err)
			}
			if !r.log.says("ERROR the journal is damaged") || !r.log.says(fmt.Sprintf("ERROR messages are damaged that were acknowledged; those behind them are kept topic=orders partition=0 first=%d next=%d", first, next)) {
				t.Errorf("%s of batch %d: logged was %q", name, lost, r.log.logged())
			}
			r.fill(1)
			if err := r.shows(hole{first, next, false}); err != nil {
				t.Errorf("%s of batch %d, and one appended: %v", name, lost, err)
			}
		}
	}
}

// The last frame of a log is damaged, and a later round proves that it was acknowledged: no offset is
// used twice.
func TestDamageOfTheLastFrameOfALog(t *testing.T) {
	for _, garbage := range []bool{false, true} {
		c := cutAt(t, oneSegment(), 4, 10)
		starts := c.journal(append(c.single(), []commitlog.JournalFrame{c.other()})...)
		c.damage(starts[11] + 300)
		if garbage { // a part of it is in the segment
			pos := len(bytesOf(c.stored[:9]))
			writeFile(t, c.disk, activeLog, append(bytesOf(c.stored[:4]), append(make([]byte, pos-len(bytesOf(c.stored[:4]))), bytesOf(c.stored[9:])[:150]...)...))
		}
		first, next := c.stored[9].Base, c.stored[9].Next
		sum, found := verify(t, c.disk, c.options)
		if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, fmt.Sprintf("offsets=%d-%d ", first, next-1)) }) || sum.Damaged != 2 {
			t.Errorf("garbage %v: -verify says %q", garbage, found)
		}
		r := c.opens()
		if !r.log.says(fmt.Sprintf("ERROR messages are lost that were acknowledged: the journal is damaged; the log goes on behind them topic=orders partition=0 first=%d next=%d", first, next)) {
			t.Errorf("garbage %v: logged was %q", garbage, r.log.logged())
		}
		lost := hole{first, next, !garbage}
		for range 2 {
			if err := r.shows(lost); err != nil {
				t.Errorf("garbage %v: %v", garbage, err)
			}
			if _, high := r.Offsets(); high < next {
				t.Errorf("garbage %v: the log goes on at %d", garbage, high)
			}
			r.restart()
		}
	}
}

// The last round is invalid: it was not acknowledged, unless the disk has damaged it.
func TestUnfinishedRoundOfTheJournal(t *testing.T) {
	for _, in := range []int{40, 300} {
		c := cutAt(t, oneSegment(), 4, 10)
		starts := c.journal(c.single()...)
		c.damage(starts[11] + in)
		sum, found := verify(t, c.disk, c.options)
		if sum.Damaged > 0 || len(found) == 0 {
			t.Errorf("-verify says %q", found)
		}
		r := c.opens()
		r.stored = r.stored[:9]
		r.holdsStored()
		if !r.log.says("WARN the last write to the journal is incomplete") || r.log.says("ERROR") {
			t.Errorf("logged was %q", r.log.logged())
		}
		r.goesOn()
	}
}

// The page cache has what a damaged frame held: it is kept, and the damage is reported.
func TestDamageInTheJournalIsNotHiddenByThePageCache(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	starts := c.journal(c.single()...)
	for _, at := range starts[:11] {
		c.damage(at + 99)
	}
	writeFile(t, c.disk, activeLog, bytesOf(c.stored))
	writeFile(t, c.disk, "/data/boot", []byte(c.disk.Boot()))
	if sum, found := verify(t, c.disk, c.options); sum.Damaged == 0 || sum.Records != 30 {
		t.Errorf("-verify counts %d, and says %q", sum.Records, found)
	}
	r := c.opens()
	r.holdsStored()
	if !r.log.says("ERROR the journal is damaged") || r.log.says("messages are damaged") || r.log.says("topic=orders") {
		t.Errorf("logged was %q", r.log.logged())
	}
	r.goesOn()
}

// With -fsync INTERVAL a log ends at the first damage after a power cut, but the journal was synced.
func TestReplayBehindAGapWithAnInterval(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	starts := c.journal(c.single()...)
	c.damage(starts[5] + 200)
	writeFile(t, c.disk, "/data/boot", []byte("another boot interval"))
	lost := hole{c.stored[6].Base, c.stored[6].Next, false}
	// Behind the journal there is a tail that was not synced: a damaged batch, and a valid one.
	content := bytesOf(c.stored[:4])
	more := bytes.Clone(bytesOf(c.stored[9:]))
	writeFile(t, c.disk, activeLog, append(append(content, make([]byte, len(bytesOf(c.stored))-len(content))...), more[:300]...))
	if _, found := verify(t, c.disk, c.options); !slices.ContainsFunc(found, func(s string) bool {
		return strings.Contains(s, fmt.Sprintf("offsets=%d-%d ", lost.first, lost.next-1))
	}) {
		t.Errorf("-verify says %q", found)
	}
	r := c.opens()
	if err := r.shows(lost); err != nil {
		t.Errorf("%v; logged was %q", err, r.log.logged())
	}
}

func TestReplayIntoASegmentThatIsMissing(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	missing := c.frame(4, 7)
	missing.Base, missing.Pos = missing.First, 0
	c.journal([]commitlog.JournalFrame{missing}, []commitlog.JournalFrame{c.other()})
	first, next := missing.First, missing.Next
	if sum, found := verify(t, c.disk, c.options); sum.Damaged != 1 || !strings.Contains(strings.Join(found, ""), fmt.Sprintf("offsets=%d-%d ", first, next-1)) {
		t.Errorf("-verify says %q", found)
	}
	r := c.opens()
	r.stored = r.stored[:7]
	if err := r.shows(hole{first, next, true}); err != nil {
		t.Error(err)
	}
	if !r.log.says(fmt.Sprintf("ERROR a segment is missing that the journal has messages of: the data directory is an incomplete copy, or damaged topic=orders partition=0 first=%d next=%d", first, next)) {
		t.Errorf("logged was %q", r.log.logged())
	}
	r.fill(1)
	if at := r.stored[len(r.stored)-1].Base; at != next {
		t.Errorf("the log goes on at %d", at)
	}
}

// Frames that are not written: of another epoch, of another topic, below the log start, of a segment
// that is complete, and of a journal that is not used.
func TestFramesThatAreNotReplayed(t *testing.T) {
	wrong := func(c *cut) commitlog.JournalFrame {
		f := c.frame(4, 5)
		f.Data = bytes.Repeat([]byte{0xee}, len(f.Data))
		return f
	}
	for name, make := range map[string]func(c *cut) commitlog.JournalFrame{
		"another epoch": func(c *cut) commitlog.JournalFrame {
			f := wrong(c)
			f.Topic.Epoch++
			return f
		},
		"another topic": func(c *cut) commitlog.JournalFrame {
			f := wrong(c)
			f.Topic.ID[0]++
			return f
		},
		"another partition": func(c *cut) commitlog.JournalFrame {
			f := wrong(c)
			f.Number = 1
			f.Topic.Epoch--
			return f
		},
		"below the recovery point": func(c *cut) commitlog.JournalFrame {
			f := wrong(c)
			f.Pos = int64(len(bytesOf(c.stored[:4])) - len(f.Data))
			return f
		},
		"a format without a journal": func(c *cut) commitlog.JournalFrame {
			writeFile(t, c.disk, "/data/format", []byte("mbus 2\n"))
			return wrong(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cutAt(t, oneSegment(), 4, 10)
			c.journal([]commitlog.JournalFrame{c.other()})
			content, _ := commitlog.JournalFile(testSalt, []commitlog.JournalFrame{make(c)})
			writeFile(t, c.disk, journalFile, content)
			missing := name == "another topic" || name == "another partition"
			if _, found := verify(t, c.disk, c.options); len(found) > 0 != missing {
				t.Errorf("-verify says %q", found)
			}
			r := c.opens()
			r.stored = r.stored[:4]
			r.holdsStored()
			r.goesOn()
		})
	}
}

// A topic can't be used, because a disk is not mounted. What the journal holds of it is there when it is
// back.
func TestFramesOfAMissingTopicAreKept(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	c.journal(c.single()...)
	if err := c.disk.Rename("/data/topics/orders", "/data/away"); err != nil {
		t.Fatal(err)
	}
	o := c.options
	for range 2 {
		log := new(recorder)
		s := openWith(t, c.disk, log)
		if _, err := s.Partition("orders", 0); !errors.Is(err, store.ErrUnusable) {
			t.Fatal(err)
		}
		if _, err := s.CreateTopic("another", 1, ""); err != nil && !errors.Is(err, store.ErrTopicExists) {
			t.Fatal(err)
		}
		s.Close()
		c.disk = c.disk.KillClone()
		if got := string(readFile(t, c.disk, "/data/format")); got != "mbus J\n" {
			t.Errorf("the format is %q", got)
		}
	}
	if err := c.disk.Rename("/data/away", "/data/topics/orders"); err != nil {
		t.Fatal(err)
	}
	c.options = o
	r := c.opens()
	r.holdsStored()
	r.goesOn()
	if list, err := r.disk.ReadDir(journalDir); err != nil || slices.ContainsFunc(list, func(e vfs.Entry) bool { return strings.HasSuffix(e.Name, ".kept") }) {
		t.Errorf("then there are %v, %v", list, err)
	}
	r.reopen(r.disk.KillClone())
	if r.log.says("ERROR") {
		t.Errorf("after a kill, logged was %q", r.log.logged())
	}
}

// A partition that was added to a topic is missing at a start, and is added again while the store is open.
func TestFramesOfAMissingPartitionAreKept(t *testing.T) {
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	for _, name := range []string{"orders", "other"} { // so that epochs are not in a row
		if _, err := s.CreateTopic(name, 1, ""); err != nil {
			t.Fatal(err)
		}
	}
	grown, err := s.AddPartitions("orders", 2)
	if err != nil {
		t.Fatal(err)
	}
	const dir = "/data/topics/orders/1"
	appendThree(t, s, "orders", 1)
	index := readFile(t, disk, dir+"/00000000000000000000.index")
	appendThree(t, s, "orders", 1)
	both := readFile(t, disk, dir+"/00000000000000000000.log")
	disk = disk.Crash(crashfs.Everything())
	size, err := batch.Size(both, len(both)) // of each of them
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, disk, dir+"/00000000000000000000.log", both[:size])
	writeFile(t, disk, dir+"/00000000000000000000.index", index)
	content, _ := commitlog.JournalFile(testSalt, []commitlog.JournalFrame{{
		Topic: grown, Number: 1, Pos: int64(size), First: 3, Next: 6, Data: both[size : 2*size],
	}})
	makeJournal(t, disk, map[string][]byte{journalFile: content})
	if err := disk.Rename(dir, "/data/away"); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, disk, nil)
	if err := disk.Rename("/data/away", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddPartitions("orders", 2); err != nil {
		t.Fatal(err)
	}
	hasRecords(t, s, "orders", 1, 6)
	appendThree(t, s, "orders", 1)
	s.Close()
	s = openWith(t, disk.KillClone(), nil)
	hasRecords(t, s, "orders", 1, 9)
}

// The last round of a file that was kept stays unfinished, although a later process has written others.
func TestUnfinishedRoundOfAJournalFileThatWasKept(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	kept, _ := commitlog.JournalFile(testSalt, []commitlog.JournalFrame{c.other()}, []commitlog.JournalFrame{c.other(), c.frame(4, 5)})
	kept[4096+110] ^= 1
	kept[4096+96+16+96+200] ^= 1
	later, _ := commitlog.JournalFile(testSalt+1, []commitlog.JournalFrame{c.other()})
	makeJournal(t, c.disk, map[string][]byte{journalFile + ".kept": kept, journalDir + "/" + commitlog.JournalName(2, testSalt+1): later})
	if sum, found := verify(t, c.disk, c.options); sum.Damaged > 0 {
		t.Errorf("-verify says %q", found)
	}
	r := c.opens()
	r.stored = r.stored[:4]
	r.holdsStored()
	if r.log.says("ERROR") || !r.log.says("WARN the last write to the journal is incomplete") {
		t.Errorf("logged was %q", r.log.logged())
	}
}

func TestFramesOfADeletedTopicAreNotKept(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	if err := c.disk.Rename("/data/topics/orders", "/data/away"); err != nil {
		t.Fatal(err)
	}
	s := openWith(t, c.disk, nil)
	if err := s.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	c.disk = c.disk.KillClone()
	c.journal(c.single()...)
	log := new(recorder)
	s = openWith(t, c.disk, log)
	defer s.Close()
	if log.says("is kept") {
		t.Errorf("logged %q", log.logged())
	}
}

// A sector of the journal can't be read: that is damage of this sector only.
func TestJournalWithAnUnreadableSector(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	starts := c.journal(c.single()...)
	disk := &crashfs.Worn{FS: c.disk, Blunt: true}
	at := int64(starts[5]) &^ 511
	disk.Break(crashfs.Patch{Suffix: commitlog.JournalName(1, testSalt), From: at, To: at + 512})
	lost := hole{c.stored[6].Base, c.stored[6].Next, false}
	log := new(recorder)
	s := openWith(t, disk, log)
	defer s.Close()
	r := &rig{T: t, Maker: c.Maker, store: s, stored: c.stored}
	r.connect()
	if err := r.shows(lost); err != nil {
		t.Errorf("%v; logged was %q", err, log.logged())
	}
	if !log.says("ERROR the journal is damaged") {
		t.Errorf("logged was %q", log.logged())
	}
}

// What a journal lacks is reported at one start, and not again after the next kill.
func TestWhatIsMissingOfTheJournalIsReportedOnce(t *testing.T) {
	second := path.Join(journalDir, commitlog.JournalName(1<<40, 77))
	for name, lose := range map[string]func(*crashfs.FS) error{
		"a file": func(disk *crashfs.FS) error { return disk.Remove(second) },
		"the directory": func(disk *crashfs.FS) error {
			return errors.Join(disk.Remove(second), disk.Remove(journalFile), disk.Remove(journalDir))
		},
		"the end of a file": func(disk *crashfs.FS) error { return truncate(disk, second, 100) },
		"all bytes": func(disk *crashfs.FS) error {
			return errors.Join(truncate(disk, second, 0), truncate(disk, journalFile, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cutAt(t, oneSegment(), 10, 10)
			c.journal(c.single()...)
			if err := lose(c.disk); err != nil {
				t.Fatal(err)
			}
			if sum, found := verify(t, c.disk, c.options); sum.Damaged != 1 {
				t.Errorf("-verify says %q", found)
			}
			r := c.opens()
			r.holdsStored()
			if n := strings.Count(strings.Join(r.log.logged(), ""), "ERROR"); n != 1 || !r.log.says("journal") {
				t.Errorf("logged was %q", r.log.logged())
			}
			r.reopen(r.disk.KillClone())
			if r.log.says("ERROR") {
				t.Errorf("after the next kill, logged was %q", r.log.logged())
			}
			r.goesOn()
		})
	}
}

func truncate(disk *crashfs.FS, name string, size int64) error {
	f, err := disk.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

// An unreadable file system has a file that belongs to another user.
type unreadable struct {
	*crashfs.FS
	name string
}

func (u unreadable) Open(name string) (vfs.File, error) {
	if name == u.name {
		return nil, syscall.EACCES
	}
	return u.FS.Open(name)
}

// A file of the journal that can't be read is reported once, under the name that it has then.
func TestJournalFileThatCannotBeRead(t *testing.T) {
	c := cutAt(t, oneSegment(), 10, 10)
	c.journal(c.single()...)
	log := new(recorder)
	s := openWith(t, unreadable{c.disk, journalFile}, log)
	s.Close()
	if n := strings.Count(strings.Join(log.logged(), ""), "ERROR"); n != 1 || !log.says("can't be read, and is kept") || !log.says(journalFile+".kept") {
		t.Errorf("logged was %q", log.logged())
	}
}

// Other files in the journal's directory are left alone, and a broker without a journal removes its own.
func TestJournalIsRemovedWhereItIsNotUsed(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	c.journal(c.single()...)
	f, err := c.disk.Create(journalDir + "/notes.txt")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	c.options.JournalBytes = 0
	r := c.opens()
	r.holdsStored()
	if !r.log.says("WARN ignoring a file that is not the journal's") {
		t.Errorf("logged was %q", r.log.logged())
	}
	if list, err := r.disk.ReadDir(journalDir); err != nil || len(list) != 1 || list[0].Name != "notes.txt" {
		t.Errorf("there are %v, %v", list, err)
	}
	r.goesOn()
}

// A full disk has no space for a new file "format". The next start must not look for the removed journal.
func TestJournalIsRemovedOnAFullDisk(t *testing.T) {
	c := cutAt(t, oneSegment(), 10, 10)
	c.journal(c.single()...)
	c.options.JournalBytes = 0
	full := c.disk.KillClone()
	full.SetHook(func(call crashfs.Call) error {
		if call.Op == crashfs.WriteAt && call.Name == "/data/format.tmp" {
			return syscall.ENOSPC
		}
		return nil
	})
	s := openWith(t, full, new(recorder))
	defer s.Close()
	c.disk = full.KillClone()
	r := c.opens()
	r.holdsStored()
	if r.log.says("ERROR") {
		t.Errorf("after a kill, logged was %q", r.log.logged())
	}
}

// A segment has other messages in the place of a frame: those are newer.
func TestJournalThatIsOlderThanASegment(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 5)
	f := c.frame(4, 5)
	m := batchtest.Maker{}
	other := m.Batch(3, 201)
	batch.Batch(other).Stamp(f.First, c.topic.Epoch)
	f.Data = other
	c.journal([]commitlog.JournalFrame{f})
	writeFile(t, c.disk, activeLog, bytesOf(c.stored))
	r := c.opens()
	r.holdsStored()
	if !r.log.says("WARN the journal is older than a segment") {
		t.Errorf("logged was %q", r.log.logged())
	}
}

// There is no space for what the journal holds: the topic can't be used, and nothing is lost.
func TestReplayOnAFullDisk(t *testing.T) {
	c := cutAt(t, oneSegment(), 4, 10)
	c.journal(c.single()...)
	full := c.disk.KillClone()
	full.SetHook(func(call crashfs.Call) error {
		if isLog(call) && call.Op == crashfs.WriteAt {
			return syscall.ENOSPC
		}
		return nil
	})
	log := new(recorder)
	s := openWith(t, full, log)
	if _, err := s.Partition("orders", 0); !errors.Is(err, store.ErrUnusable) {
		t.Errorf("the partition: %v", err)
	}
	if !log.says("ERROR a topic can't be used") || !log.says("no space left on device do=make space on the disk, and restart the broker") {
		t.Errorf("logged was %q", log.logged())
	}
	s.Close()
	c.disk = full.KillClone()
	r := c.opens()
	r.holdsStored()
	r.goesOn()
}
