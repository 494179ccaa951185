package commitlog

import (
	"bytes"
	"errors"
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

// An append was refused on a full disk, and cut off without a sync. The next process, which has no
// way to know that, may rely on the journal only when its segment is cut off on the disk, too. Else the
// power could bring the refused append back behind the first new one.
func TestACutByTheProcessBeforeIsDurableBeforeTheJournalCounts(t *testing.T) {
	for seed := range uint64(60) {
		r := newJournalRig(t, 3)
		r.alone(r.logs[1], "topic-1 first")
		r.hook(func(c crashfs.Call) error {
			if c.Op == crashfs.WriteAt && isSegmentOf(c, "topic-1") {
				return &crashfs.ShortWrite{N: c.Len, Err: syscall.ENOSPC}
			}
			return nil
		})
		refused := slices.Concat(bytes.Clone(oneRecord("topic-1 refus1")), bytes.Clone(oneRecord("topic-1 refus2")))
		if err := store.Append(r.logs[1], refused, func(int64, error) {}); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
		next := journalRigOn(t, r.disk.KillClone(), 3, Options{JournalBytes: journalSize})
		next.mustAcknowledge(next.round("second", next.logs[1:]...))
		next.after(next.disk.Crash(crashfs.Some(seed)), 1, "topic-1 first", "topic-1 second")
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// A round could not be synced, nor could the segment of one of its logs: the log heals, and uses
// the positions of the refused append again. A start must not take the round for what came last.
func TestARefusedRoundDoesNotComeBackOverALaterAppend(t *testing.T) {
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
			_, err := store.AppendAndWait(r.logs[1], oneRecord("topic-1 seconds"))
			return err == nil
		})
		r.after(r.disk.Crash([]crashfs.Policy{crashfs.Nothing(), crashfs.Some(seed)}[seed%2]), 1, "topic-1 first", "topic-1 seconds")
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
