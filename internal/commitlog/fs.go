package commitlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"mbus/internal/aio"
	"mbus/internal/store"
)

// FS is the part of a file system that the log relies on, so that tests can put
// one in its place that fails, or forgets what was not synced. What it assumes
// of a disk: bytes are safe after Sync of their file, names after SyncDir of
// their directory; before that any of them may be there after a crash, or not,
// in any combination, and a write may have happened in part.
type FS interface {
	Open(name string) (File, error)   // for reading and writing; must exist
	Create(name string) (File, error) // made empty; must not exist
	Mkdir(name string) error
	Rename(from, to string) error // replaces to, at once
	Remove(name string) error     // a file or an empty directory
	SyncDir(name string) error
	ReadDir(name string) ([]Entry, error) // sorted by name
}

// A File is an open file. ReadAt and WriteAt may be used by many goroutines.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Allocate extends the file with zeros up to size, and takes the space that
	// writes there will need, so that a sync of them has no more to write than
	// the bytes. The file system may do less of it, or nothing.
	Allocate(from, size int64) error
	Sync() error // contents and size, not times: fdatasync
	// SyncMuch is Sync for what takes some time: it begins later, and takes less of a
	// processor.
	SyncMuch() error
	// SendTo has the system send the n bytes at pos to the connection.
	// errors.ErrUnsupported says that it can't, or that the file can't be read there, and
	// that nothing was sent.
	SendTo(conn store.RawWriter, pos int64, n int) error
	Size() (int64, error)
}

// An Entry is a name in a directory.
type Entry struct {
	Name string
	Dir  bool  // or a link to one
	Size int64 // of a file, or of that which a link leads to, in bytes
	Link bool  // a symbolic link; to nothing if neither Dir nor Size is set
}

// osFS is the system's own file system.
type osFS struct {
	warn func(dir string, err error) // told of directories that can't be synced; nil for nobody
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

// Sync waits through EINTR and nothing else: after any other error the kernel
// may have dropped the pages, and a second sync would claim success.
func (f osFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// SyncMuch implements File.
func (f osFile) SyncMuch() error {
	err := aio.Fdatasync(f.File)
	if errors.Is(err, aio.ErrRefused) {
		return f.Sync()
	}
	return os.NewSyscallError("fdatasync", err)
}

// SendTo is sendfile(2). Only with the first byte can it say that it can't: later the caller
// would send all again.
func (f osFile) SendTo(conn store.RawWriter, pos int64, n int) error {
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
	if !begun && (failed == syscall.EINVAL || failed == syscall.ENOSYS || isUnreadable(failed)) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, failed)
	}
	return err
}

// sendfile sends as much as the socket takes; it fails with EAGAIN if that is
// less than n bytes.
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

func (osFS) Open(name string) (File, error) { return open(name, os.O_RDWR) }

func (osFS) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Mkdir(name string) error      { return os.Mkdir(name, 0o700) }
func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }

// SyncDir is fsync(2). A file system that does not sync directories (CIFS, vboxsf, some
// FUSE) answers EINVAL: it keeps names by itself, or not, and there is nothing to be
// done about it.
func (fs osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		if fs.warn != nil {
			fs.warn(name, err)
		}
		return nil
	}
	return err
}

// SyncAll is syncfs(2): it syncs the file system that a directory is in.
func (osFS) SyncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}

func (osFS) ReadDir(name string) ([]Entry, error) {
	list, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(list))
	for _, d := range list {
		e := Entry{Name: filepath.Base(d.Name()), Link: d.Type()&os.ModeSymlink != 0}
		stat := d.Info
		if e.Link {
			stat = func() (os.FileInfo, error) { return os.Stat(filepath.Join(name, d.Name())) }
		}
		info, err := stat()
		switch {
		case err == nil:
			e.Dir, e.Size = info.IsDir(), info.Size()
		case e.Link: // it leads nowhere
		case os.IsNotExist(err):
			continue // removed meanwhile
		default:
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// writeFile replaces a small file as a whole: after a crash it has the old
// content or the new.
func writeFile(fs FS, name string, content []byte) error {
	tmp := name + ".tmp"
	if err := fs.Remove(tmp); err != nil && !isNotExist(err) {
		return err
	}
	f, err := fs.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(content, '\n'), 0)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = fs.Rename(tmp, name)
	}
	if err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(name))
}
