package vfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the system's own file system.
type OS struct {
	Warn func(dir string, err error) // a directory could not be synced; may be nil
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Allocate(from, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, from, size-from)
	if err == syscall.EOPNOTSUPP || err == syscall.EINTR {
		return nil
	}
	return os.NewSyscallError("fallocate", err)
}

// Sync tries again after EINTR only: after any other error the kernel may have dropped the
// pages, and a second sync would claim success.
func (f osFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// SyncLarge implements File.
func (f osFile) SyncLarge() error {
	err := fdatasync(f.File)
	if errors.Is(err, errRefused) {
		return f.Sync()
	}
	return os.NewSyscallError("fdatasync", err)
}

// SendTo is sendfile(2). It fails with errors.ErrUnsupported only before the first byte, because
// the caller then sends everything in another way.
func (f osFile) SendTo(conn RawWriter, pos int64, n int) error {
	var failed error
	begun := false
	err := conn.Write(func(socket uintptr) (done bool) {
		var sent int
		sent, failed = f.sendfile(int(socket), pos, n)
		pos, n, begun = pos+int64(sent), n-sent, begun || sent > 0
		return failed != syscall.EAGAIN
	})
	if err == nil && failed != nil {
		err = os.NewSyscallError("sendfile", failed)
	}
	if !begun && (failed == syscall.EINVAL || failed == syscall.ENOSYS || IsUnreadable(failed)) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, failed)
	}
	return err
}

// sendfile sends as many bytes as fit into the socket; it fails with EAGAIN if that is less
// than n.
func (f osFile) sendfile(socket int, pos int64, n int) (sent int, err error) {
	for sent < n {
		m, err := syscall.Sendfile(socket, int(f.Fd()), &pos, n-sent)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return sent, err
		case m == 0:
			return sent, io.ErrUnexpectedEOF
		default:
			sent += m
		}
	}
	return sent, nil
}

func (OS) Open(name string) (File, error) { return open(name, os.O_RDWR) }

// OpenToRead opens a file for reading only.
func (OS) OpenToRead(name string) (File, error) { return open(name, os.O_RDONLY) }

func (OS) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func open(name string, flag int) (File, error) {
	fd, err := openFd(name, flag)
	if err != nil {
		return nil, err
	}
	return osFile{os.NewFile(uintptr(fd), name)}, nil
}

// openFd is open(2). os.OpenFile makes five more system calls, to find that a file is not one that
// epoll(7) can wait for.
func openFd(name string, flag int) (fd int, err error) {
	for {
		fd, err = unix.Open(name, flag|unix.O_CLOEXEC, 0o600)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

func (OS) Mkdir(name string) error      { return os.Mkdir(name, 0o700) }
func (OS) Rename(from, to string) error { return os.Rename(from, to) }
func (OS) Remove(name string) error     { return os.Remove(name) }

// SyncDir is fsync(2). A file system that can't sync directories (CIFS, vboxsf, some FUSE)
// returns EINVAL: it keeps names by itself, or not, and nothing can be done about it.
func (fs OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		if fs.Warn != nil {
			fs.Warn(name, err)
		}
		return nil
	}
	return err
}

// SyncAll is syncfs(2): it syncs the whole file system of a directory.
func (OS) SyncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}

// ReadDir asks for the size of files only.
func (OS) ReadDir(name string) ([]Entry, error) {
	fd, err := openFd(name, os.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	list, err := dirents(fd)
	if err != nil {
		return nil, &os.PathError{Op: "readdir", Path: name, Err: err}
	}
	entries := list[:0]
	for _, e := range list {
		err := e.stat(fd)
		switch {
		case err == nil || e.Link: // perhaps dangling
			entries = append(entries, e)
		case err != unix.ENOENT: // else removed meanwhile
			return nil, &os.PathError{Op: "stat", Path: filepath.Join(name, e.Name), Err: err}
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// dirents is getdents64(2) up to the end of a directory. Entries of unknown type are as those of files.
func dirents(fd int) (list []Entry, err error) {
	p := buffers.Get().(*[]byte)
	defer buffers.Put(p)
	for {
		n, err := unix.ReadDirent(fd, *p)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return list, err
		}
		for rest := (*p)[:n]; len(rest) > 0; {
			size := binary.NativeEndian.Uint16(rest[16:])
			name, _, _ := bytes.Cut(rest[19:size], []byte{0})
			if kind := rest[18]; string(name) != "." && string(name) != ".." {
				list = append(list, Entry{Name: string(name), Dir: kind == unix.DT_DIR})
			}
			rest = rest[size:]
		}
	}
}

var buffers = sync.Pool{New: func() any { p := make([]byte, 8<<10); return &p }}

// stat asks for the size of a file in a directory, and what a link leads to.
func (e *Entry) stat(dir int) error {
	if e.Dir {
		return nil
	}
	var s unix.Stat_t
	err := unix.Fstatat(dir, e.Name, &s, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && s.Mode&unix.S_IFMT == unix.S_IFLNK {
		e.Link = true
		err = unix.Fstatat(dir, e.Name, &s, 0)
	}
	if err == nil {
		e.Dir, e.Size = s.Mode&unix.S_IFMT == unix.S_IFDIR, s.Size
	}
	return err
}

// Boot is Linux's boot id, or empty.
func (OS) Boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// Space is statfs(2).
func (OS) Space(dir string) (free, size int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	block := max(1, int64(s.Bsize))
	if s.Frsize > 0 {
		block = int64(s.Frsize)
	}
	in := func(blocks uint64) int64 { return int64(min(blocks, uint64(math.MaxInt64/block))) * block }
	return in(s.Bavail), in(s.Blocks), nil
}

// Writable says why files can't be created in a directory: it has another owner, say, or its file
// system has been mounted for reading only after an error.
func (OS) Writable(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "access", Path: dir, Err: err}
	}
	return nil
}
