package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A journalRig is a store with several topics of one log each, and a journal.
type journalRig struct {
	*testing.T
	disk  *crashfs.FS
	store *Store
	logs  []*partition
	lines *brokertest.LogBook
	calls struct{ journal, segments atomic.Int64 } // syncs
}

const journalSize = 4 * 80 << 10

func newJournalRig(t *testing.T, topics int) *journalRig {
	return newJournalRigOf(t, topics, Options{JournalBytes: journalSize})
}

func newJournalRigOf(t *testing.T, topics int, o Options) *journalRig {
	return journalRigOn(t, crashfs.New(), topics, o)
}

// journalRigOn has the store on a disk.
func journalRigOn(t *testing.T, disk *crashfs.FS, topics int, o Options) *journalRig {
	r := &journalRig{T: t, disk: disk, lines: new(brokertest.LogBook)}
	o.FS, o.Log = r.disk, slog.New(slog.NewTextHandler(r.lines, nil))
	r.store, r.logs = openMany(t, "/data", topics, o)
	r.store.healAfter = time.Millisecond
	for _, l := range r.logs {
		l.healAfter = time.Millisecond
	}
	t.Cleanup(func() {
		r.disk.SetHook(nil)
		r.store.Close()
	})
	if err := r.store.journal.files.make(); err != nil {
		t.Fatal(err)
	}
	r.hook(func(crashfs.Call) error { return nil })
	return r
}

// openMany opens a store with topics of one log each.
func openMany(t testing.TB, dir string, topics int, o Options) (*Store, []*partition) {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	var logs []*partition
	for i := range topics {
		name := fmt.Sprintf("topic-%d", i)
		if _, err := s.CreateTopic(name, 1, ""); err != nil && !errors.Is(err, store.ErrTopicExists) {
			t.Fatal(err)
		}
		p, err := s.Partition(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, p.(*partition))
	}
	return s, logs
}

// hook counts syncs and calls f before each operation.
func (r *journalRig) hook(f func(crashfs.Call) error) {
	r.disk.SetHook(func(c crashfs.Call) error {
		err := f(c)
		if c.Op == crashfs.Sync && err == nil {
			switch {
			case isJournal(c):
				r.calls.journal.Add(1)
			case strings.HasSuffix(c.Name, logSuffix):
				r.calls.segments.Add(1)
			}
		}
		return err
	})
}

func isJournal(c crashfs.Call) bool { return strings.HasPrefix(c.Name, "/data/"+journalDir+"/") }

func isSegmentOf(c crashfs.Call, topic string) bool {
	return strings.HasPrefix(c.Name, "/data/topics/"+topic+"/") && strings.HasSuffix(c.Name, logSuffix)
}

func oneRecord(value string) []byte {
	var b batch.Builder
	b.Add(1, nil, []byte(value))
	b.Close(0)
	return b.Bytes()
}

// round has logs append a record each, in one round of the journal if they are several, and returns
// their results.
func (r *journalRig) round(value string, logs ...*partition) (results chan error) {
	r.Helper()
	results = make(chan error, len(logs))
	r.roundOf(results, func(l *partition) string { return l.topic + " " + value }, logs...)
	return results
}

func (r *journalRig) roundOf(results chan error, value func(*partition) string, logs ...*partition) {
	r.Helper()
	began, goOn := make(chan struct{}), make(chan struct{})
	j := &r.store.journal
	j.enter() // as if another log committed all the time
	defer j.leave()
	j.join(joiner{c: &r.logs[0].commits, begin: func() func(error) {
		close(began)
		<-goOn
		return func(error) {}
	}})
	<-began
	r.submit(results, value, logs...)
	close(goOn)
}

// submit has logs append a record each.
func (r *journalRig) submit(results chan error, value func(*partition) string, logs ...*partition) {
	for _, l := range logs {
		if err := store.Append(l, oneRecord(value(l)), func(_ int64, err error) { results <- err }); err != nil {
			r.Error(err)
			results <- err
		}
	}
}

