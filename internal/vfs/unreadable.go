package vfs

import (
	"errors"
	"io"
	"slices"
	"syscall"
)

// unreadable are the errors by which a file system says that it can't give back some
// bytes of a file. They are damage of these bytes and of no others.
var unreadable = []error{
	syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.ENODATA, syscall.EILSEQ, syscall.EREMOTEIO, syscall.ESTALE,
	syscall.EISDIR, errShortRead,
}

var errShortRead = errors.New("a read ended before the end of the file")

// ReadAt is f.ReadAt, where a read that ends before the end of the file is an error.
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

// IsUnreadable says that a file system can't give back some bytes of a file.
func IsUnreadable(err error) bool {
	return err != nil && slices.ContainsFunc(unreadable, func(e error) bool { return errors.Is(err, e) })
}
