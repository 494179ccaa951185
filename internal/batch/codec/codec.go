// Package codec expands the records of compressed batches within limits. The codecs' libraries
// do the decompression; the package bounds their memory: it checks the limit while they write,
// allocates no buffer for a size that the input's length could not hold, and refuses frames that
// Kafka's clients do not read.
package codec

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A Codec is how a batch's records are compressed.
type Codec uint8

// The codecs, as the low bits of a batch's attributes number them.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var names = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String is the name that Kafka's compression.type has for c.
func (c Codec) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ErrTooLarge is the error for an input that expands to more than the limit.
var ErrTooLarge = errors.New("compressed records expand beyond the limit")

const (
	minBuffer  = 4 << 10 // size of the first buffer
	keepBuffer = 4 << 20 // a larger buffer is dropped when a batch has not needed it
)

// A Decoder expands the records of one batch after another into a buffer that
// it keeps. The zero value is ready; it starts no goroutines and need not be
// closed. Beside the buffer it keeps at most half a MiB (zstd). While it expands
// an LZ4 frame it uses two of the library's pooled buffers, each of the frame's
// block size, which is 4 MiB at most.
type Decoder struct {
	buf  []byte
	used int // bytes of buf that the latest batch needed

	gzip *gzipReader
	lz4  *lz4Reader
	zstd *zstd.Decoder
}

// Expand expands p. The result is valid until the next call of Expand or Trim. The error is
// ErrTooLarge if p expands to more than limit bytes; any other error says why p is damaged.
func (d *Decoder) Expand(c Codec, p []byte, limit int) ([]byte, error) {
	n, err := d.expand(c, p, limit)
	if err == nil {
		d.used = n
		return d.buf[:n:n], nil
	}
	d.Trim()
	if errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%w of %d bytes (%v)", ErrTooLarge, limit, c)
	}
	return nil, fmt.Errorf("%v: %w", c, err)
}

// expand expands p into d.buf, which it makes larger where that is needed, and
// returns the number of bytes.
func (d *Decoder) expand(c Codec, p []byte, limit int) (int, error) {
	switch c {
	case Gzip:
		return d.gunzip(p, limit)
	case Snappy:
		return d.unsnappy(p, limit)
	case LZ4:
		return d.unlz4(p, limit)
	case Zstd:
		return d.unzstd(p, limit)
	}
	return 0, errors.New("unknown codec")
}

// readAll reads r, which expands input bytes, to its end into d.buf, and returns the
// number of bytes. The buffer grows with what has come out, to limit+1 bytes at most.
func (d *Decoder) readAll(r io.Reader, input, limit int) (n int, err error) {
	d.reserve(min(2*input, limit+1), 0)
	for n <= limit {
		if n == len(d.buf) {
			d.double(limit + 1)
		}
		got, err := r.Read(d.buf[n:])
		n += got
		if err == io.EOF && n <= limit {
			return n, nil
		}
		if err != nil && err != io.EOF {
			return 0, err
		}
	}
	return 0, ErrTooLarge
}

// double replaces the buffer, which is full, by one of about twice the size, and of
// most bytes at most.
func (d *Decoder) double(most int) {
	size := 2 * len(d.buf)
	if size > most-most/4 {
		size = most
	}
	larger := make([]byte, size)
	copy(larger, d.buf)
	d.buf = larger
}

// reserve makes a buffer of at least n bytes, with a capacity of slack bytes beyond
// its length, unless there is one. What the buffer held is lost.
func (d *Decoder) reserve(n, slack int) {
	if n <= len(d.buf) && slack <= cap(d.buf)-len(d.buf) {
		return
	}
	size := max(n, minBuffer)
	d.buf = nil // the garbage collector may take it before the new one is full
	d.buf = make([]byte, size, size+slack)
}

// Trim drops a large buffer unless the latest batch needed it. Callers call it
// before each batch, compressed or not.
func (d *Decoder) Trim() {
	if len(d.buf) > keepBuffer && d.used <= keepBuffer {
		d.buf = nil
	}
	d.used = 0
}

// Size is the size in bytes of the buffer that the Decoder keeps.
func (d *Decoder) Size() int { return len(d.buf) }
