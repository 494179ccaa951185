package commitlog_test

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
)

// A scarce file system lacks a descriptor for the n-th call that needs one.
type scarce struct {
	*crashfs.FS
	calls, n atomic.Int64 // n is 0 for never
	slow     atomic.Value // a func(), called before a file is opened
}

func (s *scarce) take() error {
	if n := s.n.Load(); n > 0 && s.calls.Add(1) == n {
		return syscall.EMFILE
	}
	return nil
}

// failAt makes the n-th call from now on fail; 0 for none.
func (s *scarce) failAt(n int64) {
	s.calls.Store(0)
	s.n.Store(n)
}

func (s *scarce) Open(name string) (vfs.File, error) {
	if f, ok := s.slow.Load().(func()); ok {
		f()
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	return s.FS.Open(name)
}

func (s *scarce) Create(name string) (vfs.File, error) {
	if err := s.take(); err != nil {
		return nil, err
	}
	return s.FS.Create(name)
}

func (s *scarce) SyncDir(name string) error {
	if err := s.take(); err != nil {
		return err
	}
	return s.FS.SyncDir(name)
}

// A lack of descriptors is no failure: the log goes on when there are descriptors again, and loses
// nothing, whatever it was doing.
func TestNoDescriptorAtAnyCallIsNotTheEndOfALog(t *testing.T) {
	var m batchtest.Maker
	for name, use := range map[string]func(store.Partition) error{
		"append to a new segment": func(p store.Partition) error {
			_, err := store.AppendAndWait(p, m.Batch(1, segmentBytes))
			return err
		},
		"append": func(p store.Partition) error {
			_, err := store.AppendAndWait(p, m.Batch(1, 10))
			return err
		},
		"append to a segment that is old": func(p store.Partition) error {
			p.Roll(0, time.Nanosecond)
			_, err := store.AppendAndWait(p, m.Batch(1, 10))
			return err
		},
		"trim": func(p store.Partition) error { return p.Trim(20) },
		"retain": func(p store.Partition) error {
			_, err := p.Retain(store.Retention{Before: batchtest.FirstTime * 2, Keep: batchtest.FirstTime})
			return err
		},
		"retain by size": func(p store.Partition) error { _, err := p.Retain(store.Retention{Bytes: 3000}); return err },
		"sync": func(p store.Partition) error {
			done := make(chan error, 1)
			p.Sync(func(err error) { done <- err })
			return <-done
		},
	} {
		for _, every := range []time.Duration{0, time.Hour} {
			for n := int64(1); ; n++ {
				failed, err := useScarce(t, use, n, every)
				if err != nil {
					t.Fatalf("%s, interval %v: descriptor %d was missing: %v", name, every, n, err)
				}
				if !failed {
					break
				}
			}
		}
	}
}

// useScarce uses an idle log without the n-th descriptor, and then again.
func useScarce(t *testing.T, use func(store.Partition) error, n int64, every time.Duration) (failed bool, err error) {
	disk := &scarce{FS: crashfs.New()}
	open := func() (s *commitlog.Store, p store.Partition) {
		s, err := commitlog.Open("/data", commitlog.Options{FS: disk, SegmentBytes: segmentBytes, SyncEvery: every})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.CreateTopic("orders", 1, "") // or it is there
		p, err = s.Partition("orders", 0)
		if err != nil {
			t.Fatal(err)
		}
		return s, p
	}
	s, p := open()
	var m batchtest.Maker
	for range 10 {
		if _, err := store.AppendAndWait(p, m.Batch(3, 200)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, p = open()
	disk.failAt(n)
	err = use(p)
	failed = disk.calls.Load() >= n
	disk.failAt(0)
	if err != nil && (errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EMFILE)) {
		return failed, err
	}
	if _, err := store.AppendAndWait(p, m.Batch(1, 10)); err != nil {
		return failed, err
	}
	start, high := p.Offsets()
	if err := s.Close(); err != nil {
		return failed, err
	}
	disk.FS = disk.FS.Crash(crashfs.Nothing())
	s, p = open()
	defer s.Close()
	if gotStart, gotHigh := p.Offsets(); gotStart != start || gotHigh != high {
		t.Fatalf("offsets %d to %d after a power cut, not %d to %d", gotStart, gotHigh, start, high)
	}
	_, err = storetest.ReadAll(p, 1000)
	return failed, err
}
