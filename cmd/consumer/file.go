package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"mbus/internal/client"
)

// commitSize is how much is written before the position is, in bytes, while
// messages keep coming: enough to make the syncs cheap, and little to write again.
const commitSize = 8 << 20

// A file gets each message exactly once. Beside it, in FILE.position, stands
// which messages it holds, and how large it is with them. That is replaced, as a
// whole, after what it speaks of has been synced. So after a crash the file has
// what the position says, and perhaps bytes behind it, which are cut off when it
// is opened: their messages come again. The file may be rotated; see rotate.go.
type file struct {
	f      *os.File
	path   string
	format format
	topic  *identity
	next   map[int]int64 // the session counts the messages in it
	hangup chan os.Signal

	buf       []byte // not yet written
	inode     inode
	size      int64         // written
	looked    int64         // of size, when the file was last looked at
	written   map[int]int64 // next, of what was written
	committed position      // as it stands in the position file
	text      string        // of committed; "" before the first
}

// openFile makes the file, or goes on with it. Nobody else may have it open
// here: a lock sees to that.
func openFile(path string, topic *identity, layout format) (*file, error) {
	o := &file{path: path, format: layout, topic: topic, next: make(map[int]int64), hangup: make(chan os.Signal, 1)}
	topic.remedy = fmt.Sprintf("move %q and %q away to begin again", path, o.positionPath())
	if err := o.open(0o666); err != nil {
		return nil, err
	}
	if err := o.recover(); err != nil {
		o.f.Close()
		return nil, err
	}
	signal.Notify(o.hangup, syscall.SIGHUP)
	return o, nil
}

func (o *file) positionPath() string { return o.path + ".position" }

// open opens the file, which it makes if there is none, and locks it.
func (o *file) open(mode fs.FileMode) error {
	f, err := os.OpenFile(o.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, mode)
	if err != nil {
		return err
	}
	if err = o.lock(f); err == nil {
		o.inode, err = inodeOf(f)
	}
	if err != nil {
		f.Close()
		return err
	}
	o.f = f
	return nil
}

func (o *file) lock(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file", o.path)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%q is written by another consumer: %w", o.path, err)
	}
	return nil
}

// recover brings the file to what its position says.
func (o *file) recover() error {
	info, err := o.f.Stat()
	if err != nil {
		return err
	}
	p, err := o.readPosition(info.Size())
	if err != nil {
		return err
	}
	if o.isNew(p, info.Size()) {
		if err := o.leave(p); err != nil {
			return err
		}
		p.size = 0
	}
	if err := o.checkSize(p, info.Size()); err != nil {
		return err
	}
	o.next, o.size, o.looked, o.topic.id = p.next, p.size, p.size, p.id
	if err := o.f.Truncate(p.size); err != nil {
		return err
	}
	o.written = maps.Clone(o.next)
	return o.commit() // if it has none: a file without a position is not ours
}

// readPosition reads the position of the file, which is size bytes long.
func (o *file) readPosition(size int64) (*position, error) {
	read, err := os.ReadFile(o.positionPath())
	if errors.Is(err, fs.ErrNotExist) {
		if size > 0 {
			return nil, fmt.Errorf("%q has %d bytes but no %q beside it that says which messages they are: "+
				"put that back, or move the file away to begin again", o.path, size, o.positionPath())
		}
		return &position{topic: o.topic.name, next: o.next}, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := decodePosition(string(read))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is %w: put it back, or move it and %q away to begin again", o.positionPath(), err, o.path)
	case p.topic != o.topic.name:
		return nil, fmt.Errorf("%q holds messages of topic %q, not of %q: name another file", o.path, p.topic, o.topic.name)
	}
	o.committed, o.text = *p, string(read)
	o.committed.next = maps.Clone(p.next)
	return p, nil
}

// checkSize refuses a file that is not what the position speaks of.
func (o *file) checkSize(p *position, size int64) error {
	switch {
	case p.size > size:
		return fmt.Errorf("%q has %d bytes, and had %d when its position was written: "+
			"put back what is missing, or move it and %q away to begin again", o.path, size, p.size, o.positionPath())
	case p.size == 0 && size > 0 && p.file != (inode{}) && p.file != o.inode:
		return o.foreign(size)
	}
	return nil
}

// foreign says that the file has bytes that are not ours.
func (o *file) foreign(size int64) error {
	return fmt.Errorf("%q has %d bytes that this program has not written: move it away", o.path, size)
}

// take adds a message. An error is final, as are those of the other methods.
func (o *file) take(_ *client.Consumer, _ int64, m *received) error {
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
	if err := o.flush(); err != nil || o.size-o.committed.size < commitSize {
		return err
	}
	return o.commit()
}

// idle commits if nothing more has come.
func (o *file) idle(c *client.Consumer, _ int64) error {
	if !c.Quiet() {
		return nil
	}
	return o.commit()
}

func (o *file) settle(*client.Consumer, int64) error { return o.commit() }

// wakes has idle called at SIGHUP.
func (o *file) wakes(c *client.Consumer) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-o.hangup:
				c.Wake()
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// flush writes what was taken, into the file that has the name now.
func (o *file) flush() error {
	if err := o.look(); err != nil {
		return err
	}
	n, err := o.f.Write(o.buf)
	o.size, o.buf = o.size+int64(n), o.buf[:0]
	if err == nil {
		o.written = maps.Clone(o.next)
	}
	return err
}

// commit makes durable what was taken, and then the position that says so.
func (o *file) commit() error {
	if err := o.flush(); err != nil {
		return err
	}
	p := position{topic: o.topic.name, id: o.topic.id, file: o.inode, size: o.size, next: o.written}
	if p.encode() == o.text {
		return nil
	}
	if err := o.f.Sync(); err != nil {
		return err
	}
	if err := o.look(); err != nil { // what was removed meanwhile is not in the file
		return err
	}
	p.size, p.file = o.size, o.inode
	return o.writePosition(p)
}

// writePosition makes durable what the file holds.
func (o *file) writePosition(p position) error {
	text := p.encode()
	if err := replace(o.positionPath(), text); err != nil {
		return err
	}
	p.next = maps.Clone(p.next)
	o.committed, o.text = p, text
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
	return syncAround(f)
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
