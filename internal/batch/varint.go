package batch

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// The varints of a record are zigzag encoded. Kafka writes lengths, counts and
// offset deltas with 32 bits in at most five bytes, and its clients refuse
// anything longer; time deltas have 64 bits and at most ten bytes.
//
// Reading works on positions: a varint at p[i] ends at the position returned.
// A varint that cannot be read is 0 and ends at the position past, from which nothing can be
// read, so that callers check once, at the end.

// past is a position beyond any slice, to which a length may be added.
const past = math.MaxInt / 2

// shortVarint reads a varint of one to three bytes that is not in the last two bytes of p, and
// leaves it zigzag encoded. It is small enough for the compiler to inline.
func shortVarint(p []byte, i int) (u, next int) {
	if i >= 0 && i < len(p)-2 {
		if u = int(p[i]); u < 1<<7 {
			return u, i + 1
		}
		if u += int(p[i+1])<<7 - 1<<7; u < 1<<14 {
			return u, i + 2
		}
		if u += int(p[i+2])<<14 - 1<<14; u < 1<<21 {
			return u, i + 3
		}
	}
	return 0, past
}

// varint32 reads a 32-bit varint.
func varint32(p []byte, i int) (v int64, next int) {
	if u, next := shortVarint(p, i); next != past {
		return unzigzag(uint64(u)), next
	}
	return longVarint(p, i, 32)
}

// varint64 reads a 64-bit varint.
func varint64(p []byte, i int) (v int64, next int) { return longVarint(p, i, 64) }

// longVarint reads a varint of any length with at most width bits.
func longVarint(p []byte, i, width int) (v int64, next int) {
	if i >= len(p) {
		return 0, past
	}
	u, n := binary.Uvarint(p[i:min(len(p), i+(width+6)/7)])
	if n <= 0 || bits.Len64(u) > width {
		return 0, past
	}
	return unzigzag(u), i + n
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

// readField reads a length and as many bytes; length -1 is null.
func readField(p []byte, i int) (b []byte, next int) {
	n, i := varint32(p, i)
	if n < 0 || n > int64(len(p)-i) { // also when i is past
		if n == -1 {
			return nil, i
		}
		return nil, past
	}
	return p[i : i+int(n) : i+int(n)], i + int(n)
}

// putUvarint writes u, zigzag encoded already, at p[i].
func putUvarint(p []byte, i int, u uint64) (next int) {
	for u >= 0x80 {
		p[i] = byte(u) | 0x80
		u >>= 7
		i++
	}
	p[i] = byte(u)
	return i + 1
}

// putField writes a length and b at p[i]; nil is null.
func putField(p []byte, i int, b []byte) (next int) {
	if b == nil {
		p[i] = 1 // -1, zigzag encoded
		return i + 1
	}
	i = putUvarint(p, i, zigzag(int64(len(b))))
	return i + copy(p[i:], b)
}

func appendField(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// uvarintLen counts in a loop, because most varints have one or two bytes.
func uvarintLen(u uint64) int {
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

func varintLen(n int) int { return uvarintLen(zigzag(int64(n))) }

func fieldLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(len(b)) + len(b)
}

// plainLen reports whether u, a zigzag-encoded length, is not negative, or -1
// for null.
func plainLen(u int) bool { return u&1 == 0 || u == 1 }

// plainField is the field at p[i] whose length, zigzag encoded, is u.
func plainField(p []byte, i, u int) []byte {
	if u == 1 {
		return nil
	}
	return p[i : i+u>>1 : i+u>>1]
}
