// Package vfs is the part of a file system that a store needs: an interface, the system's own
// file system, and the errors that mean damage. Package crashfs has another one, which loses
// what was not synced.
package vfs

import "io"

// FS is a file system. A store may rely on this of a disk: bytes are safe after Sync of their
// file, names after SyncDir of their directory. Before that each of them may survive a crash or
// not, in any combination, and a write may be there in part.
type FS interface {
	Open(name string) (File, error)   // for reading and writing; the file must exist
	Create(name string) (File, error) // an empty file, which must not exist
	Mkdir(name string) error
	Rename(from, to string) error // atomic; replaces to
	Remove(name string) error     // a file or an empty directory
	SyncDir(name string) error
	ReadDir(name string) ([]Entry, error) // sorted by name
}

// A File is an open file. Any number of goroutines may use ReadAt and WriteAt.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Allocate extends the file with zeros up to size, and reserves the space for writes there,
	// so that a sync of them writes nothing but their bytes. A file system may do less, or
	// nothing.
	Allocate(from, size int64) error
	Sync() error // contents and size, not times: fdatasync
	// SyncLarge is Sync for 64 KiB or more: it starts later and takes less processor time.
	SyncLarge() error
	// SendTo has the system send the n bytes at pos to a connection. It fails with
	// errors.ErrUnsupported if the system can't, or can't read the file there, and nothing was
	// sent.
	SendTo(conn RawWriter, pos int64, n int) error
	Size() (int64, error)
}

// A RawWriter is the part of syscall.RawConn that SendTo needs.
type RawWriter interface {
	// Write calls f until it returns true, whenever the connection can be written to.
	Write(f func(fd uintptr) (done bool)) error
}

// An Entry is a name in a directory.
type Entry struct {
	Name string
	Dir  bool  // a directory, or a link to one
	Size int64 // of the file, or of the link's target, in bytes
	Link bool  // a symbolic link; a dangling one if neither Dir nor Size is set
}
