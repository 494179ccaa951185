package commitlog_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// A clock stands still until a test moves it.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time            { return time.UnixMilli(c.ms.Load()) }
func (c *clock) pass(d time.Duration)      { c.ms.Add(d.Milliseconds()) }
func (c *clock) ago(d time.Duration) int64 { return c.now().Add(-d).UnixMilli() }

// useClock gives the store a clock.
func (r *rig) useClock() *clock {
	c := new(clock)
	c.ms.Store(batchtest.FirstTime)
	r.store.UseClock(c.now)
	return c
}

// Files that take long to delete, or a disk that takes long to say so, hold up no append.
func TestAppendsGoOnWhileOldMessagesAreForgotten(t *testing.T) {
	for name, forget := range forgetting {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, smallSegments())
			r.fill(12)
			arrived, open := make(chan struct{}, 100), make(chan struct{})
			r.disk.SetHook(func(c crashfs.Call) error {
				if c.Op == crashfs.Remove || strings.Contains(c.Name, "log-start-offset") {
					arrived <- struct{}{}
					<-open
				}
				return nil
			})
			ended := make(chan error, 1)
			go func() { ended <- forget(r) }()
			wait(t, arrived, "the first call")
			r.fill(2)
			close(open)
			if err := wait(t, ended, "its end"); err != nil {
				t.Fatal(err)
			}
			r.checkFrom(t)
			r.restart()
			r.checkFrom(t)
		})
	}
}

// What recovery has cut off goes with what was before and behind it.
func TestWhatWasCutOffGoesWithItsSegment(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(2)
	disk := r.disk.KillClone()
	name := files(t, disk, ".log")[0]
	writeFile(t, disk, name, append(bytesOf(r.stored), "a torn tail"...))
	r.reopen(disk)
	r.fill(10)
	cut := func() int { return len(filesWith(t, r.disk, ".cut-")) }
	if cut() != 1 {
		t.Fatalf("%d files were set aside, want 1", cut())
	}
	if err := r.Trim(2); err != nil || cut() != 1 {
		t.Errorf("trimmed within the segment: %v, %d files set aside", err, cut())
	}
	if _, err := r.Retain(store.Retention{Bytes: 3000}); err != nil || cut() != 0 {
		t.Errorf("without its segment: %v, %d files set aside", err, cut())
	}
	r.restart()
	r.checkFrom(t)
}

func filesWith(t *testing.T, disk *crashfs.FS, infix string) (names []string) {
	for _, name := range files(t, disk, "") {
		if strings.Contains(name, infix) {
			names = append(names, name)
		}
	}
	return names
}

func TestSpaceAllocatedAheadIsGivenBackByALogThatIsIdle(t *testing.T) {
	r := newRig(t, oneSegment())
	clock := r.useClock()
	r.append(r.Batch(1, 100_000))
	size := func() int { return len(readFile(t, r.disk, activeLog)) }
	used := len(bytesOf(r.stored))
	retain := func() {
		if _, err := r.Retain(store.Retention{Bytes: 1 << 30}); err != nil {
			t.Fatal(err)
		}
	}
	if retain(); size() <= used {
		t.Errorf("a log that is busy has %d bytes for %d", size(), used)
	}
	clock.pass(time.Hour)
	if retain(); size() != used {
		t.Errorf("a log that is idle has %d bytes for %d", size(), used)
	}
	r.goesOn()
	r.restart()
	r.holdsStored()
}

// The active segment is ended when what was appended first is old, without an append, too.
func TestSegmentsEndByAge(t *testing.T) {
	r := newRig(t, oneSegment())
	clock := r.useClock()
	r.Roll(0, time.Hour)
	segments := func() int { return len(files(t, r.disk, ".log")) }
	r.fill(3)
	clock.pass(30 * time.Minute)
	r.fill(3)
	if segments() != 1 {
		t.Errorf("%d segments after half an hour", segments())
	}
	clock.pass(31 * time.Minute)
	r.fill(1)
	if segments() != 2 {
		t.Errorf("%d segments after an append an hour later", segments())
	}
	clock.pass(24 * time.Hour)
	for range 3 { // once, and not again for an empty one
		if _, err := r.Retain(store.Retention{Before: 1, Keep: 0}); err != nil {
			t.Fatal(err)
		}
	}
	if segments() != 3 {
		t.Errorf("%d segments after retention a day later", segments())
	}
	r.holdsStored()
	r.goesOn()
	if clock.pass(24 * time.Hour); segments() != 3 {
		t.Errorf("%d segments", segments())
	}
}

