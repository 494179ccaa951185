package codec

import (
	"bytes"

	"github.com/klauspost/compress/gzip"
)

type gzipReader struct {
	gzip.Reader
	src bytes.Reader
}

// gunzip expands the gzip members of p.
func (d *Decoder) gunzip(p []byte, limit int) (int, error) {
	if d.gzip == nil {
		d.gzip = new(gzipReader)
	}
	d.gzip.src.Reset(p)
	defer d.gzip.src.Reset(nil)
	if err := d.gzip.Reset(&d.gzip.src); err != nil {
		return 0, err
	}
	return d.readAll(d.gzip, len(p), limit)
}
