package batch

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/pierrec/lz4/v4"
)

const (
	lz4Magic  = 0x184D2204
	lz4Window = 64 << 10 // how far a match may reach back
)

// Flags of a frame.
const (
	lz4DictID          = 1 << 0
	lz4ContentChecksum = 1 << 2
	lz4ContentSize     = 1 << 3
	lz4BlockChecksum   = 1 << 4
	lz4Independent     = 1 << 5
	lz4Version         = 1 << 6
)

var errLZ4 = errors.New("malformed frame")

// An lz4Frame is a batch's one LZ4 frame, read block by block. lz4.Reader would
// do, but takes buffers of up to 8 MiB for what a few bytes claim, and copies.
type lz4Frame struct {
	rest     []byte
	flags    byte
	blockMax int
	checksum uint32 // of the whole content, read at the end
}

// openLZ4 reads the frame's header:
//
//	0       4       5            6              14        14+4
//	+-------+-------+------------+--------------+---------+----------+--------
//	| magic | flags | block size | content size | dict id | checksum | blocks
//	|       |       |            | (optional)   | (never) | (1 byte) |
//	+-------+-------+------------+--------------+---------+----------+--------
func openLZ4(p []byte) (f lz4Frame, err error) {
	if len(p) < 7 {
		return f, io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(p) != lz4Magic {
		return f, errors.New("not a frame")
	}
	flags, size := p[4], p[5]
	if flags&^0x3f != lz4Version || flags&2 != 0 || size&0x8f != 0 || size < 4<<4 {
		return f, errLZ4
	}
	if flags&lz4DictID != 0 {
		return f, errors.New("dictionaries are not supported")
	}
	end := 6
	if flags&lz4ContentSize != 0 {
		end += 8
	}
	if len(p) <= end {
		return f, io.ErrUnexpectedEOF
	}
	if byte(xxh32(p[4:end])>>8) != p[end] {
		return f, errors.New("header checksum is wrong")
	}
	return lz4Frame{rest: p[end+1:], flags: flags, blockMax: 1 << (8 + 2*(size>>4))}, nil
}

// next takes the next block, which is stored if it is not compressed; nil after
// the last.
func (f *lz4Frame) next() (block []byte, stored bool, err error) {
	size, err := f.uint32()
	if err != nil {
		return nil, false, err
	}
	if size == 0 {
		return nil, false, f.end()
	}
	stored, size = size>>31 != 0, size&^(1<<31)
	if int64(size) > int64(len(f.rest)) {
		return nil, false, io.ErrUnexpectedEOF
	}
	block, f.rest = f.rest[:size], f.rest[size:]
	if f.flags&lz4BlockChecksum != 0 {
		if sum, err := f.uint32(); err != nil || sum != xxh32(block) {
			return nil, false, errors.New("block checksum is wrong")
		}
	}
	return block, stored, nil
}

func (f *lz4Frame) end() (err error) {
	if f.flags&lz4ContentChecksum != 0 {
		if f.checksum, err = f.uint32(); err != nil {
			return err
		}
	}
	if len(f.rest) > 0 {
		return errors.New("bytes after the frame")
	}
	return nil
}

func (f *lz4Frame) uint32() (uint32, error) {
	if len(f.rest) < 4 {
		return 0, io.ErrUnexpectedEOF
	}
	v := binary.LittleEndian.Uint32(f.rest)
	f.rest = f.rest[4:]
	return v, nil
}

// unlz4 expands the frame p into dst; see decompress.
func unlz4(dst, p []byte) (int, error) {
	if len(dst) == 0 { // the library's assembly must not be given nil
		n, err := lz4Size(p)
		return max(n, 1), err
	}
	f, err := openLZ4(p)
	if err != nil {
		return 0, err
	}
	n := 0
	for {
		block, stored, err := f.next()
		if err != nil {
			return 0, err
		}
		if block == nil {
			break
		}
		size, ok := f.expand(dst, n, block, stored)
		if !ok { // too little room, or damaged: count to know which
			total, err := lz4Size(p)
			if err == nil && total <= len(dst) {
				err = errLZ4
			}
			return total, err
		}
		n += size
	}
	if f.flags&lz4ContentChecksum != 0 && xxh32(dst[:n]) != f.checksum {
		return 0, errors.New("content checksum is wrong")
	}
	if f.flags&lz4ContentSize != 0 && binary.LittleEndian.Uint64(p[6:]) != uint64(n) {
		return 0, errors.New("content size is wrong")
	}
	return n, nil
}

// expand appends a block to dst[:n] and returns its size.
func (f *lz4Frame) expand(dst []byte, n int, block []byte, stored bool) (size int, ok bool) {
	room := dst[n:min(len(dst), n+f.blockMax)]
	if stored {
		return copy(room, block), len(block) <= len(room)
	}
	var before []byte
	if f.flags&lz4Independent == 0 {
		before = dst[max(0, n-lz4Window):n]
	}
	size, err := lz4.UncompressBlockWithDict(block, room, before)
	return size, err == nil
}

// lz4Size is what the frame p expands to, from the lengths in its blocks.
func lz4Size(p []byte) (int, error) {
	f, err := openLZ4(p)
	if err != nil {
		return 0, err
	}
	total := 0
	for {
		block, stored, err := f.next()
		if err != nil || block == nil {
			return total, err
		}
		n := len(block)
		if !stored {
			n = lz4BlockSize(block)
		}
		if n > f.blockMax {
			return 0, errors.New("block expands beyond the frame's block size")
		}
		total += n
	}
}

// lz4BlockSize adds up the lengths of a block's literals and matches. It finds
// no damage.
func lz4BlockSize(p []byte) int {
	n, i := 0, 0
	for i < len(p) {
		token := p[i]
		literals, next := lz4Length(p, i+1, int(token>>4))
		n += literals
		i = next + literals + 2 // the match's offset
		if i > len(p) {
			break // the last sequence has no match
		}
		var match int
		match, i = lz4Length(p, i, int(token&15))
		n += match + 4
	}
	return n
}

// lz4Length reads the bytes that follow a length of 15.
func lz4Length(p []byte, i, n int) (length, next int) {
	if n < 15 {
		return n, i
	}
	for i < len(p) {
		n += int(p[i])
		i++
		if p[i-1] != 255 {
			break
		}
	}
	return n, i
}
