package commitlog_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// ask asks for a sync.
func (r *rig) ask() chan error {
	done := make(chan error, 1)
	r.Sync(func(err error) { done <- err })
	return done
}

// What is acknowledged before its sync is never older than the interval: where a sync takes
// longer appends wait for it.
func TestAppendsWaitForASyncThatTakesLongerThanTheInterval(t *testing.T) {
	const every = 20 * time.Millisecond
	r := newRig(t, commitlog.Options{SyncEvery: every})
	g := r.gate()
	_, first := r.submit(r.Batch(1, 10)) // acknowledged at once, if the machine is not busy
	r.stored = append(r.stored, first...)
	began := time.Now()
	wait(t, g.arrived, "the sync") // it begins before the interval is over, and hangs
	brokertest.Await(t, patience, "the interval is over", func() bool { return time.Since(began) > every })
	late, stamped := r.submit(r.Batch(1, 10))
	brokertest.Await(t, patience, "the append waits for a sync", func() bool { return r.store.Syncs() >= 2 || len(late) > 0 })
	g.pass(nil)
	wait(t, g.arrived, "the next sync")
	if len(late) > 0 {
		t.Error("an append was acknowledged while one before it had waited for longer than the interval")
	}
	g.pass(nil)
	if a := wait(t, late, "the answer"); a.err != nil {
		t.Fatal(a.err)
	}
	r.stored = append(r.stored, stamped...)
	r.holdsStored()
}

// More partitions than may be synced at a time hold the interval all the same.
func TestAppendsOfManyPartitionsWaitForTheirSync(t *testing.T) {
	const partitions, every = 100, 5 * time.Millisecond
	r := newRig(t, commitlog.Options{SyncEvery: every})
	if _, err := r.store.CreateTopic("billing", partitions, ""); err != nil {
		t.Fatal(err)
	}
	g := r.gate()
	answers := make(chan error, 2*partitions)
	appendToAll := func() {
		for i := range partitions {
			p, err := r.store.Partition("billing", i)
			if err == nil {
				err = store.Append(p, r.Batch(1, 10), func(_ int64, err error) { answers <- err })
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	appendToAll()
	began := time.Now()
	for range 64 {
		wait(t, g.arrived, "a sync")
	}
	brokertest.Await(t, patience, "the interval is over", func() bool { return time.Since(began) > every })
	appendToAll()
	time.Sleep(20 * time.Millisecond) // nothing tells that nothing happens
	if n := len(answers); n > partitions {
		t.Errorf("%d of %d appends were acknowledged although older ones wait for their sync", n-partitions, partitions)
	}
	r.disk.SetHook(nil)
	for range 64 {
		g.pass(nil)
	}
	for range 2 * partitions {
		if err := wait(t, answers, "an answer"); err != nil {
			t.Error(err)
		}
	}
}

// Forgetting replaces old state by newer one: that must be durable first.
func TestForgettingWithAnIntervalSyncsWhatIsVisibleFirst(t *testing.T) {
	for name, forget := range map[string]func(*rig) error{
		"trim": func(r *rig) error { return r.Trim(27) },
		"retain": func(r *rig) error {
			got, err := r.Retain(store.Retention{Bytes: 3000})
			if got.Freed == 0 {
				r.Error("nothing was freed")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, commitlog.Options{SyncEvery: time.Hour, SegmentBytes: segmentBytes})
			r.fill(13)
			if err := forget(r); err != nil {
				t.Fatal(err)
			}
			_, high := r.Offsets()
			r.reopen(r.disk.Crash(crashfs.Nothing()))
			if _, got := r.Offsets(); got != high {
				t.Errorf("after a power cut the log ends at %d, %d was visible when it was forgotten from", got, high)
			}
			r.checkFrom(t)
			r.fill(1)
			r.checkFrom(t)
		})
	}
}

func TestFailedSyncForgetsNothing(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Hour, SegmentBytes: segmentBytes})
	r.fill(13)
	failAll(r, crashfs.Sync)
	if err := r.Trim(20); !errors.Is(err, store.ErrFailed) {
		t.Errorf("trim: %v, want %v", err, store.ErrFailed)
	}
	if start := r.startOffset(); start != 0 {
		t.Errorf("the log starts at %d", start)
	}
}

func TestSyncMakesWhatWasAcknowledgedDurable(t *testing.T) {
	for _, every := range []time.Duration{0, time.Hour} {
		r := newRig(t, commitlog.Options{SyncEvery: every, SegmentBytes: segmentBytes})
		for range 5 {
			r.fill(3)
			if err := wait(t, r.ask(), "the sync"); err != nil {
				t.Fatal(err)
			}
			r.reopen(r.disk.Crash(crashfs.Nothing()))
			r.holdsStored()
		}
	}
}

func TestSyncOfWhatIsDurableTakesNone(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Hour})
	g := r.gate() // a sync would never end
	if err := wait(t, r.ask(), "the sync of an empty log"); err != nil {
		t.Error(err)
	}
	r.fill(1)
	done := r.ask()
	wait(t, g.arrived, "the sync")
	g.pass(nil)
	if err := wait(t, done, "its end"); err != nil {
		t.Error(err)
	}
	if err := wait(t, r.ask(), "the sync of what is synced"); err != nil {
		t.Error(err)
	}
	if n := g.syncs.Load(); n != 1 {
		t.Errorf("%d syncs, want 1", n)
	}
}

func TestSyncsThatAreAskedForAtATimeAreShared(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Hour})
	r.fill(1)
	g := r.gate()
	first := r.ask()
	wait(t, g.arrived, "the first sync")
	r.fill(1)
	var all []chan error
	for range 100 {
		all = append(all, r.ask())
	}
	g.pass(nil)
	if err := wait(t, first, "the end of the first"); err != nil {
		t.Error(err)
	}
	wait(t, g.arrived, "the second sync")
	for _, done := range all {
		if len(done) > 0 {
			t.Fatal("told of a sync that does not cover what was acknowledged since")
		}
	}
	g.pass(nil)
	for _, done := range all {
		if err := wait(t, done, "the end of the second"); err != nil {
			t.Error(err)
		}
	}
	if n := g.syncs.Load(); n != 2 {
		t.Errorf("101 calls took %d syncs, want 2", n)
	}
}

func TestSyncTellsOfAFailure(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Hour})
	r.fill(3)
	g := r.gate()
	done := r.ask()
	wait(t, g.arrived, "the sync")
	g.pass(syscall.EIO)
	if err := wait(t, done, "its end"); !errors.Is(err, store.ErrFailed) {
		t.Errorf("it ended with %v, want %v", err, store.ErrFailed)
	}
	if err := wait(t, r.ask(), "another"); !errors.Is(err, store.ErrFailed) {
		t.Errorf("another ended with %v, want %v", err, store.ErrFailed)
	}
	if n := g.syncs.Load(); n != 1 {
		t.Errorf("the file was synced %d times", n)
	}
}

func TestSyncOfADeletedLogEnds(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Hour})
	r.fill(3)
	if err := r.store.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, r.ask(), "the sync"); err != nil && !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
}
