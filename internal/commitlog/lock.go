package commitlog

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// acquire creates the data directory, if it does not exist, and locks it for this process. The lock
// ends with the process, however that ends. It does not change a directory that it refuses.
func (d *dataDir) acquire() error {
	if err := d.probe(); err != nil {
		return err
	}
	if err := d.makeDirs(); err != nil {
		return err
	}
	f, err := os.OpenFile(d.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = flock(f, syscall.LOCK_EX)
	if err == nil {
		err = writePid(f)
	}
	if err != nil {
		f.Close()
		return err
	}
	d.lock = f
	return nil
}

// flock is flock(2) without waiting. how is LOCK_EX, or LOCK_SH for -verify, which shares the
// directory with other readers.
func flock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EWOULDBLOCK) && how == syscall.LOCK_EX && syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil:
		return errors.New("it is being read by another process, such as broker -verify: wait until that has ended")
	case errors.Is(err, syscall.EWOULDBLOCK):
		return inUse(f.Name())
	}
	return fmt.Errorf("the file system can't lock files (%s: flock: %w), and two brokers in one directory would destroy it: "+
		"use another file system, or mount this one with locks", f.Name(), err)
}

// writePid writes the process id of the lock's holder. It overwrites the file, because that works
// on a full disk. The lock holds even if the write fails for lack of space.
func writePid(f *os.File) error {
	n, err := f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	if isFull(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Truncate(int64(n))
}

// ErrInUse says that another process has locked the directory; its process id follows.
var ErrInUse = errors.New("it is in use by process")

// inUse is the error for a lock that another process holds.
func inUse(name string) error {
	holder, _ := os.ReadFile(name)
	return fmt.Errorf("%w %s", ErrInUse, strings.TrimSpace(string(holder)))
}

func (d *dataDir) release() {
	if d.lock != nil {
		d.lock.Close()
		d.lock = nil
	}
}

// warnNoSync returns a function that warns once that directories can't be synced.
func (d *dataDir) warnNoSync() func(dir string, err error) {
	var once sync.Once
	return func(dir string, err error) {
		once.Do(func() {
			d.log.Warn("the file system of the data directory does not sync directories: a power cut may remove new topics and segments with their messages",
				"directory", dir, "reason", err)
		})
	}
}
