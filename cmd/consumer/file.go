package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"mbus/internal/consumer"
)

// commitSize is how much is written before the position is, in bytes, while
// messages keep coming: enough to make the syncs cheap, and little to write again.
const commitSize = 8 << 20

// A file gets each message exactly once. Beside it, in FILE.position, stands
// which messages it holds, and how large it is with them. That is replaced, as a
// whole, after what it speaks of has been synced. So after a crash the file has
// what the position says, and perhaps bytes behind it, which are cut off when it
// is opened: their messages come again.
type file struct {
	f      *os.File
	path   string
	format format
	topic  string
	next   map[int]int64 // the session counts the messages in it

	buf       []byte // not yet written
	size      int64  // written
	committed int64  // of size, in the position
	position  string // its text; "" before the first
}

// openFile makes the file, or goes on with it. Nobody else may have it open
// here: a lock sees to that.
func openFile(path, topic string, layout format) (*file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	o := &file{f: f, path: path, format: layout, topic: topic, next: make(map[int]int64)}
	if err := o.recover(); err != nil {
		f.Close()
		return nil, err
	}
	return o, nil
}

func (o *file) positionPath() string { return o.path + ".position" }

// recover locks the file and brings it to what its position says.
func (o *file) recover() error {
	if err := syscall.Flock(int(o.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%q is written by another consumer: %w", o.path, err)
	}
	info, err := o.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file", o.path)
	}
	p, text, err := o.readPosition(info.Size())
	if err != nil {
		return err
	}
	o.next, o.size, o.committed, o.position = p.next, p.size, p.size, text
	if err := o.f.Truncate(p.size); err != nil {
		return err
	}
	if _, err := o.f.Seek(p.size, io.SeekStart); err != nil {
		return err
	}
	return o.commit() // if it has none: a file without a position is not ours
}

// readPosition reads the position of the file, which is size bytes long.
func (o *file) readPosition(size int64) (p *position, text string, err error) {
	read, err := os.ReadFile(o.positionPath())
	if errors.Is(err, fs.ErrNotExist) {
		if size > 0 {
			return nil, "", fmt.Errorf("%q has %d bytes but no %q beside it that says which messages they are: "+
				"put that back, or move the file away to begin anew", o.path, size, o.positionPath())
		}
		return &position{topic: o.topic, next: o.next}, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	p, err = decodePosition(string(read))
	switch {
	case err != nil:
		err = fmt.Errorf("%q is %w: put it back, or move it and %q away to begin anew", o.positionPath(), err, o.path)
	case p.topic != o.topic:
		err = fmt.Errorf("%q holds messages of topic %q, not of %q: name another file", o.path, p.topic, o.topic)
	case p.size > size:
		err = fmt.Errorf("%q has %d bytes, and had %d when its position was written: "+
			"put back what is missing, or move it and %q away to begin anew", o.path, size, p.size, o.positionPath())
	}
	return p, string(read), err
}

// take adds a message. An error is final, as are those of the other methods.
func (o *file) take(_ *consumer.Conn, _ int64, m *message) error {
	if err := o.bound(); err != nil {
		return err
	}
	o.buf = o.format.append(o.buf, m)
	return nil
}

// bound keeps what is not written, and not committed, within bounds. Between two
// messages is the place for it: next then speaks of those in the file.
func (o *file) bound() error {
	if len(o.buf) < flushSize {
		return nil
	}
	if err := o.flush(); err != nil || o.size-o.committed < commitSize {
		return err
	}
	return o.commit()
}

// idle commits if nothing more has come.
func (o *file) idle(c *consumer.Conn, _ int64) error {
	if !c.Quiet() {
		return nil
	}
	return o.commit()
}

func (o *file) settle(*consumer.Conn, int64) error { return o.commit() }

func (o *file) flush() error {
	n, err := o.f.Write(o.buf)
	o.size, o.buf = o.size+int64(n), o.buf[:0]
	return err
}

// commit makes durable what was taken, and then the position that says so.
func (o *file) commit() error {
	if err := o.flush(); err != nil {
		return err
	}
	p := position{topic: o.topic, size: o.size, next: o.next}
	text := p.encode()
	if text == o.position {
		return nil
	}
	if err := o.f.Sync(); err != nil {
		return err
	}
	if err := replace(o.positionPath(), text); err != nil {
		return err
	}
	o.committed, o.position = o.size, text
	return nil
}

func (o *file) close() { o.f.Close() }

// replace has path hold the text, or, after a crash, what it held before.
func replace(path, text string) error {
	tmp := path + ".tmp"
	if err := writeSynced(tmp, text); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncName(path) // and with it the name of a file that is new
}

// syncName makes durable that the file has this name. A directory that can't be
// opened for reading, or can't be synced, has its whole file system synced for it.
func syncName(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		defer dir.Close()
		err = dir.Sync()
	}
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	return f.Sync()
}
