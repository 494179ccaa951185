package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// A file that is rotated is renamed, or copied and cut to nothing, or removed, by another
// program at any time, and a new one may be made in its place. What has been committed is
// in the file that was, and counts; the new one goes on where that ends. Before anything
// is written to the new one the position says that it is the file, with nothing in it: so
// a crash finds either the old one, by its inode, with bytes behind its position that are
// cut off, or the new one. Bytes that were written to a file that was removed, and not
// committed, are written once more.

// look brings the file up to date with what others have done to it since the last look.
func (o *file) look() error {
	mine, err := o.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(o.path)
	switch {
	case err == nil && os.SameFile(mine, named):
		err = o.lookAtSize(mine.Size())
	case err == nil || errors.Is(err, fs.ErrNotExist):
		err = o.beginNew(mine)
	}
	o.looked = o.size
	return err
}

// lookAtSize finds the file cut to nothing. It may have again what was written since, but
// not more.
func (o *file) lookAtSize(size int64) error {
	switch {
	case size == o.size:
		return nil
	case size > o.size:
		return fmt.Errorf("%q has %d bytes, of which this program has written %d: another one writes to it, too", o.path, size, o.size)
	case size > o.size-o.looked:
		return fmt.Errorf("%q had %d bytes and was cut to %d: only a file that is cut to nothing can be gone on with", o.path, o.size, size)
	}
	say("%q was emptied: it goes on where it was", o.path)
	if err := o.f.Sync(); err != nil {
		return err
	}
	o.size = size
	return o.writePosition(position{topic: o.topic.name, id: o.topic.id, file: o.inode, size: size, next: o.written})
}

// beginNew goes on with a new file in the place of one that was moved or removed.
func (o *file) beginNew(mine fs.FileInfo) error {
	old, next := o.f, o.written
	defer old.Close()
	var tail []byte
	if removed(mine) {
		say("%q was removed: a new one goes on where it was", o.path)
		next = o.committed.next
		tail = make([]byte, max(0, o.size-o.committed.size))
		if _, err := old.ReadAt(tail, o.committed.size); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	} else {
		say("%q was moved: a new one goes on where it was", o.path)
		if err := old.Sync(); err != nil {
			return err
		}
	}
	if err := o.open(mine.Mode().Perm()); err != nil {
		return err
	}
	if info, err := o.f.Stat(); err != nil || info.Size() > 0 {
		return errors.Join(err, o.foreign(info.Size()))
	}
	err := o.writePosition(position{topic: o.topic.name, id: o.topic.id, file: o.inode, next: next})
	if err != nil {
		return err
	}
	n, err := o.f.Write(tail)
	o.size = int64(n)
	return err
}

// removed reports whether no name of the file is left.
func removed(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink == 0
}

// isNew reports whether the file, which is size bytes long, is not the one that the
// position speaks of but has been put in its place, or was emptied.
func (o *file) isNew(p *position, size int64) bool {
	return size == 0 && (p.size > 0 || p.file != (inode{}) && p.file != o.inode)
}

// leave cuts off of the file that was here before what its position does not speak of. Its
// messages will be in the new one.
func (o *file) leave(p *position) error {
	say("%q is new, or was emptied: it goes on where the one before it ends; without %q it begins anew", o.path, o.positionPath())
	if p.file == (inode{}) || p.file == o.inode {
		return nil
	}
	name, err := p.file.nameOf(o.path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		say("the file that was %q before can't be looked for: %v; its last messages may come again", o.path, err)
		return nil
	case err != nil || name == "":
		return err
	}
	return o.cut(name, p.size)
}

// cut takes what is behind the size off a file that has been moved, and that no other
// consumer has open.
func (o *file) cut(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(name) // it will do if there is nothing to take off
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := o.lock(f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil || info.Size() <= size {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}
