package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/s2"
)

// The Java clients, and those that follow them, write snappy in the framing of
// xerial's SnappyOutputStream: this magic, two versions of four bytes, then
// blocks, each after its length in four bytes. Others write one bare block. The
// magic can't begin a bare block: it would be a copy from before the start.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeader = 16

// maxSnappyRatio is how many bytes one byte of a block can become, rounded up: a
// copy of 64 bytes takes three.
const maxSnappyRatio = 22

// unsnappy expands the blocks of p.
func (d *Decoder) unsnappy(p []byte, limit int) (int, error) {
	total, err := snappySize(p)
	if err != nil {
		return 0, err
	}
	if total > limit {
		return 0, ErrTooLarge
	}
	d.reserve(total, 0)
	framed, p := cutXerial(p)
	for n := 0; len(p) > 0; {
		block, rest, err := nextSnappy(p, framed)
		if err != nil {
			return 0, err
		}
		if isS2(block) {
			return 0, errors.New("block is in the S2 format, not Snappy")
		}
		out, err := s2.Decode(d.buf[n:], block)
		if err != nil {
			return 0, err
		}
		n, p = n+len(out), rest
	}
	return total, nil
}

// snappySize is what the blocks of p say that they expand to, unless they are
// too short for that.
func snappySize(p []byte) (int, error) {
	framed, p := cutXerial(p)
	if len(p) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	total := 0
	for len(p) > 0 {
		block, rest, err := nextSnappy(p, framed)
		if err != nil {
			return 0, err
		}
		n, err := s2.DecodedLen(block)
		if err != nil {
			return 0, err
		}
		if n > maxSnappyRatio*len(block) {
			return 0, errors.New("block is too short for its size")
		}
		total, p = total+n, rest
	}
	return total, nil
}

func cutXerial(p []byte) (framed bool, rest []byte) {
	if len(p) <= xerialHeader || !bytes.HasPrefix(p, xerialMagic) {
		return false, p
	}
	return true, p[xerialHeader:]
}

// nextSnappy splits p after its first block.
func nextSnappy(p []byte, framed bool) (block, rest []byte, err error) {
	if !framed {
		return p, nil, nil
	}
	if len(p) < 4 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	n := int64(binary.BigEndian.Uint32(p))
	if n > int64(len(p)-4) {
		return nil, nil, io.ErrUnexpectedEOF
	}
	return p[4 : 4+n], p[4+n:], nil
}

// isS2 reports whether a block has a copy from offset 0. Our decoder takes that
// for S2's "the same offset again", the decoders of Kafka's clients for damage.
func isS2(p []byte) bool {
	_, i := binary.Uvarint(p)
	for i >= 0 && i < len(p)-1 {
		tag := p[i]
		switch tag & 3 {
		case 0: // literal
			n := int(tag >> 2)
			if extra := n - 59; extra > 0 {
				var b [4]byte
				copy(b[:extra], p[i+1:])
				n = int(binary.LittleEndian.Uint32(b[:]))
				i += extra
			}
			i += 2 + n
		case 1: // copy with an offset of 11 bits
			if tag>>5 == 0 && p[i+1] == 0 {
				return true
			}
			i += 2
		case 2: // of 16 bits
			i += 3
		case 3: // of 32 bits
			i += 5
		}
	}
	return false
}
