package commitlog

import (
	"slices"
	"sync"
	"testing"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A syncRecorder is the system's file system, and records how logs are synced.
type syncRecorder struct {
	vfs.OS
	mu    sync.Mutex
	syncs []string
}

type recordedFile struct {
	vfs.File
	fs *syncRecorder
}

func (l *syncRecorder) Create(name string) (vfs.File, error) {
	f, err := l.OS.Create(name)
	return recordedFile{f, l}, err
}

func (l *syncRecorder) Open(name string) (vfs.File, error) {
	f, err := l.OS.Open(name)
	return recordedFile{f, l}, err
}

func (f recordedFile) Sync() error {
	f.fs.record("sync")
	return f.File.Sync()
}

func (f recordedFile) SyncLarge() error {
	f.fs.record("large sync")
	return f.File.SyncLarge()
}

func (l *syncRecorder) record(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syncs = append(l.syncs, what)
}

func TestOnlyLargeSyncsUseSyncLarge(t *testing.T) {
	disk := new(syncRecorder)
	dir := t.TempDir()
	s, err := Open(dir, Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	disk.syncs = nil
	var m batchtest.Maker
	for _, size := range []int{100, largeSyncBytes, 100} {
		if _, err := store.AppendAndWait(p, m.Batch(1, size)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"sync", "large sync", "sync"}; !slices.Equal(disk.syncs, want) {
		t.Errorf("the syncs were %q, want %q", disk.syncs, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p, err = s.Partition("orders", 0); err != nil {
		t.Fatal(err)
	}
	if _, high := p.Offsets(); high != 3 {
		t.Errorf("%d messages after the restart, want 3", high)
	}
}
