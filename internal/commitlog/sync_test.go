package commitlog_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// A gate stops every sync of a segment until it is let through.
type gate struct {
	arrived chan struct{}
	result  chan error
	open    chan struct{} // closed at the end of the test
	syncs   atomic.Int32  // that have arrived
}

func (r *rig) gate() *gate {
	g := &gate{arrived: make(chan struct{}, 100), result: make(chan error), open: make(chan struct{})}
	r.Cleanup(func() { close(g.open) })
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op != crashfs.Sync || !isLog(c) {
			return nil
		}
		g.syncs.Add(1)
		g.arrived <- struct{}{}
		select {
		case err := <-g.result:
			return err
		case <-g.open:
			return nil
		}
	})
	return g
}

// pass lets the sync that has arrived end with err.
func (g *gate) pass(err error) { g.result <- err }

// Every sync fails the test if what it is to sync has been acknowledged or shown
// before it.
func TestAcknowledgedMeansSynced(t *testing.T) {
	r := newRig(t, smallSegments())
	var answered, syncs, high atomic.Int64
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isLog(c) {
			syncs.Add(1)
			if _, h := r.Offsets(); h != high.Load() {
				t.Errorf("before sync %d, offsets up to %d are visible, synced are those below %d", syncs.Load(), h, high.Load())
			}
		}
		return nil
	})
	for i := range int64(30) {
		before := syncs.Load()
		done := make(chan error, 1)
		err := store.Append(r, r.Batch(2, 100), func(_ int64, err error) {
			if syncs.Load() == before {
				t.Errorf("append %d was acknowledged before any sync", i)
			}
			answered.Add(1)
			done <- err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t, done, "the answer"); err != nil {
			t.Fatal(err)
		}
		high.Add(2)
	}
}

// A log that never syncs, or not the right files, fails this.
func TestAcknowledgedSurvivesAPowerCut(t *testing.T) {
	for _, batches := range []int{1, 5, 40} {
		r := newRig(t, smallSegments())
		r.fill(batches)
		r.reopen(r.disk.Crash(crashfs.Nothing()))
		r.holdsStored()
		r.goesOn()
	}
}

// If this fails, the power cuts of these tests show nothing.
func TestUnsyncedDataIsLostInAPowerCut(t *testing.T) {
	r := newRig(t, oneSegment())
	r.fill(3)
	g := r.gate()
	r.submit(r.Batch(3, 200))
	wait(t, g.arrived, "the sync")
	disk := r.disk.Crash(crashfs.Nothing())
	g.pass(nil)
	r.reopen(disk)
	r.holdsStored()
	r.goesOn()
}

func TestAppendsGoOnDuringASyncAndShareTheNext(t *testing.T) {
	r := newRig(t, oneSegment())
	g := r.gate()
	first, _ := r.submit(r.Batch(1, 100))
	wait(t, g.arrived, "the first sync")
	var waiting []chan answer
	for range 50 {
		answers, _ := r.submit(r.Batch(1, 100))
		waiting = append(waiting, answers)
	}
	g.pass(nil)
	if a := wait(t, first, "the first answer"); a.err != nil || a.base != 0 {
		t.Errorf("the first append was answered %+v", a)
	}
	wait(t, g.arrived, "the second sync")
	if _, high := r.Offsets(); high != 1 {
		t.Errorf("the first sync made offsets up to %d visible, want 1", high)
	}
	for i, answers := range waiting {
		if len(answers) > 0 {
			t.Errorf("append %d was answered before its sync", i)
		}
	}
	g.pass(nil)
	for i, answers := range waiting {
		if a := wait(t, answers, "an answer"); a.err != nil || a.base != int64(i+1) {
			t.Errorf("append %d was answered %+v", i, a)
		}
	}
	if n := g.syncs.Load(); n != 2 {
		t.Errorf("51 appends took %d syncs, want 2", n)
	}
	r.disk.SetHook(nil)
}

