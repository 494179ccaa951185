package fault

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A memDisk is a small file system of its own, to be filled.
type memDisk struct {
	t   *testing.T
	dir string // where it is mounted
}

// newMemDisk makes a disk of so many bytes and takes it away with the test.
func newMemDisk(t *testing.T, options string) *memDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a full disk is tried on a file system of its own, a tmpfs")
	}
	d := &memDisk{t, t.TempDir()}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs to be allowed to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unmount(t, d.dir) })
	return d
}

func (d *memDisk) data() string { return filepath.Join(d.dir, "data") }

// free is how many bytes are free.
func (d *memDisk) free() int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * int64(s.Bsize)
}

// fill writes a file that is not mbus's, of so many bytes or, below 0, of all
// that there are.
func (d *memDisk) fill(bytes int64) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	zeros := make([]byte, 4096)
	for n := int64(0); bytes < 0 || n < bytes; n += int64(len(zeros)) {
		if _, err := f.Write(zeros); err != nil {
			if bytes < 0 {
				return
			}
			d.t.Fatal(err)
		}
	}
}

// clear removes what fill wrote.
func (d *memDisk) clear() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Fatal(err)
	}
}