func (r *journalRig) mustAcknowledge(results chan error) {
	r.Helper()
	for range cap(results) {
		select {
		case err := <-results:
			if err != nil {
				r.Error(err)
			}
		case <-time.After(time.Minute):
			r.Fatal("an append is not acknowledged")
		}
	}
}

// Many logs that commit at the same time need one sync, and none of them is acknowledged or visible before.
func TestARoundIsOneSyncForManyLogs(t *testing.T) {
	r := newJournalRig(t, 30)
	arrived, pass := make(chan struct{}), make(chan struct{})
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isJournal(c) {
			close(arrived)
			<-pass
		}
		return nil
	})
	results := r.round("first", r.logs[1:]...)
	<-arrived
	if len(results) > 0 {
		t.Errorf("%d appends are acknowledged before the sync", len(results))
	}
	for _, l := range r.logs {
		if _, high := l.Offsets(); high != 0 {
			t.Errorf("%s is visible up to %d before the sync", l.topic, high)
		}
	}
	close(pass)
	r.mustAcknowledge(results)
	for _, l := range r.logs[1:] {
		if _, high := l.Offsets(); high != 1 {
			t.Errorf("%s is visible up to %d", l.topic, high)
		}
	}
	if j, s := r.calls.journal.Load(), r.calls.segments.Load(); j != 1 || s != 0 {
		t.Errorf("%d syncs of the journal and %d of segments", j, s)
	}
}

// A log that commits alone, and one with much to sync, sync their segment: nothing is written twice.
func TestALogAloneAndALargeOneDoNotUseTheJournal(t *testing.T) {
	r := newJournalRig(t, 4)
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.WriteAt && isJournal(c) {
			t.Errorf("%d bytes are written to the journal", c.Len)
		}
		return nil
	})
	if _, err := store.AppendAndWait(r.logs[0], oneRecord("alone")); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("large ", largeSyncBytes/6)
	r.mustAcknowledge(r.round(large, r.logs...))
}

// Logs that take turns use the journal, too: otherwise the segment and then the recovery point of each
// would be synced for a few messages.
func TestLogsThatTakeTurnsUseTheJournal(t *testing.T) {
	r := newJournalRig(t, 10)
	if _, err := store.AppendAndWait(r.logs[0], oneRecord("the first one has no other before it")); err != nil {
		t.Fatal(err)
	}
	segments := r.calls.segments.Load()
	for i := range 20 {
		if _, err := store.AppendAndWait(r.logs[1+i%9], oneRecord("by turns")); err != nil {
			t.Fatal(err)
		}
	}
	if j, s := r.calls.journal.Load(), r.calls.segments.Load()-segments; j != 20 || s != 0 {
		t.Errorf("%d syncs of the journal and %d of segments", j, s)
	}
}

