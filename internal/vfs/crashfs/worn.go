package crashfs

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"mbus/internal/vfs"
)

// A Worn disk can't read some bytes of some files. Like a kernel, it reads up to them.
type Worn struct {
	*FS
	Err   error // of these reads; nil for EIO
	Blunt bool  // a read of them reads nothing

	Wrote func(name string, p []byte, pos int64)           // called before each write, if not nil
	Send  func(conn vfs.RawWriter, pos int64, n int) error // in place of SendTo, if not nil

	Failed atomic.Int64 // reads
	Read   atomic.Int64 // bytes that were asked for, of segments

	mu  sync.Mutex // guards what follows
	bad []Patch
}

// A Patch is the bytes that can't be read of files with a suffix.
type Patch struct {
	Suffix   string
	From, To int64
	Open     bool // the files can't be opened, either
}

// Break makes patches unreadable, in place of earlier ones.
func (d *Worn) Break(bad ...Patch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad = bad
}

// until is the end of a read of n bytes at pos.
func (d *Worn) until(name string, pos, n int64, open bool) (to int64, failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	to = pos + n
	for _, b := range d.bad {
		if strings.HasSuffix(name, b.Suffix) && b.From < to && b.To > pos && (b.Open || !open) {
			to, failed = max(pos, b.From), true
		}
	}
	if failed && d.Blunt {
		to = pos
	}
	return to, failed
}

func (d *Worn) fails(op, name string) error {
	err := d.Err
	if err == nil {
		err = syscall.EIO
	}
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// Open implements vfs.FS.
func (d *Worn) Open(name string) (vfs.File, error) {
	if _, failed := d.until(name, 0, 1<<40, true); failed {
		return nil, d.fails("open", name)
	}
	f, err := d.FS.Open(name)
	return &wornFile{f, d, name}, err
}

// Create implements vfs.FS.
func (d *Worn) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	return &wornFile{f, d, name}, err
}

type wornFile struct {
	vfs.File
	disk *Worn
	name string
}

func (f *wornFile) ReadAt(p []byte, pos int64) (int, error) {
	if strings.HasSuffix(f.name, ".log") {
		f.disk.Read.Add(int64(len(p)))
	}
	to, failed := f.disk.until(f.name, pos, int64(len(p)), false)
	if !failed {
		return f.File.ReadAt(p, pos)
	}
	f.disk.Failed.Add(1)
	n, err := f.File.ReadAt(p[:to-pos], pos)
	if err == nil {
		err = f.disk.fails("read", f.name)
	}
	return n, err
}

func (f *wornFile) WriteAt(p []byte, pos int64) (int, error) {
	if f.disk.Wrote != nil {
		f.disk.Wrote(f.name, p, pos)
	}
	return f.File.WriteAt(p, pos)
}

func (f *wornFile) SendTo(conn vfs.RawWriter, pos int64, n int) error {
	if f.disk.Send == nil {
		return f.File.SendTo(conn, pos, n)
	}
	return f.disk.Send(conn, pos, n)
}
