package jetstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Each message of a partition begins with a prefix, so that the last one says all there is to know of
// the partition, and any one is enough for a search:
//
//	 0  4 "mbj1"
//	 4  4 CRC-32C of the rest of the prefix
//	 8  4 epoch of the owner that wrote it
//	12  4 kind
//	16  8 base offset: of the first record, or of the next one if the message has no batches
//	24  8 log start offset
//	32  8 removed: bytes of the batches before the message that holds the log start offset
//	40  8 position: bytes of all batches before this message, removed ones too
//	48  8 latest time of a record in the section before this message, in milliseconds since 1970
//	56  8 sequence of the head of the section, 0 for the first section
//	64  8 position at which the section begins
//	72  4 time of the append, in seconds since 2026
//	76  4 time of the first append to the section, 0 for none before this message
//
// A section is what a segment is on a disk: retention removes whole ones. A head begins a section. In
// a head the times are those of the section that it ends, the sequence is that section's, and the time
// of the first append is in fact that of the last one. A fence has only a base offset, which is the
// sequence of the last message that its writer knew to be none.
type prefix struct {
	epoch    uint32
	kind     kind
	base     int64
	start    int64
	removed  int64
	pos      int64
	latest   int64
	section  uint64
	sectPos  int64
	appended uint32
	first    uint32
}

const prefixSize = 80

const prefixMagic = "mbj1"

// A kind is what a message is there for.
type kind uint32

const (
	batches kind = iota // it has batches behind the prefix
	fence               // its writer has taken the partition over
	state               // it moves the log start offset
	head                // it begins a section
	kinds
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode writes the prefix to the beginning of p.
func (f *prefix) encode(p []byte) {
	p = p[:prefixSize]
	copy(p, prefixMagic)
	binary.BigEndian.PutUint32(p[8:], f.epoch)
	binary.BigEndian.PutUint32(p[12:], uint32(f.kind))
	binary.BigEndian.PutUint64(p[16:], uint64(f.base))
	binary.BigEndian.PutUint64(p[24:], uint64(f.start))
	binary.BigEndian.PutUint64(p[32:], uint64(f.removed))
	binary.BigEndian.PutUint64(p[40:], uint64(f.pos))
	binary.BigEndian.PutUint64(p[48:], uint64(f.latest))
	binary.BigEndian.PutUint64(p[56:], f.section)
	binary.BigEndian.PutUint64(p[64:], uint64(f.sectPos))
	binary.BigEndian.PutUint32(p[72:], f.appended)
	binary.BigEndian.PutUint32(p[76:], f.first)
	binary.BigEndian.PutUint32(p[4:], crc32.Checksum(p[8:], castagnoli))
}

var errPrefix = errors.New("the message has no valid prefix")

// parsePrefix reads the prefix of a message, and returns the batches behind it.
func parsePrefix(p []byte) (f prefix, rest []byte, err error) {
	switch {
	case len(p) < prefixSize:
		return f, nil, fmt.Errorf("%w: it has %d bytes", errPrefix, len(p))
	case string(p[:4]) != prefixMagic:
		return f, nil, fmt.Errorf("%w: it begins with %q", errPrefix, p[:4])
	case binary.BigEndian.Uint32(p[4:]) != crc32.Checksum(p[8:prefixSize], castagnoli):
		return f, nil, fmt.Errorf("%w: the checksum is wrong", errPrefix)
	}
	f = prefix{
		epoch: binary.BigEndian.Uint32(p[8:]), kind: kind(binary.BigEndian.Uint32(p[12:])),
		base: int64(binary.BigEndian.Uint64(p[16:])), start: int64(binary.BigEndian.Uint64(p[24:])),
		removed: int64(binary.BigEndian.Uint64(p[32:])), pos: int64(binary.BigEndian.Uint64(p[40:])),
		latest: int64(binary.BigEndian.Uint64(p[48:])), section: binary.BigEndian.Uint64(p[56:]),
		sectPos: int64(binary.BigEndian.Uint64(p[64:])), appended: binary.BigEndian.Uint32(p[72:]), first: binary.BigEndian.Uint32(p[76:]),
	}
	rest = p[prefixSize:]
	if f.kind >= kinds || (f.kind == batches) != (len(rest) > 0) || f.base < 0 || f.start < 0 ||
		f.removed < 0 || f.pos < f.removed || f.sectPos < 0 || f.pos < f.sectPos || f.kind != fence && f.start > f.base {
		return f, nil, fmt.Errorf("%w: %+v before %d bytes makes no sense", errPrefix, f, len(rest))
	}
	return f, rest, nil
}

// firstSecond is the beginning of the seconds of append times: the year 2026.
const firstSecond = 1_767_225_600

// seconds is a time as it is kept of appends, rounded up; 1 before 2026.
func seconds(t time.Time) uint32 {
	ms := t.UnixMilli() - firstSecond*1000
	return uint32(min(max(1, (ms+999)/1000), 1<<32-1))
}

// millis is an append time in milliseconds since 1970.
func millis(s uint32) int64 { return (firstSecond + int64(s)) * 1000 }
