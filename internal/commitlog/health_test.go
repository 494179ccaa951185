package commitlog_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/store"
)

func TestHealthOfAFailedLog(t *testing.T) {
	r := newRig(t, commitlog.Options{})
	if h := r.store.Health(); h.Failed != 0 || h.Failure != nil {
		t.Fatalf("before: %+v", h)
	}
	r.disk.SetHook(syncsFail(syscall.EIO))
	if _, err := store.AppendAndWait(r.Partition, r.Batch(1, 10)); err == nil {
		t.Fatal("the append has not failed")
	}
	if h := r.store.Health(); h.Failed != 1 || h.Failure == nil {
		t.Errorf("after: %+v", h)
	}
}

func TestHealthOfAFullDisk(t *testing.T) {
	s, err := commitlog.Open(t.TempDir(), commitlog.Options{Reserve: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CheckSpace(1); err == nil {
		t.Fatal("there is more space than 1 EiB")
	}
	h := s.Health()
	if !h.Disk.Full || h.Disk.Free <= 0 || h.Disk.Size < h.Disk.Free || h.Disk.Reserve != 1<<60 || h.NotWritable != nil {
		t.Errorf("got %+v", h)
	}
}

func TestHealthOfADirectoryThatIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if h := s.Health(); h.NotWritable == nil {
		t.Error("files can be created in a directory that is not there")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
}
