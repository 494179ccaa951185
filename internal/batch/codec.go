package batch

import "errors"

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

// DefaultMaxExpanded is what a batch's records may expand to where nothing else
// is said: 64 MiB, far above any honest batch of 1 MiB and far below what a
// decompression bomb would take.
const DefaultMaxExpanded = 64 << 20

// ErrTooLarge says that a batch's records would expand beyond the bound.
var ErrTooLarge = errors.New("compressed records expand beyond the limit")

type decompressor struct{}

func (d *decompressor) decompress(c Codec, p []byte, limit int) ([]byte, error) {
	return nil, corrupt("codec %d", c)
}
