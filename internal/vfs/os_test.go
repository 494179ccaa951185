package vfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The kernel fails to sync a pipe, which shows that Sync reaches it.
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
	if err := (OS{}).SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := (OS{}).SyncDir(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sync of a missing directory: %v", err)
	}
}

// A pickySocket accepts bytes until it is full, and then fails like a socket to which the system
// can't send files.
type pickySocket struct{ full, refusing uintptr }

func (s pickySocket) Write(f func(uintptr) bool) error {
	if f(s.full) {
		return errors.New("all was taken")
	}
	f(s.refusing)
	return nil
}

// ErrUnsupported means that nothing was sent: the caller would send everything again.
func TestSendThatFailsAfterAPartIsNotUnsupported(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(4 << 20); err != nil {
		t.Fatal(err)
	}
	refusing, err := os.OpenFile(filepath.Join(t.TempDir(), "end"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer refusing.Close()
	var pair [2]int
	if pair, err = syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	full := pickySocket{uintptr(pair[0]), refusing.Fd()}
	if err := (osFile{f}).SendTo(full, 0, 4<<20); err == nil || errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("after a part: %v, want EINVAL", err)
	}
	if err := (osFile{f}).SendTo(full, 0, 4<<20); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("with the first byte: %v, want that it can't be done", err)
	}
}

// The kernel fails to sync a directory of /proc, as CIFS does.
func TestDirectoryThatCannotBeSyncedIsWarnedAbout(t *testing.T) {
	warned := 0
	fs := OS{Warn: func(dir string, err error) {
		if warned++; dir != "/proc/self" || !errors.Is(err, syscall.EINVAL) {
			t.Errorf("warned of %s: %v", dir, err)
		}
	}}
	if err := fs.SyncDir("/proc/self"); err != nil || warned != 1 {
		t.Errorf("%v, warned %d times", err, warned)
	}
}

// A listing that takes several calls of getdents64 has every name once, in order, with its kind and size.
func TestReadDirTellsFilesDirectoriesAndLinks(t *testing.T) {
	dir := t.TempDir()
	want := []Entry{{Name: "d", Dir: true}, {Name: "dangling", Link: true}, {Name: "link-d", Dir: true, Link: true}, {Name: "link-f", Size: 3, Link: true}}
	for i := range 1000 {
		name := fmt.Sprintf("file-%04d", i)
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, i%5), 0o600); err != nil {
			t.Fatal(err)
		}
		want = append(want, Entry{Name: name, Size: int64(i % 5)})
	}
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "d"), 0o700), os.Symlink("nowhere", filepath.Join(dir, "dangling")),
		os.Symlink("d", filepath.Join(dir, "link-d")), os.Symlink("file-0003", filepath.Join(dir, "link-f")),
	)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OS{}.ReadDir(dir)
	for i, e := range got {
		if e.Dir {
			got[i].Size = 0 // it may be anything
		}
	}
	slices.SortFunc(want, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d entries, %v, want %d: %v", len(got), err, len(want), got)
	}
	if _, err := (OS{}).ReadDir(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	if _, err := (OS{}).ReadDir(filepath.Join(dir, "file-0000")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}
