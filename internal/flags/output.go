package flags

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoOutput says that what is written would be lost, ErrNoInput that nothing can be read.
var (
	ErrNoOutput = errors.New("standard output is closed, or is /dev/null opened for reading, too: > /dev/null discards what is written")
	ErrNoInput  = errors.New("standard input is closed, or is /dev/null opened for writing, too: < /dev/null is an empty input")
)

// CheckOutput returns ErrNoOutput for a standard output that was closed when the program
// began, as the shell's >&- does it.
func CheckOutput(f *os.File) error {
	if wasClosed(f) {
		return ErrNoOutput
	}
	return nil
}

// CheckInput returns ErrNoInput for a standard input that was closed when the program began.
func CheckInput(f *os.File) error {
	if wasClosed(f) {
		return ErrNoInput
	}
	return nil
}

// wasClosed says whether the Go runtime has put /dev/null, opened for reading and writing,
// in the place of a standard file that was closed, so that using it fails no more.
func wasClosed(f *os.File) bool {
	var file, null unix.Stat_t
	if unix.Fstat(int(f.Fd()), &file) != nil || unix.Stat(os.DevNull, &null) != nil || file.Rdev != null.Rdev || file.Mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && mode&unix.O_ACCMODE == unix.O_RDWR
}
