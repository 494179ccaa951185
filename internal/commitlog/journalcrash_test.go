package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// values reads the records of a log.
func values(l *partition) (list []string, err error) {
	var c store.Chunk
	defer c.Release()
	for offset, high := l.Offsets(); offset < high; {
		if err := l.Read(offset, 1<<20, &c); err != nil {
			return list, err
		}
		p, err := c.Load(nil)
		if err != nil {
			return list, err
		}
		for len(p) > 0 {
			b, rest, err := batch.Next(p)
			if err != nil {
				return list, err
			}
			var it batch.Iterator
			if err := it.Reset(b); err != nil {
				return list, err
			}
			for it.Next() {
				list = append(list, string(it.Record().Value))
			}
			p, offset = rest, b.NextOffset()
		}
	}
	return list, nil
}

// after opens the store on what a crash has left, and says that a topic has these records.
func (r *journalRig) after(disk *crashfs.FS, topic int, want ...string) {
	r.Helper()
	after := journalRigOn(r.T, disk, len(r.logs), Options{JournalBytes: journalSize})
	got, err := values(after.logs[topic])
	if err != nil || !slices.Equal(got, want) {
		r.Errorf("after a crash topic-%d has %q, %v; want %q", topic, got, err, want)
	}
}

// alone appends to a log, which syncs its segment and writes the recovery point.
func (r *journalRig) alone(l *partition, value string) {
	r.Helper()
	if _, err := store.AppendAndWait(l, oneRecord(value)); err != nil {
		r.Fatal(err)
	}
	if !IsAtRecoveryPoint(l) { // it waits until that is written
		r.Fatal("the recovery point is not at the end")
	}
}

// mustFail awaits that an append is refused, or answered with an error.
func (r *journalRig) mustFail(results chan error) {
	r.Helper()
	for range cap(results) {
		if err := <-results; err == nil {
			r.Error("an append is acknowledged that is in no file")
		}
	}
}

// A refused append is cut off, but the cut is not synced. The next append may rely on the journal only
// when the segment is cut off on the disk, too. Else the power could bring the refused append back behind
// the next one, or in its place.
func TestARefusedAppendDoesNotComeBackBehindTheJournal(t *testing.T) {
	for seed := range uint64(60) {
		r := newJournalRig(t, 3)
		r.refusesOnAFullDisk()
		r.mustAcknowledge(r.round("second", r.logs[1:]...))
		r.after(r.disk.Crash(crashfs.Some(seed)), 1, "topic-1 first", "topic-1 second")
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// The same where the next append comes to another process, which can't know of the cut.
func TestACutByTheProcessBeforeIsDurableBeforeTheJournalCounts(t *testing.T) {
	for seed := range uint64(60) {
		r := newJournalRig(t, 3)
		r.refusesOnAFullDisk()
		next := journalRigOn(t, r.disk.KillClone(), 3, Options{JournalBytes: journalSize})
		next.mustAcknowledge(next.round("second", next.logs[1:]...))
		next.after(next.disk.Crash(crashfs.Some(seed)), 1, "topic-1 first", "topic-1 second")
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// refusesOnAFullDisk has topic-1 take one record and refuse two more, which the disk took whole.
func (r *journalRig) refusesOnAFullDisk() {
	r.Helper()
	r.alone(r.logs[1], "topic-1 first")
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.WriteAt && isSegmentOf(c, "topic-1") {
			return &crashfs.ShortWrite{N: c.Len, Err: syscall.ENOSPC}
		}
		return nil
	})
	refused := slices.Concat(bytes.Clone(oneRecord("topic-1 refus1")), bytes.Clone(oneRecord("topic-1 refus2")))
	if err := store.Append(r.logs[1], refused, func(int64, error) {}); !errors.Is(err, store.ErrFull) {
		r.Fatal(err)
	}
	r.hook(func(crashfs.Call) error { return nil })
}

// A round could not be synced, nor could the segment of one of its logs: the log heals without what
// was refused, and uses its positions again. A start must not find it in the journal.
func TestARefusedRoundDoesNotComeBack(t *testing.T) {
	for seed := range uint64(40) {
		r := newJournalRig(t, 3)
		r.mustAcknowledge(r.round("first", r.logs[1:]...))
		r.hook(func(c crashfs.Call) error {
			if c.Op == crashfs.Sync && (isJournal(c) || isSegmentOf(c, "topic-1")) {
				return syscall.EIO
			}
			return nil
		})
		r.mustFail(r.round("refused", r.logs[1]))
		r.hook(func(crashfs.Call) error { return nil })
		brokertest.Await(t, time.Minute, "the log is healed", func() bool {
			r.logs[1].appends.healIfDue()
			return r.logs[1].commits.usable() == nil
		})
		want := []string{"topic-1 first"}
		if seed%2 == 0 {
			r.alone(r.logs[1], "topic-1 seconds")
			want = append(want, "topic-1 seconds")
		}
		r.after(r.disk.Crash([]crashfs.Policy{crashfs.Everything(), crashfs.Nothing(), crashfs.Some(seed)}[seed%3]), 1, want...)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// The journal is used again and again, and after a power cut every record is there: in its segment, or
// in the journal.
func TestWhatTheJournalHeldOutlivesItsNextUse(t *testing.T) {
	r := newJournalRig(t, 4)
	var want []string
	for n, more := 0, 3; more > 0; n++ { // some more after it was used again
		if r.wasUsedAgain(4) {
			more--
		}
		r.mustAcknowledge(r.round(fmt.Sprint(n), r.logs[1:]...))
		want = append(want, fmt.Sprint("topic-3 ", n))
		r.awaitFreeFile() // or the next round may find none, and the logs sync their segments
	}
	for _, p := range []crashfs.Policy{crashfs.Nothing(), crashfs.Some(1), crashfs.Some(2)} {
		r.after(r.disk.Crash(p), 3, want...)
	}
}

// awaitFreeFile waits until no checkpoint is under way.
func (r *journalRig) awaitFreeFile() {
	r.Helper()
	f := &r.store.journal.files
	brokertest.Await(r.T, time.Minute, "a file is free", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.free != nil
	})
}

// wasUsedAgain says that files have been made empty that often.
func (r *journalRig) wasUsedAgain(times uint64) bool {
	f := &r.store.journal.files
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.generation >= 2+times
}

// The same holds for a partition that was there, and is used again while the store is open.
func TestACutIsDurableInAPartitionThatIsAddedLater(t *testing.T) {
	r := newJournalRig(t, 1)
	r.alone(r.logs[0], "first")
	l := r.store.newPartition(r.store.registry.topics["topic-0"].Topic, 0)
	if err := l.recover(); err != nil {
		t.Fatal(err)
	}
	if l.commits.isSmall() {
		t.Error("its next append may be in the journal only")
	}
}

// A file that an earlier start has kept is older than those that are made now: a later round in it would
// prove theirs.
func TestNewFilesOfTheJournalFollowThoseThatAreKept(t *testing.T) {
	disk := crashfs.New()
	s, _ := openMany(t, "/data", 1, Options{FS: disk, JournalBytes: journalSize})
	defer s.Close()
	if err := s.dir.makeDir(journalDir); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Create(s.dir.path(journalDir, JournalName(9, 1)+keptSuffix)); err != nil {
		t.Fatal(err)
	}
	f := &s.journal.files
	if err := f.make(); err != nil {
		t.Fatal(err)
	}
	if got := min(f.current.name.generation, f.free.name.generation); got < 10 {
		t.Errorf("the new files have generations from %d on, and a kept one has 9", got)
	}
}
