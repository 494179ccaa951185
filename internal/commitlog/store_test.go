package commitlog_test

import (
	"errors"
	"path/filepath"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

func TestConformsOnFiles(t *testing.T) {
	brokertest.Slow(t)
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		return openFor(t, filepath.Join(t.TempDir(), "data"), commitlog.Options{SegmentBytes: storetest.SegmentBytes})
	})
}

// With the file system in memory each reopening comes after a power cut that
// loses all it may.
func TestConformsAcrossPowerCuts(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		disk := crashfs.New()
		open := func() store.Store {
			s, err := commitlog.Open("/data", commitlog.Options{FS: disk, SegmentBytes: storetest.SegmentBytes})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		t.Cleanup(func() { s.Close() })
		return s, func() store.Store {
			dead := s
			disk = disk.Crash(crashfs.Nothing())
			dead.Close() // ends what runs in the background; the disk does not see it
			s = open()
			return s
		}
	})
}

// openFor is an Opener's answer for a store in dir.
func openFor(t *testing.T, dir string, o commitlog.Options) (store.Store, func() store.Store) {
	open := func() store.Store {
		s, err := commitlog.Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	closeStore := func() {
		if err := s.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(closeStore)
	return s, func() store.Store {
		closeStore()
		s = open()
		return s
	}
}