// To begin a segment that is not needed yet is no reason to refuse an append.
func TestAppendsGoOnInAnOldSegmentWithoutSpaceForANewOne(t *testing.T) {
	r := newRig(t, oneSegment())
	clock := r.useClock()
	r.Roll(0, time.Hour)
	r.fill(3)
	clock.pass(2 * time.Hour)
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Create {
			return isFullDisk(c)
		}
		return nil
	})
	r.fill(3)
	if _, err := r.Retain(store.Retention{Before: 1}); err != nil {
		t.Errorf("retention: %v", err)
	}
	r.disk.SetHook(nil)
	r.holdsStored()
	clock.pass(time.Second)
	r.fill(1)
	if n := len(files(t, r.disk, ".log")); n != 2 {
		t.Errorf("%d segments with space again, want 2", n)
	}
	r.goesOn()
}

// Append times are of the past although a crash has taken the recovery points that kept them.
func TestAgesOutliveACrash(t *testing.T) {
	for name, crash := range map[string]func(*crashfs.FS) *crashfs.FS{
		"kill":      (*crashfs.FS).KillClone,
		"power cut": func(disk *crashfs.FS) *crashfs.FS { return disk.Crash(crashfs.Nothing()) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, smallSegments())
			clock := r.useClock()
			for range 12 {
				r.fill(1)
				clock.pass(time.Hour)
			}
			r.reopen(crash(r.disk))
			r.store.UseClock(clock.now)
			old := store.Retention{Before: clock.ago(4 * time.Hour), Keep: 1 << 50}
			got, err := r.Retain(old)
			if err != nil || got.Start == 0 || got.Start > 24 {
				t.Errorf("after the crash %+v, %v; want what is 4 hours old to go", got, err)
			}
			clock.pass(5 * time.Hour)
			old.Before = clock.ago(4 * time.Hour)
			if got, err = r.Retain(old); err != nil || got.Start != 36 {
				t.Errorf("5 hours later %+v, %v; want all to go", got, err)
			}
		})
	}
}

// A log that is emptied as DeleteRecords does it frees its space at once, though it is small.
func TestTrimOfAllFreesTheSpaceSoon(t *testing.T) {
	r := newRig(t, oneSegment())
	r.append(r.Batch(1, 100_000))
	if err := r.Trim(1); err != nil {
		t.Fatal(err)
	}
	if size := r.Size(); size != 0 {
		t.Errorf("%d bytes are left", size)
	}
	if n := len(readFile(t, r.disk, files(t, r.disk, ".log")[0])); n != 0 {
		t.Errorf("the file has %d bytes", n)
	}
	r.restart()
	if start, high := r.Offsets(); start != 1 || high != 1 {
		t.Errorf("offsets %d to %d", start, high)
	}
}

// A disk that takes long to open a file holds up no append.
func TestAppendsGoOnWhileAReaderOpensAFile(t *testing.T) {
	disk := &scarce{FS: crashfs.New()}
	s, err := commitlog.Open("/data", commitlog.Options{FS: disk, SegmentBytes: segmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, disk: disk.FS, store: s}
	r.connect()
	r.fill(12)
	opened, open := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(open) })
	defer release()
	disk.slow.Store(func() {
		opened <- struct{}{}
		<-open
	})
	read := make(chan error, 1)
	go func() {
		var c store.Chunk
		defer c.Release()
		read <- r.Read(0, 1, &c)
	}()
	wait(t, opened, "the reader")
	disk.slow.Store(func() {})
	r.fill(3)
	release()
	if err := wait(t, read, "what was read"); err != nil {
		t.Error(err)
	}
	r.holdsStored()
}