// When a file is full, the segments that have frames in it are synced before it is used again, and
// publishers go on meanwhile.
func TestACheckpointHoldsUpNoPublisher(t *testing.T) {
	r := newJournalRig(t, 5)
	var mu sync.Mutex
	dirty := make(map[string]bool) // topics whose frames are in a file and not in the segment
	hanging, pass, tooEarly := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once, early sync.Once
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isSegmentOf(c, "topic-1") {
			once.Do(func() { close(hanging) })
			<-pass
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case c.Op == crashfs.Sync && strings.HasSuffix(c.Name, logSuffix):
			delete(dirty, strings.Split(c.Name, "/")[3])
		case c.Op == crashfs.Rename && isJournal(c) && dirty["topic-1"]:
			early.Do(func() { close(tooEarly) })
		}
		return nil
	})
	dirty["topic-1"] = true
	results := r.round("a record of topic-1, too", r.logs[1:]...)
	r.mustAcknowledge(results)
	others := r.logs[2:]
	stop := make(chan struct{})
	var publishers sync.WaitGroup
	for _, l := range others {
		publishers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := store.AppendAndWait(l, oneRecord(strings.Repeat("x", 5000))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	select {
	case <-hanging:
		_, before := others[0].Offsets()
		brokertest.Await(t, time.Minute, "publishers go on", func() bool {
			_, now := others[0].Offsets()
			return now > before+200 // more than the journal has space for
		})
	case <-tooEarly:
		t.Error("a file is used again, and the segment of topic-1 is not synced")
	case <-time.After(time.Minute):
		t.Error("no checkpoint began")
	}
	close(pass)
	brokertest.Await(t, time.Minute, "the file is free", func() bool {
		f := &r.store.journal.files
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.generation > 2
	})
	close(stop)
	publishers.Wait()
}

// If the journal can't be written, each log syncs its segment, and nothing is refused. The journal is
// made again later.
func TestAJournalThatCannotBeWrittenRefusesNothing(t *testing.T) {
	for _, op := range []crashfs.Op{crashfs.WriteAt, crashfs.Sync} {
		t.Run(string(op), func(t *testing.T) {
			r := newJournalRig(t, 10)
			r.mustAcknowledge(r.round("first", r.logs[1:]...))
			var failed atomic.Bool
			r.hook(func(c crashfs.Call) error {
				if c.Op == op && isJournal(c) && !failed.Swap(true) {
					return syscall.EIO
				}
				return nil
			})
			r.mustAcknowledge(r.round("second", r.logs[1:]...))
			if n := len(r.lines.Lines("the journal can't be written")); n != 1 {
				t.Errorf("%d lines in the log", n)
			}
			brokertest.Await(t, time.Minute, "the old files are removed", func() bool { return r.store.journal.files.isSound() == nil })
			journal := r.calls.journal.Load()
			brokertest.Await(t, time.Minute, "the journal is used again", func() bool {
				r.mustAcknowledge(r.round("more", r.logs[1:]...))
				return r.calls.journal.Load() > journal+2 // the zeros of both files, and a round
			})
		})
	}
}

// Where there is space for one file of the journal only, it is not left there.
func TestAJournalThatDoesNotFitTakesNoSpace(t *testing.T) {
	disk, files := crashfs.New(), 0
	s, _ := openMany(t, "/data", 2, Options{FS: disk, JournalBytes: journalSize})
	defer s.Close()
	disk.SetHook(func(c crashfs.Call) error {
		if isJournal(c) && c.Op == crashfs.Allocate {
			if files++; files == 2 {
				return syscall.ENOSPC
			}
		}
		return nil
	})
	if err := s.journal.files.make(); !isFull(err) {
		t.Errorf("made: %v", err)
	}
	if list, err := disk.ReadDir("/data/" + journalDir); err != nil || len(list) > 0 {
		t.Errorf("there are %v, %v", list, err)
	}
	if err := s.journal.files.make(); err != nil {
		t.Error(err)
	}
}

// A segment that can't be synced at a checkpoint fails its log. The journal holds its frames until the
// log is healed, which needs no append.
func TestALogThatFailsAtACheckpointIsHealed(t *testing.T) {
	r := newJournalRig(t, 4)
	var failures, attempts atomic.Int64
	var healed, early atomic.Bool
	r.hook(func(c crashfs.Call) error {
		switch {
		case c.Op == crashfs.Sync && isSegmentOf(c, "topic-1") && failures.Add(1) == 1:
			return syscall.EIO
		case c.Op == crashfs.Rename && strings.HasSuffix(c.To, logSuffix) && attempts.Add(1) == 1:
			return syscall.EIO
		case c.Op == crashfs.Rename && strings.HasSuffix(c.To, logSuffix):
			healed.Store(true)
		case c.Op == crashfs.Rename && isJournal(c) && !healed.Load():
			early.Store(true)
		}
		return nil
	})
	r.mustAcknowledge(r.round("first", r.logs[1:]...))
	brokertest.Await(t, time.Minute, "a file is full, and free again", func() bool {
		r.mustAcknowledge(r.round(strings.Repeat("x", 20_000), r.logs[2:]...))
		f := &r.store.journal.files
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.generation > 2
	})
	if early.Load() {
		t.Error("a file of the journal is used again before the log is healed")
	}
}

// What does not fit into a round joins the next one, while other logs join. After a power cut, each log
// has its own bytes.
func TestWhatDoesNotFitIntoARoundIsInALaterOne(t *testing.T) {
	const bursts, burst = 6, 60
	r := newJournalRigOf(t, bursts*burst, Options{JournalBytes: 64 * roundBytes})
	value := func(l *partition) string { return strings.Repeat(l.topic+".", 60_000/len(l.topic+".")) }
	results := make(chan error, len(r.logs)-burst)
	var syncs atomic.Int64
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isJournal(c) {
			if n := int(syncs.Add(1)) + 1; n < bursts {
				r.submit(results, value, r.logs[n*burst:(n+1)*burst]...)
			}
		}
		return nil
	})
	r.roundOf(results, value, r.logs[burst:2*burst]...)
	r.mustAcknowledge(results)
	s, logs := openMany(t, "/data", len(r.logs), Options{FS: r.disk.Crash(crashfs.Nothing()), JournalBytes: 64 * roundBytes})
	defer s.Close()
	for _, l := range logs[burst:] {
		var c store.Chunk
		if err := l.Read(0, 1, &c); err != nil {
			t.Fatal(err)
		}
		if p, err := c.Load(nil); err != nil || !strings.Contains(string(p), value(l)) {
			t.Errorf("%s has another record: %v", l.topic, err)
		}
		c.Release()
	}
}

