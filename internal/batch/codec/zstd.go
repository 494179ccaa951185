package codec

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdWindow is how far matches may reach back, in bytes: as far as zstd's own
	// decoder allows. It takes no memory, because what has been expanded is the window.
	zstdWindow = 128 << 20

	// zstdBlock is what a block expands to at most. Buffers have as much beyond
	// their length, so that a decoder that stops within the length has found damage,
	// not the end of the buffer.
	zstdBlock = 128 << 10

	// maxZstdRatio bounds what one byte of a frame expands to: a block takes four bytes.
	maxZstdRatio = zstdBlock / 4
)

// unzstd expands the frames of p.
func (d *Decoder) unzstd(p []byte, limit int) (_ int, err error) {
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return 0, err
		}
	}
	most := min(int64(limit), maxZstdRatio*int64(len(p)))
	size := min(4*int64(len(p)), most)
	for {
		d.reserve(int(size), zstdBlock)
		out, err := d.zstd.DecodeAll(p, d.buf[:0])
		switch full := len(out) > len(d.buf) || errors.Is(err, zstd.ErrDecoderSizeExceeded); {
		case len(out) > limit, full && len(d.buf) >= limit:
			return 0, ErrTooLarge
		case err == nil:
			return len(out), nil
		case !full || int64(len(d.buf)) >= most:
			return 0, err
		}
		size = nextZstdSize(p, int64(len(d.buf)), most)
	}
}

// nextZstdSize is the size of the buffer to try next for p, which did not fit into size
// bytes: what the first frame says of its content, if that is more, or a guess.
func nextZstdSize(p []byte, size, most int64) int64 {
	var h zstd.Header
	switch err := h.Decode(p); {
	case err == nil && h.HasFCS && h.FrameContentSize > uint64(size):
		return int64(min(h.FrameContentSize, uint64(most)))
	case size >= most/16:
		return most
	}
	return 4 * size
}
