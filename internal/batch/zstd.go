package batch

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	zstdBlock = 128 << 10 // no block expands to more
	// zstdSlack is what the buffer has beyond its length, so that the decoder
	// can go a block beyond its bound, where it notices, without growing it. The
	// decoder also wants a bound of at least zstdMinRoom.
	zstdSlack   = zstdBlock + 2*zstdMinRoom
	zstdMinRoom = 1 << 10
	// zstdWindow is the largest window a frame may say it needs: what level 22
	// has, and what other decoders take. It costs no memory here.
	zstdWindow = 128 << 20
)

// Types of block.
const (
	zstdRaw = iota
	zstdRLE
	zstdCompressed
)

// unzstd expands the frames of p into dst; see decompress.
func (d *decompressor) unzstd(dst, p []byte, limit int) (int, error) {
	n := 0
	for len(p) > 0 {
		frame, atLeast, rest, err := nextZstd(p)
		if err != nil {
			return 0, err
		}
		if len(dst) == 0 { // a guess that is often enough
			return max(atLeast, min(4*len(p), limit)), nil
		}
		if n+atLeast > len(dst) {
			return n + atLeast, nil
		}
		if err := d.openZstd(len(dst) - n); err != nil {
			return 0, err
		}
		out, err := d.zstd.DecodeAll(frame, dst[n:n:cap(dst)])
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || n+len(out) > len(dst) {
			return moreThan(len(dst), limit), nil
		}
		if err != nil {
			return 0, err
		}
		n, p = n+len(out), rest
	}
	return n, nil
}

// moreThan is the size to try next where size was not enough and nothing tells
// how much would be.
func moreThan(size, limit int) int {
	if size >= limit {
		return limit + 1
	}
	return min(4*size, limit)
}

// openZstd has d.zstd ready to expand one frame to room bytes or hardly more.
func (d *decompressor) openZstd(room int) (err error) {
	room = max(room, zstdMinRoom)
	bound := zstd.WithDecoderMaxMemory(uint64(room))
	switch {
	case d.zstd == nil:
		d.zstd, err = zstd.NewReader(nil, bound, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	case d.room != room:
		err = d.zstd.ResetWithOptions(nil, bound)
	}
	d.room = room
	return err
}

// nextZstd splits p after its first frame. atLeast is what the frame's header
// says that it expands to, or else what its uncompressed blocks come to.
func nextZstd(p []byte) (frame []byte, atLeast int, rest []byte, err error) {
	var h zstd.Header
	if err := h.Decode(p); err != nil {
		return nil, 0, nil, err
	}
	rest = p[h.HeaderSize:]
	if h.Skippable {
		if int64(h.SkippableSize) > int64(len(rest)) {
			return nil, 0, nil, io.ErrUnexpectedEOF
		}
		rest = rest[h.SkippableSize:]
		return p[:len(p)-len(rest)], 0, rest, nil
	}
	least, most, rest, err := skipZstdBlocks(rest)
	if err != nil {
		return nil, 0, nil, err
	}
	if h.HasCheckSum {
		if len(rest) < 4 {
			return nil, 0, nil, io.ErrUnexpectedEOF
		}
		rest = rest[4:]
	}
	if h.HasFCS {
		if h.FrameContentSize > uint64(most) {
			return nil, 0, nil, errors.New("frame is too short for its content size")
		}
		least = int(h.FrameContentSize)
	}
	return p[:len(p)-len(rest)], least, rest, nil
}

// skipZstdBlocks skips the blocks of one frame. They expand to at least and at
// most so many bytes.
func skipZstdBlocks(p []byte) (least, most int, rest []byte, err error) {
	for last := false; !last; {
		if len(p) < 3 {
			return 0, 0, nil, io.ErrUnexpectedEOF
		}
		head := int(p[0]) | int(p[1])<<8 | int(p[2])<<16
		last = head&1 != 0
		size, stored := head>>3, head>>3
		switch head >> 1 & 3 {
		case zstdRaw:
			least, most = least+size, most+size
		case zstdRLE:
			least, most, stored = least+size, most+size, 1
		case zstdCompressed:
			most += zstdBlock
		}
		if stored > len(p)-3 {
			return 0, 0, nil, io.ErrUnexpectedEOF
		}
		p = p[3+stored:]
	}
	return least, most, p, nil
}
