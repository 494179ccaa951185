package flags

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoOutput says that output would be lost, ErrNoInput that there is no input to read.
var (
	ErrNoOutput = errors.New("standard output is closed, or is /dev/null opened for reading, too: > /dev/null discards what is written")
	ErrNoInput  = errors.New("standard input is closed, or is /dev/null opened for writing, too: < /dev/null is an empty input")
)

// CheckOutput fails with ErrNoOutput if the standard output was closed when the program started, as
// with the shell's >&-.
func CheckOutput(f *os.File) error {
	if wasClosed(f) {
		return ErrNoOutput
	}
	return nil
}

// CheckInput fails with ErrNoInput if the standard input was closed when the program started.
func CheckInput(f *os.File) error {
	if wasClosed(f) {
		return ErrNoInput
	}
	return nil
}

// wasClosed says whether a standard file was closed: the Go runtime replaces it by /dev/null, opened
// for reading and writing, so that reads and writes don't fail.
func wasClosed(f *os.File) bool {
	var file, null unix.Stat_t
	if unix.Fstat(int(f.Fd()), &file) != nil || unix.Stat(os.DevNull, &null) != nil || file.Rdev != null.Rdev || file.Mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && mode&unix.O_ACCMODE == unix.O_RDWR
}
