package commitlog

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"mbus/internal/vfs"
)

// A handle is a file that is open while somebody uses it.
type handle struct {
	fs   vfs.FS
	name string

	mu   sync.Mutex // guards what follows
	file vfs.File
	refs int
}

// acquire opens the file, if it is not open, until as many calls of release.
func (h *handle) acquire() (vfs.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		f, err := h.fs.Open(h.name)
		if err != nil {
			return nil, err
		}
		h.file = f
	}
	h.refs++
	return h.file, nil
}

// create makes the file, replacing one that is left of an earlier attempt, and
// acquires it. If somebody has it open it is that one: he has just made it.
func (h *handle) create() (vfs.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		h.refs++
		return h.file, nil
	}
	f, err := h.fs.Create(h.name)
	if isExist(err) {
		if err = h.fs.Remove(h.name); err == nil {
			f, err = h.fs.Create(h.name)
		}
	}
	if err != nil {
		return nil, err
	}
	h.file, h.refs = f, 1
	return f, nil
}

func (h *handle) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refs--
	if h.refs == 0 {
		h.file.Close() // what had to be synced has been
		h.file = nil
	}
}

// readAt fills p from pos and returns fewer bytes only at the end of the file.
func (h *handle) readAt(p []byte, pos int64) (int, error) {
	f, err := h.acquire()
	if err != nil {
		return 0, err
	}
	defer h.release()
	n, err := f.ReadAt(p, pos)
	return n, ignoreEOF(err)
}

// size is the file's size in bytes.
func (h *handle) size() (int64, error) {
	f, err := h.acquire()
	if err != nil {
		return 0, err
	}
	defer h.release()
	return f.Size()
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// isFull says that a write failed for want of space and may succeed later.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// noFiles says that a file could not be opened for want of descriptors: nothing was
// done, and it may succeed later.
func noFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func isExist(err error) bool { return errors.Is(err, fs.ErrExist) }
