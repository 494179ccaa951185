package fault

import (
	"sync"
	"sync/atomic"

	"mbus/internal/vfs"
)

// A sabotage breaks what the log relies on, or should do itself. The zero value
// breaks nothing.
type sabotage struct {
	sync    func(*sabotagedFile) error // in place of a file's Sync
	noNames bool                       // directories are not synced
	failing bool                       // now and then a sync of a segment fails
}

// sabotages must all be seen.
var sabotages = map[string]sabotage{
	"no sync":                      {sync: func(*sabotagedFile) error { return nil }},
	"no directory sync":            {noNames: true},
	"sync when it is too late":     {sync: (*sabotagedFile).owe},
	"a failed sync is tried again": {sync: (*sabotagedFile).insist, failing: true},
}

// A saboteur is a file system whose syncs are not what they should be, once it is
// awake.
type saboteur struct {
	vfs.FS
	sabotage
	awake atomic.Bool
}

// Boot is that of the disk.
func (s *saboteur) Boot() string {
	if b, ok := s.FS.(interface{ Boot() string }); ok {
		return b.Boot()
	}
	return ""
}

func (s *saboteur) SyncDir(name string) error {
	if s.noNames && s.awake.Load() {
		return nil
	}
	return s.FS.SyncDir(name)
}

func (s *saboteur) Open(name string) (vfs.File, error) { return s.wrap(s.FS.Open(name)) }

func (s *saboteur) Create(name string) (vfs.File, error) { return s.wrap(s.FS.Create(name)) }

func (s *saboteur) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil || s.sync == nil {
		return f, err
	}
	return &sabotagedFile{File: f, by: s}, nil
}

type sabotagedFile struct {
	vfs.File
	by *saboteur

	mu   sync.Mutex // guards owed
	owed bool       // a sync that was answered and not done
}

func (f *sabotagedFile) Sync() error {
	if !f.by.awake.Load() {
		return f.File.Sync()
	}
	return f.by.sync(f)
}

// owe answers a sync and leaves it to the next write.
func (f *sabotagedFile) owe() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.owed = true
	return nil
}

func (f *sabotagedFile) WriteAt(p []byte, pos int64) (int, error) {
	f.mu.Lock()
	owed := f.owed
	f.owed = false
	f.mu.Unlock()
	if owed {
		if err := f.File.Sync(); err != nil {
			return 0, err
		}
	}
	return f.File.WriteAt(p, pos)
}

// insist syncs until that succeeds once.
func (f *sabotagedFile) insist() error {
	err := f.File.Sync()
	for range 3 {
		if err == nil {
			break
		}
		err = f.File.Sync()
	}
	return err
}
