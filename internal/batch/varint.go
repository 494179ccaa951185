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
// What can't be read gives 0 and the position past, from which nothing else can
// be read either, so that callers check once, at the end.

// past is a position beyond any slice, to which a length may be added.
const past = math.MaxInt / 2

// shortVarint reads a varint, still zigzag encoded, of one to three bytes that
// are not the last two of p. It is what the compiler can put in line.
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
func varint32(p []byte, i int) (v int64, next int) { return longVarint(p, i, 32) }

// varint64 reads a 64-bit varint.
func varint64(p []byte, i int) (v int64, next int) { return longVarint(p, i, 64) }

// longVarint reads a varint of any length with no more than the given bits.
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

// field32 reads a length and as many bytes; length -1 is null.
func field32(p []byte, i int) (b []byte, next int) {
	n, i := varint32(p, i)
	if n < 0 || n > int64(len(p)-i) { // also when i is past
		if n == -1 {
			return nil, i
		}
		return nil, past
	}
	return p[i : i+int(n) : i+int(n)], i + int(n)
}
