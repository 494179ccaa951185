package flags

import "golang.org/x/sys/unix"

// Terminal reports whether the descriptor is a terminal.
func Terminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, getTermios)
	return err == nil
}
