package commitlog

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"mbus/internal/vfs"
)

// A handle is a file that is open while it is used. An append takes its lock, so that no file is
// opened or closed under it.
type handle struct {
	fs   vfs.FS
	name string

	mu      sync.Mutex // guards what follows
	file    vfs.File
	refs    int
	created int // how often the file has been created
}

// acquire returns the file, which is open until release has been called as often as acquire.
func (h *handle) acquire() (vfs.File, error) {
	for {
		f, created := h.hold()
		if f != nil {
			return f, nil
		}
		f, err := h.fs.Open(h.name)
		if err != nil {
			return nil, err
		}
		if h.opened(f, created) {
			return f, nil
		}
		f.Close() // another goroutine has opened it, or created it again
	}
}

// hold acquires the file if it is open.
func (h *handle) hold() (f vfs.File, created int) {
	h.mu.Lock()
	if h.file != nil {
		h.refs++
	}
	f, created = h.file, h.created
	h.mu.Unlock()
	return f, created
}

// opened acquires the file that was opened, unless another one is open or was created meanwhile.
func (h *handle) opened(f vfs.File, created int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil || h.created != created {
		return false
	}
	h.file, h.refs = f, 1
	return true
}

// create creates the file, in place of one that an earlier attempt has left, and acquires it. If it
// is open, another goroutine has just created it.
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
	h.created++
	return f, nil
}

func (h *handle) release() {
	h.mu.Lock()
	h.refs--
	if h.refs > 0 {
		h.mu.Unlock()
		return
	}
	f := h.file
	h.file = nil
	h.mu.Unlock()
	f.Close() // all syncs have been done
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

// isFull says that a write failed on a full disk and may succeed later.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// noFiles says that a file could not be opened without a free descriptor: nothing was
// done, and it may succeed later.
func noFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func isExist(err error) bool { return errors.Is(err, fs.ErrExist) }
