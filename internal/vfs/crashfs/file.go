package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"

	"mbus/internal/vfs"
)

// A file is an open file.
type file struct {
	fs   *FS
	name string
	node *node
}

// lock locks for a call, or fails if the file is closed or the process dead.
func (f *file) lock(op string) (unlock func(), err error) {
	f.fs.mu.Lock()
	switch {
	case f.fs.dead:
		err = ErrDead
	case !f.fs.open[f]:
		err = fs.ErrClosed
	default:
		return f.fs.mu.Unlock, nil
	}
	f.fs.mu.Unlock()
	return nil, pathError(op, f.name, err)
}

func (f *file) ReadAt(p []byte, pos int64) (int, error) {
	unlock, err := f.lock("read")
	if err != nil {
		return 0, err
	}
	defer unlock()
	if pos >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[pos:])
	f.fs.reads[f.name] += int64(n)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, pos int64) (int, error) {
	failed := f.fs.before(Call{Op: WriteAt, Name: f.name, Pos: pos, Len: len(p)})
	var short *ShortWrite
	switch {
	case errors.As(failed, &short):
		p, failed = p[:min(short.N, len(p))], short.Err
	case failed != nil:
		p = nil
	}
	unlock, err := f.lock("write")
	if err != nil {
		return 0, err
	}
	defer unlock()
	if len(p) > 0 {
		f.node.change(dataOp{pos: pos, bytes: bytes.Clone(p)})
	}
	if failed != nil {
		return len(p), pathError("write", f.name, failed)
	}
	return len(p), nil
}

func (f *file) Truncate(size int64) error {
	if err := f.fs.before(Call{Op: Truncate, Name: f.name, Pos: size}); err != nil {
		return pathError("truncate", f.name, err)
	}
	unlock, err := f.lock("truncate")
	if err != nil {
		return err
	}
	defer unlock()
	f.node.change(dataOp{pos: size})
	return nil
}

// Allocate is a truncate that only ever extends.
func (f *file) Allocate(_, size int64) error {
	if err := f.fs.before(Call{Op: Allocate, Name: f.name, Pos: size}); err != nil {
		return pathError("allocate", f.name, err)
	}
	unlock, err := f.lock("allocate")
	if err != nil {
		return err
	}
	defer unlock()
	if size > int64(len(f.node.data)) {
		f.node.change(dataOp{pos: size})
	}
	return nil
}

// Sync syncs the changes before the call; those during the call come too late.
func (f *file) Sync() error {
	unlock, err := f.lock("sync")
	if err != nil {
		return err
	}
	changes := f.node.changes
	unlock()
	failed := f.fs.before(Call{Op: Sync, Name: f.name})
	if unlock, err = f.lock("sync"); err != nil {
		return err
	}
	defer unlock()
	if failed != nil {
		f.node.failSync(changes)
		return pathError("sync", f.name, failed)
	}
	f.node.sync(changes)
	return nil
}

// SyncLarge is Sync.
func (f *file) SyncLarge() error { return f.Sync() }

func (f *file) Size() (int64, error) {
	unlock, err := f.lock("size")
	if err != nil {
		return 0, err
	}
	defer unlock()
	return int64(len(f.node.data)), nil
}

// SendTo implements vfs.File: the caller has to read.
func (f *file) SendTo(vfs.RawWriter, int64, int) error { return errors.ErrUnsupported }

func (f *file) Close() error {
	unlock, err := f.lock("close")
	if err != nil {
		return err
	}
	defer unlock()
	delete(f.fs.open, f)
	return nil
}
