package commitlog

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// newIntervalRig is a journalRig whose timers do not fire.
func newIntervalRig(t *testing.T, topics int) *journalRig {
	return newJournalRigOf(t, topics, Options{JournalBytes: journalSize, SyncEvery: time.Hour})
}

// publish appends a record, and returns when the log is idle.
func (r *journalRig) publish(l *partition, value string) {
	r.Helper()
	if _, err := store.AppendAndWait(l, oneRecord(value)); err != nil {
		r.Fatal(err)
	}
	r.awaitIdle(l)
}

func (r *journalRig) awaitIdle(l *partition) {
	r.Helper()
	brokertest.Await(r.T, time.Minute, "the log is idle", func() bool {
		idle, _ := l.commits.isIdle()
		return idle
	})
}

// holdRound has logs ask for a sync, which is a round of the journal that begins when goOn is called.
func (r *journalRig) holdRound(results chan error, logs ...*partition) (goOn func()) {
	r.Helper()
	began, pass := make(chan struct{}), make(chan struct{})
	j := &r.store.journal
	j.enter() // as if another log committed
	j.join(joiner{c: &r.logs[0].commits, begin: func() func(error) {
		close(began)
		<-pass
		return func(error) { j.leave() }
	}})
	<-began
	for _, l := range logs {
		l.Sync(func(err error) { results <- err })
	}
	brokertest.Await(r.T, time.Minute, "all logs have joined", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return len(j.joined) == len(logs)
	})
	return func() { close(pass) }
}

// An append that comes while the one before is acknowledged waits for no sync either, though other logs
// commit.
func TestWithAnIntervalNoAppendWaitsForARound(t *testing.T) {
	r := newIntervalRig(t, 2)
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isJournal(c) {
			t.Error("an append waits for a sync of the journal")
		}
		return nil
	})
	r.store.journal.enter() // as if another log committed
	defer r.store.journal.leave()
	results := make(chan error, 2)
	err := store.Append(r.logs[1], oneRecord("first"), func(_ int64, err error) {
		results <- err
		r.submit(results, func(*partition) string { return "second" }, r.logs[1])
	})
	if err != nil {
		t.Fatal(err)
	}
	r.mustAcknowledge(results)
	r.awaitIdle(r.logs[1])
}

// A record that is acknowledged while the late sync of the one before runs gets the next late sync.
func TestARecordThatComesDuringALateSyncGetsTheNextOne(t *testing.T) {
	r := newIntervalRig(t, 1)
	l := r.logs[0]
	r.publish(l, "first")
	syncing, pass, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isSegmentOf(c, l.topic) {
			once.Do(func() {
				close(syncing)
				<-pass
			})
		}
		return nil
	})
	go func() {
		defer close(ended)
		l.commits.lateSync() // the timer has fired
	}()
	<-syncing
	err := store.Append(l, oneRecord("second"), func(int64, error) { // its commit has not ended yet
		close(pass)
		<-ended
	})
	if err != nil {
		t.Fatal(err)
	}
	r.awaitIdle(l)
	l.commits.mu.Lock()
	defer l.commits.mu.Unlock()
	if l.commits.written.pos == l.commits.durable.pos {
		t.Fatal("the second record is synced already")
	}
	if l.commits.timer == nil {
		t.Error("no sync is to come")
	}
}

// A record that may still be refused is in no late round: after the log was healed, others are in its place.
func TestALateRoundHoldsOnlyWhatIsAcknowledged(t *testing.T) {
	r := newIntervalRig(t, 2)
	l := r.logs[1]
	r.publish(l, "first")
	results := make(chan error, 2)
	goOn := r.holdRound(results, l)
	lead, err := l.Write(oneRecord("second"), func(_ int64, err error) { results <- err })
	if err != nil {
		t.Fatal(err)
	}
	goOn()
	if err := <-results; err != nil {
		t.Fatal(err)
	}
	l.commits.mu.Lock()
	durable := l.commits.durable.next
	l.commits.mu.Unlock()
	if durable != 1 {
		t.Errorf("the journal holds the records below %d, and only the first is acknowledged", durable)
	}
	lead.Commit()
	if err := <-results; err != nil {
		t.Error(err)
	}
}

// A segment that can't be read, such as that of a topic that is being deleted, is no fault of the journal.
func TestASegmentThatCannotBeReadLeavesTheJournalSound(t *testing.T) {
	r := newIntervalRig(t, 4)
	for _, l := range r.logs[1:] {
		r.publish(l, l.topic+" record")
	}
	lost := r.logs[2]
	lost.appends.mu.Lock()
	name := lost.visible.active().file.name
	lost.appends.closeFiles()
	lost.appends.mu.Unlock()
	results := make(chan error, 3)
	goOn := r.holdRound(results, r.logs[1:]...)
	if err := r.disk.Remove(name); err != nil {
		t.Fatal(err)
	}
	goOn()
	failed := 0
	for range cap(results) {
		if err := <-results; err != nil {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d logs could not be synced, want 1", failed)
	}
	if lines := r.lines.Lines("the journal can't be written"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
	if j, s := r.calls.journal.Load(), r.calls.segments.Load(); j != 1 || s != 0 {
		t.Errorf("%d syncs of the journal and %d of segments", j, s)
	}
}

// Close waits for a round, which would find its file closed.
func TestCloseWaitsForARound(t *testing.T) {
	r := newIntervalRig(t, 3)
	for _, l := range r.logs[1:] {
		r.publish(l, l.topic+" record")
	}
	f := &r.store.journal.files
	writing := make(chan struct{})
	var once sync.Once
	r.hook(func(c crashfs.Call) error {
		if c.Op == crashfs.WriteAt && isJournal(c) {
			once.Do(func() { close(writing) })
			isSo := func(is func() bool) bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				return is()
			}
			brokertest.Await(t, time.Minute, "the journal is being closed", func() bool { return isSo(func() bool { return f.closed }) })
			for range 100_000 { // so that Close goes on if it does not wait
				runtime.Gosched()
				if isSo(func() bool { return f.current == nil }) {
					t.Error("the journal's files are closed in a round")
					break
				}
			}
		}
		return nil
	})
	results := make(chan error, 2)
	r.holdRound(results, r.logs[1:]...)()
	<-writing
	if err := r.store.Close(); err != nil {
		t.Error(err)
	}
	r.mustAcknowledge(results) // the round has ended
	if lines := slices.Concat(r.lines.Lines("ERROR"), r.lines.Lines("WARN")); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}
