package vfs

import (
	"errors"
	"io"
	"slices"
	"syscall"
)

// unreadable are the errors of a file system that has lost some bytes of a file: these bytes are
// damaged, and no others.
var unreadable = []error{
	syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.ENODATA, syscall.EILSEQ, syscall.EREMOTEIO, syscall.ESTALE,
	syscall.EISDIR, errShortRead,
}

var errShortRead = errors.New("a read ended before the end of the file")

// ReadAt is f.ReadAt, but fails with an unreadable error if it ends before the end of the file.
func ReadAt(f File, p []byte, pos int64) (int, error) {
	n, err := f.ReadAt(p, pos)
	if n < len(p) && (err == nil || errors.Is(err, io.EOF)) {
		size, failed := f.Size()
		if err = io.EOF; failed == nil && pos+int64(n) < size {
			err = errShortRead
		}
	}
	return n, err
}

// IsUnreadable says that the file system has lost the bytes that were read.
func IsUnreadable(err error) bool {
	return err != nil && slices.ContainsFunc(unreadable, func(e error) bool { return errors.Is(err, e) })
}
