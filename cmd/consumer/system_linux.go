package main

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipesTell says that the system tells how many bytes in a pipe are unread, and when its
// reader leaves.
const pipesTell = true

// Events of poll(2) to ask for, and those that say that a pipe has no reader.
const (
	askReader = 0
	noReader  = unix.POLLERR
)

// unreadIn is how many bytes are in the pipe.
func unreadIn(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.TIOCINQ) }

// ofCommand is a process group of its own, for a shell that is killed with this program.
// The system sends Pdeathsig when the thread that began the shell ends. Go ends a thread
// with a goroutine that is locked to it only, and here is none.
func ofCommand() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// emptyInput is a file without a name.
func emptyInput() (*os.File, error) {
	fd, err := unix.MemfdCreate("message", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "message"), nil
}

// awaitEnd waits for a child to end, and leaves it to be waited for: until then no
// other process group can have its number.
func awaitEnd(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// inodeAt is that of the file with the name in the directory dir, or, without a name, of
// the descriptor itself.
func inodeAt(dir int, name string) (inode, error) {
	var s unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &s)
	if err != nil {
		return inode{}, os.NewSyscallError("statx", err)
	}
	i := inode{number: s.Ino}
	if s.Mask&unix.STATX_BTIME != 0 {
		i.born = s.Btime.Sec*1e9 + int64(s.Btime.Nsec)
	}
	return i, nil
}

// syncAround syncs the file system that the file is in.
func syncAround(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
