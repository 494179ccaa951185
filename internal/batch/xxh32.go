package batch

import (
	"encoding/binary"
	"math/bits"
)

// The primes of xxHash.
const (
	prime1 uint32 = 2654435761
	prime2 uint32 = 2246822519
	prime3 uint32 = 3266489917
	prime4 uint32 = 668265263
	prime5 uint32 = 374761393
)

// xxh32 is xxHash with 32 bits and seed 0, the checksum of LZ4 frames.
func xxh32(p []byte) uint32 {
	n := uint32(len(p))
	h := prime5
	if len(p) >= 16 {
		h, p = xxh32Stripes(p)
	}
	h += n
	for ; len(p) >= 4; p = p[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(p)*prime3, 17) * prime4
	}
	for _, b := range p {
		h = bits.RotateLeft32(h+uint32(b)*prime5, 11) * prime1
	}
	h = (h ^ h>>15) * prime2
	h = (h ^ h>>13) * prime3
	return h ^ h>>16
}

// xxh32Stripes takes 16 bytes at a time.
func xxh32Stripes(p []byte) (h uint32, rest []byte) {
	p1, p2 := prime1, prime2 // variables, for the sums may wrap
	a, b, c, d := p1+p2, p2, uint32(0), -p1
	for ; len(p) >= 16; p = p[16:] {
		a = xxh32Round(a, p)
		b = xxh32Round(b, p[4:])
		c = xxh32Round(c, p[8:])
		d = xxh32Round(d, p[12:])
	}
	return bits.RotateLeft32(a, 1) + bits.RotateLeft32(b, 7) + bits.RotateLeft32(c, 12) + bits.RotateLeft32(d, 18), p
}

func xxh32Round(v uint32, p []byte) uint32 {
	return bits.RotateLeft32(v+binary.LittleEndian.Uint32(p)*prime2, 13) * prime1
}
