package commitlog

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The kernel can't sync a pipe and says so: this shows that it is asked.
func TestSyncReachesTheKernel(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := (osFile{w}).Sync(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("sync of a pipe: %v, want EINVAL", err)
	}
}

func TestSyncDirReachesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := (osFS{}).SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := (osFS{}).SyncDir(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sync of a missing directory: %v", err)
	}
}