// The syncs of a checkpoint come no earlier than they have to, so that rounds have the disk, and are all
// done when half of the current file is used.
func TestACheckpointKeepsPaceWithTheCurrentFile(t *testing.T) {
	f := &journalFiles{size: 1000, current: new(journalFile)}
	for _, at := range []struct {
		used         int64
		begun, early int // of 10 syncs
	}{{0, 0, 1}, {100, 2, 3}, {250, 5, 6}, {500, 10, 11}, {1000, 10, 11}} {
		f.current.used.Store(at.used)
		if f.isEarly(at.begun, 10) {
			t.Errorf("with %d of 1000 bytes used, sync %d of 10 waits", at.used, at.begun)
		}
		if at.early <= 10 && !f.isEarly(at.early, 10) {
			t.Errorf("with %d of 1000 bytes used, sync %d of 10 does not wait", at.used, at.early)
		}
	}
	f.current.used.Store(0)
	f.closed = true
	if f.isEarly(9, 10) {
		t.Error("a checkpoint waits although the store closes")
	}
	f.closed, f.current = false, nil
	if f.isEarly(9, 10) {
		t.Error("a checkpoint waits although there are no rounds")
	}
}

// A journal is never so small that no round fits into a file.
func TestATinyJournalTakesRounds(t *testing.T) {
	r := newJournalRigOf(t, 4, Options{JournalBytes: 1})
	for range 20 {
		r.mustAcknowledge(r.round(strings.Repeat("x", 50_000), r.logs[1:]...))
	}
	if r.calls.journal.Load() < 3 {
		t.Errorf("%d syncs of the journal", r.calls.journal.Load())
	}
}

// A start that took "mbus J" for "mbus 2" would leave what is in the journal only without a word.
func TestAFlippedBitOfTheFormatDoesNotHideTheJournal(t *testing.T) {
	differ := 0
	for i := range len(format) {
		differ += bits.OnesCount8(format[i] ^ formatJournal[i])
	}
	if len(format) != len(formatJournal) || differ < 3 {
		t.Errorf("%q and %q differ in %d bits", format, formatJournal, differ)
	}
}
