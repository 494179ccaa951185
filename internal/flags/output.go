package flags

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoOutput says that what is written would be lost.
var ErrNoOutput = errors.New("standard output is closed, or is /dev/null opened for reading, too: > /dev/null discards what is written")

// CheckOutput returns ErrNoOutput for a standard output that was closed when the program
// began, as the shell's >&- does it. The Go runtime has put /dev/null, opened for reading
// and writing, in its place then, so that writing to it fails no more.
func CheckOutput(f *os.File) error {
	var output, null unix.Stat_t
	if unix.Fstat(int(f.Fd()), &output) != nil || unix.Stat(os.DevNull, &null) != nil || output.Rdev != null.Rdev || output.Mode&unix.S_IFMT != unix.S_IFCHR {
		return nil
	}
	if mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || mode&unix.O_ACCMODE != unix.O_RDWR {
		return nil
	}
	return ErrNoOutput
}
