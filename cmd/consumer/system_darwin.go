package main

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipesTell is false: the end of a pipe that is written to is not told what is unread, so
// that a message counts when it is in the pipe.
const pipesTell = false

// Events of poll(2) to ask for, and those that say that a pipe has no reader.
const (
	askReader = unix.POLLOUT
	noReader  = unix.POLLERR | unix.POLLHUP
)

func unreadIn(int) (int, error) { return 0, errors.ErrUnsupported }

// ofCommand is a process group of its own. The guard alone kills it with this program.
func ofCommand() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// emptyInput is a file without a name.
func emptyInput() (*os.File, error) {
	f, err := os.CreateTemp("", "mbus-message-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// awaitEnd waits for a child to end, and leaves it to be waited for: until then no
// other process group can have its number. One that has ended already can't be watched.
func awaitEnd(pid int) {
	queue, err := unix.Kqueue()
	if err != nil {
		return // the wait for the child finds its end
	}
	defer unix.Close(queue)
	watch := make([]unix.Kevent_t, 1)
	unix.SetKevent(&watch[0], pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	watch[0].Fflags = unix.NOTE_EXIT
	for {
		_, err := unix.Kevent(queue, watch, make([]unix.Kevent_t, 1), nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// inodeAt is that of the file with the name in the directory dir, or, without a name, of
// the descriptor itself.
func inodeAt(dir int, name string) (inode, error) {
	var s unix.Stat_t
	err := unix.Fstat(dir, &s)
	if name != "" {
		err = unix.Fstatat(dir, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return inode{}, os.NewSyscallError("fstatat", err)
	}
	return inode{number: s.Ino, born: s.Btim.Nano()}, nil
}

// syncAround has the system write everything, and the disk of the file keep it.
func syncAround(f *os.File) error {
	if err := unix.Sync(); err != nil {
		return err
	}
	return f.Sync()
}
