package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/pierrec/lz4/v4"
)

// Of an LZ4 frame:
//
//	0       4       5            6              14         15
//	+-------+-------+------------+--------------+----------+--------+----------
//	| magic | flags | block size | content size | checksum | blocks | content
//	|       |       |            | (optional)   | (1 byte) | …, 0   | checksum (optional)
//	+-------+-------+------------+--------------+----------+--------+----------
//
// A block is its size in four bytes, of which the highest bit says that it is
// stored as it is, its bytes, and its checksum (optional).
const (
	lz4Magic           = 0x184D2204
	lz4ContentChecksum = 1 << 2
	lz4ContentSize     = 1 << 3
	lz4BlockChecksum   = 1 << 4
	lz4Independent     = 1 << 5 // blocks do not refer to each other: Kafka's clients write no others
	lz4Stored          = 1 << 31
)

type lz4Reader struct {
	*lz4.Reader
	src bytes.Reader
}

// unlz4 expands the frame p.
func (d *Decoder) unlz4(p []byte, limit int) (int, error) {
	if err := oneLZ4Frame(p); err != nil {
		return 0, err
	}
	if d.lz4 == nil {
		d.lz4 = &lz4Reader{Reader: lz4.NewReader(nil)}
		if err := d.lz4.Apply(lz4.ConcurrencyOption(1)); err != nil {
			return 0, err
		}
	}
	d.lz4.src.Reset(p)
	d.lz4.Reset(&d.lz4.src)
	n, err := d.readAll(d.lz4, len(p), limit)
	d.lz4.src.Reset(nil)
	if err != nil {
		d.lz4.Reset(nil) // gives the library's buffers back to its pool
	}
	if p[4]&lz4Independent == 0 {
		d.lz4 = nil // it keeps its window: a block of the next frame could refer to this one
	}
	return n, err
}

// oneLZ4Frame checks that p is one frame by the sizes of its blocks. The library
// reads several frames, frames to skip and frames of the legacy format; Kafka's
// clients read one.
func oneLZ4Frame(p []byte) error {
	if len(p) < 7 {
		return io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(p) != lz4Magic {
		return errors.New("not a frame")
	}
	flags, at := p[4], int64(7)
	if flags&lz4ContentSize != 0 {
		at += 8
	}
	for last := false; !last; {
		if at+4 > int64(len(p)) {
			return io.ErrUnexpectedEOF
		}
		size := binary.LittleEndian.Uint32(p[at:])
		at += 4
		switch last = size == 0; {
		case !last && flags&lz4BlockChecksum != 0:
			at += int64(size&^lz4Stored) + 4
		case !last:
			at += int64(size &^ lz4Stored)
		case flags&lz4ContentChecksum != 0:
			at += 4
		}
	}
	switch {
	case at > int64(len(p)):
		return io.ErrUnexpectedEOF
	case at < int64(len(p)):
		return errors.New("bytes after the frame")
	}
	return nil
}
