// Package vfs is the part of a file system that a store needs: an interface, the system's own
// behind it, and errors in their meaning for a store. Package crashfs is another one, which
// loses what was not synced.
package vfs

import "io"

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
	Dir  bool  // or a link to one
	Size int64 // of a file, or of that which a link leads to, in bytes
	Link bool  // a symbolic link; to nothing if neither Dir nor Size is set
}