// What is appended while a sync runs is not covered by it.
func TestPowerCutBetweenTwoSyncsKeepsTheFirst(t *testing.T) {
	r := newRig(t, oneSegment())
	g := r.gate()
	first, stamped := r.submit(r.Batch(1, 100))
	wait(t, g.arrived, "the first sync")
	r.submit(r.Batch(1, 100))
	g.pass(nil)
	wait(t, first, "the first answer")
	wait(t, g.arrived, "the second sync")
	disk := r.disk.Crash(crashfs.Nothing())
	g.pass(nil)
	r.reopen(disk)
	r.holds(stamped)
}

func TestFailedSyncAnswersAllThatWaitWithAnError(t *testing.T) {
	r := newRig(t, oneSegment())
	r.fill(3)
	g := r.gate()
	first, _ := r.submit(r.Batch(1, 100))
	wait(t, g.arrived, "the sync")
	waiting := []chan answer{first}
	for range 20 {
		answers, _ := r.submit(r.Batch(1, 100))
		waiting = append(waiting, answers)
	}
	g.pass(syscall.EIO)
	for i, answers := range waiting {
		if a := wait(t, answers, "an answer"); !errors.Is(a.err, store.ErrFailed) || !errors.Is(a.err, syscall.EIO) {
			t.Errorf("append %d was answered %+v, want ErrFailed and EIO", i, a)
		}
	}
	r.refuses(store.ErrFailed, r.Batch(1, 10))
	r.holdsStored()
	if err := r.store.Close(); err == nil {
		t.Error("Close says that everything is synced")
	}
	if n := g.syncs.Load(); n != 1 {
		t.Errorf("the file was synced %d times, want once", n)
	}
	for i, answers := range waiting {
		if len(answers) > 0 {
			t.Errorf("append %d was answered twice", i)
		}
	}
}

func TestFailedSyncLeavesOtherLogsAlone(t *testing.T) {
	r := newRig(t, oneSegment())
	if _, err := r.store.CreateTopic("billing", 1, ""); err != nil {
		t.Fatal(err)
	}
	failAll(r, crashfs.Sync)
	answers, _ := r.submit(r.Batch(1, 100))
	if a := wait(t, answers, "the answer"); a.err == nil {
		t.Fatal("append was acknowledged")
	}
	r.disk.SetHook(nil)
	r.refuses(store.ErrFailed, r.Batch(1, 10))
	orders := r.Partition
	var err error
	if r.Partition, err = r.store.Partition("billing", 0); err != nil {
		t.Fatal(err)
	}
	r.fill(3)
	r.Partition = orders
	r.stored = nil
	r.holdsStored()
}

// failAll fails every call of these kinds on a segment.
func failAll(r *rig, ops ...crashfs.Op) {
	r.disk.SetHook(func(c crashfs.Call) error {
		for _, op := range ops {
			if c.Op == op && isLog(c) {
				return syscall.EIO
			}
		}
		return nil
	})
}

func TestLogWorksAgainAfterARestartFromAFailedSync(t *testing.T) {
	for _, reboot := range []bool{false, true} {
		r := newRig(t, oneSegment())
		r.fill(3)
		failAll(r, crashfs.Sync)
		answers, stamped := r.submit(r.Batch(1, 100))
		if a := wait(t, answers, "the answer"); a.err == nil {
			t.Fatal("append was acknowledged")
		}
		next := r.disk.KillClone
		if reboot {
			next = func() *crashfs.FS { return r.disk.Crash(crashfs.Nothing()) }
		}
		r.reopen(next())
		if _, high := r.Offsets(); high > r.stored[len(r.stored)-1].Next {
			r.stored = append(r.stored, stamped...) // not promised, not refused
		}
		r.holdsStored()
		r.goesOn()
	}
}

func TestFailedWriteStopsTheLogAndItsReadersGoOn(t *testing.T) {
	r := newRig(t, oneSegment())
	r.fill(3)
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.WriteAt && isLog(c) {
			return &crashfs.ShortWrite{N: 100, Err: syscall.EIO}
		}
		return nil
	})
	r.refuses(store.ErrFailed, r.Batch(3, 200))
	r.disk.SetHook(nil)
	r.refuses(store.ErrFailed, r.Batch(3, 200))
	r.holdsStored()
	r.reopen(r.disk.KillClone())
	r.holdsStored()
	r.goesOn()
}

