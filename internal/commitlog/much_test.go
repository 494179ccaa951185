package commitlog

import (
	"slices"
	"sync"
	"testing"

	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs"
)

// A listener is the system's file system that notes how logs are synced.
type listener struct {
	vfs.OS
	mu    sync.Mutex
	heard []string
}

type heardFile struct {
	vfs.File
	fs *listener
}

func (l *listener) Create(name string) (vfs.File, error) {
	f, err := l.OS.Create(name)
	return heardFile{f, l}, err
}

func (l *listener) Open(name string) (vfs.File, error) {
	f, err := l.OS.Open(name)
	return heardFile{f, l}, err
}

func (f heardFile) Sync() error {
	f.fs.hear("sync")
	return f.File.Sync()
}

func (f heardFile) SyncMuch() error {
	f.fs.hear("sync much")
	return f.File.SyncMuch()
}

func (l *listener) hear(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, what)
}

func TestOnlyMuchIsSyncedInTheBackground(t *testing.T) {
	disk := new(listener)
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
	disk.heard = nil
	var m storetest.Maker
	for _, size := range []int{100, muchBytes, 100} {
		if _, err := store.AppendAndWait(p, m.Batch(1, size)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"sync", "sync much", "sync"}; !slices.Equal(disk.heard, want) {
		t.Errorf("the syncs were %q, want %q", disk.heard, want)
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
