package batch

import (
	"errors"
	"fmt"
	"math/bits"

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

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String is the name that Kafka's compression.type has for c.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// DefaultMaxExpanded is what a batch's records may expand to where nothing else
// is said: 64 MiB, far above any honest batch of 1 MiB and far below what a
// decompression bomb would take.
const DefaultMaxExpanded = 64 << 20

// ErrTooLarge says that a batch's records, or one of them, would expand beyond the
// bound.
var ErrTooLarge = errors.New("compressed records expand beyond the limit")

const (
	minBuffer  = 4 << 10 // no smaller buffer is made
	keepBuffer = 4 << 20 // a larger one is dropped when a batch has not needed it
)

// A decompressor expands the records of one batch after another into a buffer
// that it keeps. The zero value is ready; it starts no goroutines, so that it
// need not be closed.
type decompressor struct {
	buf  []byte
	used int // bytes of buf that the latest batch needed

	gzip *gzipReader
	zstd *zstd.Decoder

	zstdBound int // bytes that zstd is set to expand a frame to
}

// decompress expands p, to no more than limit bytes. The result is valid until
// the next call of trim or decompress. Errors wrap ErrCorrupt or ErrTooLarge.
//
// The codecs' functions write to a slice that they are given. They return how
// many bytes there are and, where that is more than fits, write nothing of use;
// what they return then may be less than it takes in the end. So nothing is
// allocated for what an input merely claims beyond the limit or beyond what its
// length could hold, and what a bomb makes is counted, not kept.
func (d *decompressor) decompress(c Codec, p []byte, limit int) ([]byte, error) {
	slack := 0
	if c == Zstd {
		slack = zstdSlack
	}
	if cap(d.buf)-len(d.buf) < slack {
		d.buf = nil
	}
	for {
		n, err := d.expand(c, p, limit)
		if err == nil && n <= limit {
			if n <= len(d.buf) {
				d.used = n
				return d.buf[:n:n], nil
			}
			d.grow(n, limit, slack)
			continue
		}
		d.trim()
		if err != nil {
			return nil, corrupt("%v: %v", c, err)
		}
		return nil, fmt.Errorf("%w of %d bytes (%v)", ErrTooLarge, limit, c)
	}
}

func (d *decompressor) expand(c Codec, p []byte, limit int) (int, error) {
	switch c {
	case Gzip:
		return d.gunzip(d.buf, p, limit)
	case Snappy:
		return unsnappy(d.buf, p)
	case LZ4:
		return unlz4(d.buf, p)
	case Zstd:
		return d.unzstd(d.buf, p, limit)
	}
	return 0, errors.New("unknown codec")
}

// grow replaces the buffer by one of at least n bytes, with slack beyond them.
// It is rounded up, so that batches of nearly the same size don't each have it
// replaced.
func (d *decompressor) grow(n, limit, slack int) {
	size := max(n, min(1<<bits.Len(uint(n-1)), limit), minBuffer)
	d.buf = nil // not to have both at once
	d.buf = make([]byte, size, size+slack)
}

// trim drops a large buffer unless the latest batch needed it. It comes before
// each batch, compressed or not.
func (d *decompressor) trim() {
	if len(d.buf) > keepBuffer && d.used <= keepBuffer {
		d.buf = nil
	}
	d.used = 0
}