func TestAppendsBeforeAFailedWriteAreAnswered(t *testing.T) {
	r := newRig(t, oneSegment())
	g := r.gate()
	first, stamped := r.submit(r.Batch(3, 200))
	wait(t, g.arrived, "the sync")
	failAll(r, crashfs.WriteAt)
	r.refuses(store.ErrFailed, r.Batch(3, 200))
	g.pass(nil)
	if a := wait(t, first, "the answer"); a.err != nil {
		t.Errorf("answered %v", a.err)
	}
	r.holds(stamped)
}

func TestIntervalSyncAcknowledgesBeforeTheSync(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Hour})
	g := r.gate()
	for range 5 {
		r.fill(1) // waits for the answer
	}
	r.holdsStored()
	closed := make(chan error, 1)
	go func() { closed <- r.store.Close() }()
	wait(t, g.arrived, "the sync of Close")
	g.pass(nil)
	if err := wait(t, closed, "the end of Close"); err != nil {
		t.Errorf("close: %v", err)
	}
	r.reopen(r.disk.Crash(crashfs.Nothing()))
	r.holdsStored()
}

func TestIntervalSyncSurvivesAKill(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Hour, SegmentBytes: segmentBytes})
	r.fill(10)
	r.reopen(r.disk.KillClone())
	r.holdsStored()
	r.fill(1)
	r.holdsStored()
}

func TestIntervalSyncComesByItself(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Millisecond})
	for range 3 {
		g := r.gate()
		answers, _ := r.submit(r.Batch(1, 10)) // it may have to wait for the sync
		wait(t, g.arrived, "the sync")
		g.pass(nil)
		r.disk.SetHook(nil)
		wait(t, answers, "the answer")
	}
}

func TestFailedIntervalSyncStopsTheLog(t *testing.T) {
	r := newRig(t, commitlog.Options{SyncEvery: time.Millisecond})
	r.fill(1)
	if err := wait(t, r.ask(), "the sync"); err != nil {
		t.Fatal(err)
	}
	g := r.gate()
	r.submit(r.Batch(1, 10)) // it may have to wait for the sync
	wait(t, g.arrived, "the sync")
	g.pass(syscall.EIO)
	deadline := time.Now().Add(patience)
	for {
		err := store.Append(r, r.Batch(1, 10), func(int64, error) {})
		if errors.Is(err, store.ErrFailed) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("append: %v, want ErrFailed", err)
		}
		select {
		case <-g.arrived:
			t.Fatal("the file was synced again")
		case <-time.After(time.Millisecond):
		}
	}
	if _, err := r.readFirst(); err != nil {
		t.Errorf("reading on: %v", err)
	}
}

func (r *rig) readFirst() ([]byte, error) {
	var c store.Chunk
	defer c.Release()
	if err := r.Read(0, 1, &c); err != nil {
		return nil, err
	}
	return c.Load(nil)
}

// A thousand partitions that want a sync at the same time must not take a thousand
// threads.
func TestSyncsAtATimeAreBounded(t *testing.T) {
	const partitions, bound = 200, 64
	disk := crashfs.New()
	s, err := commitlog.Open("/data", commitlog.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateTopic("orders", partitions, ""); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var running, most int
	arrived, open := make(chan struct{}, partitions), make(chan struct{})
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && isLog(c) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			arrived <- struct{}{}
			<-open
			mu.Lock()
			running--
			mu.Unlock()
		}
		return nil
	})
	var maker batchtest.Maker
	answers := make(chan error, partitions)
	for i := range partitions {
		p, err := s.Partition("orders", i)
		if err == nil {
			err = store.Append(p, maker.Batch(1, 10), func(_ int64, err error) { answers <- err })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range bound {
		wait(t, arrived, "a sync")
	}
	close(open)
	for range partitions {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	disk.SetHook(nil)
	if most != bound {
		t.Errorf("%d syncs at a time, not %d", most, bound)
	}
}
