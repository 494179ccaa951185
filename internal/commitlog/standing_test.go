package commitlog

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// standingTopics is how many logs there are. All but the first have frames, lastTopics of them in the last
// round, too.
const (
	standingTopics = 20
	lastTopics     = 2
	failedTopic    = 5 // the sync of its segment has failed
)

// killedWithJournal is a disk behind kill -9, whose journal has a message of each log, and of some logs
// another one.
func killedWithJournal(t *testing.T) *crashfs.FS {
	r := newJournalRig(t, standingTopics)
	r.mustAcknowledge(r.round("first", r.logs[1:]...))
	r.mustAcknowledge(r.round("second", r.logs[1:1+lastTopics]...))
	if n := r.calls.segments.Load(); n > 0 {
		t.Fatalf("%d segments were synced", n)
	}
	r.hook(func(c crashfs.Call) error { // the system drops the bytes, and says so once
		if c.Op == crashfs.Sync && isSegmentOf(c, topicOf(failedTopic)) {
			return syscall.EIO
		}
		return nil
	})
	if err := r.logs[failedTopic].commits.syncAll(); err == nil {
		t.Fatal("no sync has failed")
	}
	return r.disk.KillClone()
}

// reopened opens a store with a journal on a disk, and checks that each log has its messages.
func reopened(t *testing.T, disk *crashfs.FS) (*Store, []*partition) {
	t.Helper()
	s, logs := openMany(t, "/data", standingTopics, Options{FS: disk, JournalBytes: journalSize})
	holdMessages(t, s)
	return s, logs
}

// A gate counts syncs of segments, and holds them up until it is opened.
type gate struct {
	open   chan struct{}
	synced [standingTopics]atomic.Int64
	held   [standingTopics]atomic.Bool
	holds  atomic.Int64
	passes atomic.Bool // for those that come later
}

// gateAt puts a gate in front of the syncs of all segments but those of the last round.
func gateAt(t *testing.T, disk *crashfs.FS) *gate {
	g := &gate{open: make(chan struct{})}
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op != crashfs.Sync {
			return nil
		}
		for i := range g.synced {
			if !isSegmentOf(c, topicOf(i)) {
				continue
			}
			if i > lastTopics && !g.passes.Load() {
				g.held[i].Store(true)
				g.holds.Add(1)
				select {
				case <-g.open:
				case <-time.After(time.Minute):
					t.Errorf("%s is synced at the start", topicOf(i))
				}
			}
			g.synced[i].Add(1)
		}
		return nil
	})
	return g
}

func topicOf(i int) string { return fmt.Sprint("topic-", i) }

// What is in the journal is not synced again by a start. A power cut before its checkpoint loses nothing.
func TestAStartSyncsNoSegmentForWhichTheJournalStands(t *testing.T) {
	disk := killedWithJournal(t)
	g := gateAt(t, disk)
	s, logs := reopened(t, disk)
	for i := 1; i <= lastTopics; i++ {
		if g.synced[i].Load() == 0 {
			t.Errorf("%s is not synced, and the last round may not be on the disk", topicOf(i))
		}
	}
	if _, err := store.AppendAndWait(logs[0], oneRecord("third")); err != nil { // it waits for no checkpoint
		t.Error(err)
	}
	cut := disk.Crash(crashfs.Nothing())
	close(g.open)
	s.Close()
	after, _ := openMany(t, "/data", standingTopics, Options{FS: cut, JournalBytes: journalSize})
	defer after.Close()
	holdMessages(t, after)
}

// When the checkpoint is complete, the segments have what the journal has lost.
func TestTheJournalOfAStartIsEmptiedWhenItsSegmentsAreSynced(t *testing.T) {
	disk := killedWithJournal(t)
	before, _ := disk.ReadDir("/data/" + journalDir)
	s, _ := reopened(t, disk)
	brokertest.Await(t, time.Minute, "the journal's files have other names", func() bool {
		now, err := disk.ReadDir("/data/" + journalDir)
		return err == nil && len(now) == 2 && now[0].Name > before[1].Name
	})
	cut := disk.Crash(crashfs.Nothing())
	s.Close()
	after, _ := openMany(t, "/data", standingTopics, Options{FS: cut, JournalBytes: journalSize})
	defer after.Close()
	holdMessages(t, after)
}

// Files that a start has left, and that can't be emptied, are reported once. Topics are synced by themselves.
func TestFilesOfAStartThatCannotBeEmptied(t *testing.T) {
	disk := killedWithJournal(t)
	tries := make(chan struct{}, 100)
	disk.SetHook(func(c crashfs.Call) error {
		if !isJournal(c) || c.Op != crashfs.Rename && c.Op != crashfs.Remove {
			return nil
		}
		if c.Op == crashfs.Remove {
			tries <- struct{}{}
		}
		return syscall.EACCES
	})
	lines := new(brokertest.LogBook)
	s, logs := openMany(t, "/data", standingTopics, Options{FS: disk, JournalBytes: journalSize, Log: slog.New(slog.NewTextHandler(lines, nil))})
	defer s.Close()
	<-tries
	<-tries
	if _, err := store.AppendAndWait(logs[0], oneRecord("third")); err != nil {
		t.Error(err)
	}
	if n := len(lines.Lines("a file of the journal can't be removed")); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

// holdMessages checks that the messages of killedWithJournal are there.
func holdMessages(t *testing.T, s *Store) {
	t.Helper()
	for i := 1; i < standingTopics; i++ {
		p, err := s.Partition(topicOf(i), 0)
		if err != nil {
			t.Fatal(err)
		}
		want := int64(1)
		if i <= lastTopics {
			want = 2
		}
		if _, high := p.Offsets(); high != want {
			t.Errorf("%s ends at %d, want %d", topicOf(i), high, want)
		}
	}
}

// A stop syncs what the journal stands for, because the next start does not read the journal.
func TestAStopSyncsTheSegmentsForWhichTheJournalStands(t *testing.T) {
	disk := killedWithJournal(t)
	g := gateAt(t, disk)
	s, logs := reopened(t, disk)
	brokertest.Await(t, time.Minute, "the checkpoint has begun", func() bool { return g.holds.Load() == checkpointSyncs })
	g.passes.Store(true)
	for i, l := range logs {
		if i == 0 || g.held[i].Load() {
			continue
		}
		if err := l.close(store.ErrClosed); err != nil {
			t.Error(err)
		}
		if g.synced[i].Load() == 0 {
			t.Errorf("%s is closed and not synced", l.topic)
		}
	}
	close(g.open)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.SetHook(nil)
	if content := string(read(t, disk, "/data/"+formatName)); strings.TrimSpace(content) != format {
		t.Errorf("after a clean stop the format is %q", content)
	}
	again, _ := reopened(t, disk.Crash(crashfs.Nothing()))
	again.Close()
}

func read(t *testing.T, disk *crashfs.FS, name string) []byte {
	t.Helper()
	p, err := readHead(disk, name, 4096)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
