package batch

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	zstdBlock = 128 << 10 // no block expands to more
	// zstdSlack is what the buffer has beyond its length, so that the decoder,
	// which notices that it went beyond its bound after a block, does so without
	// growing the buffer. It also wants a bound of at least zstdMinBound.
	zstdSlack    = zstdBlock + 2*zstdMinBound
	zstdMinBound = 1 << 10
)

// Types of block.
const (
	zstdRaw = iota
	zstdRLE
	zstdCompressed
)

// A zstdFrame is one frame of a batch, and what its headers tell.
type zstdFrame struct {
	bytes  []byte
	least  int // the content's size if the frame says it, else that of its uncompressed blocks
	most   int // the same, else what its blocks can expand to
	window int // how far matches may reach back; 0 for the whole content
}

// unzstd expands the frames of p into dst; see decompress.
//
// The decoder can't be given a bound below the frame's window, so there is to be
// room for that, or for as much as the frame can expand to. A limit that leaves
// no room for either is taken to be exceeded.
func (d *decompressor) unzstd(dst, p []byte, limit int) (int, error) {
	n := 0
	for rest := p; len(rest) > 0; {
		f, err := nextZstd(rest)
		if err != nil {
			return 0, err
		}
		if need := n + max(f.least, min(f.window, f.most)); need > len(dst) || len(dst) == 0 {
			return max(need, min(n+f.most, 4*len(p), limit), 1), nil // the middle is a guess
		}
		if err := d.openZstd(max(len(dst)-n, f.window)); err != nil {
			return 0, err
		}
		out, err := d.zstd.DecodeAll(f.bytes, dst[n:n:cap(dst)])
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || n+len(out) > len(dst) {
			return moreThan(len(dst), limit), nil
		}
		if err != nil {
			return 0, err
		}
		n, rest = n+len(out), rest[len(f.bytes):]
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

// openZstd has d.zstd ready to expand a frame to bound bytes or hardly more.
func (d *decompressor) openZstd(bound int) (err error) {
	bound = max(bound, zstdMinBound)
	option := zstd.WithDecoderMaxMemory(uint64(bound))
	switch {
	case d.zstd == nil:
		d.zstd, err = zstd.NewReader(nil, option, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	case d.zstdBound != bound:
		err = d.zstd.ResetWithOptions(nil, option)
	}
	d.zstdBound = bound
	return err
}

// nextZstd reads the headers of p's first frame.
func nextZstd(p []byte) (f zstdFrame, err error) {
	var h zstd.Header
	if err := h.Decode(p); err != nil {
		return f, err
	}
	end := int64(h.HeaderSize)
	if h.Skippable {
		end += int64(h.SkippableSize)
	} else if f.least, f.most, end, err = skipZstdBlocks(p, end); err != nil {
		return f, err
	}
	if h.HasCheckSum {
		end += 4
	}
	if end > int64(len(p)) {
		return f, io.ErrUnexpectedEOF
	}
	f.bytes = p[:end]
	f.window = int(h.WindowSize)
	if h.HasFCS {
		if h.FrameContentSize > uint64(f.most) {
			return f, errors.New("frame is too short for its content size")
		}
		f.least, f.most = int(h.FrameContentSize), int(h.FrameContentSize)
	}
	return f, nil
}

// skipZstdBlocks skips a frame's blocks, from p[i] to p[end]. They expand to at
// least and at most so many bytes.
func skipZstdBlocks(p []byte, i int64) (least, most int, end int64, err error) {
	for last := false; !last; {
		if i > int64(len(p)-3) {
			return 0, 0, 0, io.ErrUnexpectedEOF
		}
		head := int(p[i]) | int(p[i+1])<<8 | int(p[i+2])<<16
		i += 3
		last = head&1 != 0
		size := head >> 3
		if size > zstdBlock {
			return 0, 0, 0, errors.New("block is too large")
		}
		switch head >> 1 & 3 {
		case zstdRaw:
			least, most, i = least+size, most+size, i+int64(size)
		case zstdRLE:
			least, most, i = least+size, most+size, i+1
		case zstdCompressed:
			most, i = most+zstdBlock, i+int64(size)
		}
	}
	return least, most, i, nil
}
