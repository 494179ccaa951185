package commitlog_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

func TestSecondOpenIsRefusedAndNamesTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = commitlog.Open(dir, commitlog.Options{})
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second open: %v, want an error with the directory and process id %d", err, os.Getpid())
	}
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Errorf("the first can't be used any more: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = commitlog.Open(dir, commitlog.Options{}); err != nil {
		t.Fatalf("open after the first was closed: %v", err)
	}
	s.Close()
}

func TestLockNamesNoProcessOfThePast(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lock"), []byte("12345678901234567890\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = commitlog.Open(dir, commitlog.Options{})
	if err == nil || !strings.HasSuffix(err.Error(), " "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second open: %v, want an error that ends in process id %d", err, os.Getpid())
	}
}

func TestNobodyElseCanReadTheDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDirectoryOfSomethingElseIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(name, []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := commitlog.Open(dir, commitlog.Options{}); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("open: %v, want an error that names what is there", err)
	}
	if p, err := os.ReadFile(name); err != nil || string(p) != "years of work" {
		t.Errorf("the file holds %q, %v", p, err)
	}
	if list, err := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("it holds %v, %v", list, err)
	}
}

func TestOtherFormatIsRefused(t *testing.T) {
	r := newRig(t, oneSegment())
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	disk := r.disk.KillClone()
	writeFile(t, disk, "/data/format", []byte("mbus 99\n"))
	if _, err := commitlog.Open("/data", commitlog.Options{FS: disk}); err == nil || !strings.Contains(err.Error(), "mbus 99") {
		t.Errorf("open: %v, want an error that names the format", err)
	}
}

func TestDamagedLogStartIsReportedAndNothingIsLost(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(12)
	if err := r.Trim(1); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	closed := r.disk.KillClone()
	for _, content := range []string{"", "-1\n", "start\n", "99999999999999999999999999\n"} {
		disk := closed.KillClone()
		writeFile(t, disk, logDir+"/log-start-offset", []byte(content))
		r.reopen(disk)
		if start, _ := r.Offsets(); start != 0 {
			t.Errorf("with %q the log starts at %d", content, start)
		}
		r.holdsStored()
		if logged := r.log.logged(); len(logged) != 1 || !strings.Contains(logged[0], "log-start-offset") {
			t.Errorf("with %q was logged %q", content, logged)
		}
	}
}

func TestReadersLeaveNoFileOpen(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(30)
	open := r.disk.OpenFiles()
	for range 5 {
		r.holdsStored()
		for _, b := range r.stored {
			if _, err := r.OffsetForTime(batchtest.FirstTime + b.Base); err != nil {
				t.Fatal(err)
			}
			if err := r.showsAt(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if now := r.disk.OpenFiles(); !slices.Equal(now, open) {
		t.Errorf("open were %q, now %q", open, now)
	}
	if err := r.store.Close(); err != nil {
		t.Error(err)
	}
	if left := r.disk.OpenFiles(); len(left) > 0 {
		t.Errorf("after Close are open %q", left)
	}
}

func TestHeldChunkKeepsItsFileOpenUntilReleased(t *testing.T) {
	r := newRig(t, smallSegments())
	r.fill(30)
	var c store.Chunk
	if err := r.Read(0, 2000, &c); err != nil {
		t.Fatal(err)
	}
	if err := r.store.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	p, err := c.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := batchtest.Split(p)
	sameBatches(t, got, r.stored[:len(got)])
	c.Release()
	if left := r.disk.OpenFiles(); len(left) > 0 {
		t.Errorf("after Release are open %q", left)
	}
}

func TestLogsMayOutnumberTheFilesAProcessMayOpen(t *testing.T) {
	brokertest.Slow(t)
	t.Run("always", func(t *testing.T) { outnumberFiles(t, commitlog.Options{}) })
	t.Run("interval", func(t *testing.T) { outnumberFiles(t, commitlog.Options{SyncEvery: time.Hour}) })
}

// outnumberFiles appends to more logs than files may be open.
func outnumberFiles(t *testing.T, o commitlog.Options) {
	const topics, limit = 120, 100
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
	s, reopen := openFor(t, filepath.Join(t.TempDir(), "data"), o)
	for i := range topics {
		if _, err := s.CreateTopic(fmt.Sprint("topic", i), 1, ""); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		var group sync.WaitGroup
		for i := range topics {
			if group.Go(func() { appendAndCount(t, s, fmt.Sprint("topic", i), round+1) }); i%4 == 3 {
				group.Wait()
			}
		}
		group.Wait()
		s = reopen()
	}
}

// appendAndCount appends a batch to a topic, which then has that many.
func appendAndCount(t *testing.T, s store.Store, topic string, batches int) {
	p, err := s.Partition(topic, 0)
	if err != nil {
		t.Error(err)
		return
	}
	var m batchtest.Maker
	done := make(chan error, 1)
	if err := store.Append(p, m.Batch(1, 100), func(_ int64, err error) { done <- err }); err != nil {
		t.Errorf("append to %q: %v", topic, err)
		return
	}
	if err := <-done; err != nil {
		t.Errorf("append to %q was answered %v", topic, err)
	}
	if list, err := storetest.ReadAll(p, 1000); err != nil || len(list) != batches {
		t.Errorf("%q has %d batches, want %d: %v", topic, len(list), batches, err)
	}
}

func TestDeletedTopicsLeaveNothingBehind(t *testing.T) {
	r := newRig(t, smallSegments())
	before := names(t, r.disk, "/data")
	for range 3 {
		if _, err := r.store.CreateTopic("billing", 3, ""); err != nil {
			t.Fatal(err)
		}
		if err := r.store.DeleteTopic("billing"); err != nil {
			t.Fatal(err)
		}
	}
	if after := names(t, r.disk, "/data"); !slices.Equal(after, before) {
		t.Errorf("there was %q, is now %q", before, after)
	}
}

// names lists everything below a directory.
func names(t *testing.T, disk *crashfs.FS, dir string) []string {
	t.Helper()
	list, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		name := dir + "/" + e.Name
		all = append(all, name)
		if e.Dir {
			all = append(all, names(t, disk, name)...)
		}
	}
	return all
}
