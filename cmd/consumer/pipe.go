package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errReaderLeft says that standard output, or standard error, has no reader any more.
var errReaderLeft = errors.New("standard output has no reader any more")

// broken reports whether the descriptor is a pipe, or a socket, without a reader.
func broken(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLERR != 0
}

// endOfPipe ends the program as a write to a pipe without a reader does: by SIGPIPE,
// which a shell shows as 141. It returns where that is ignored.
func endOfPipe() {
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if broken(int(f.Fd())) {
			_, _ = f.Write([]byte{'\n'})
		}
	}
}
