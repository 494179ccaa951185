package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// maxDeflateRatio is how many bytes one byte of a deflate stream can become.
const maxDeflateRatio = 1032

type gzipReader struct {
	gzip.Reader
	src bytes.Reader
}

// gunzip expands the gzip members of p into dst; see decompress.
func (d *decompressor) gunzip(dst, p []byte, limit int) (int, error) {
	n, err := gzipSize(p)
	if err != nil || n > len(dst) {
		return n, err
	}
	if d.gzip == nil {
		d.gzip = new(gzipReader)
	}
	d.gzip.src.Reset(p)
	if err := d.gzip.Reset(&d.gzip.src); err != nil {
		return 0, err
	}
	return readAll(dst, d.gzip, limit)
}

// gzipSize is the least that p can expand to, going by the size at its end,
// which is that of its last member; at least 1, so that there is a buffer.
func gzipSize(p []byte) (int, error) {
	if len(p) < 18 {
		return 0, io.ErrUnexpectedEOF
	}
	n := int64(binary.LittleEndian.Uint32(p[len(p)-4:]))
	if n > maxDeflateRatio*int64(len(p)) {
		return 0, errors.New("size at the end is wrong")
	}
	return max(int(n), 1), nil
}

// readAll reads to the end of r, or beyond limit, and returns the number of
// bytes. What does not fit dst overwrites its beginning: it is only counted.
func readAll(dst []byte, r io.Reader, limit int) (int, error) {
	total := 0
	for total <= limit {
		n, err := r.Read(dst[total%len(dst):])
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}
