package commitlog

import "sync"

// crcPoly is the polynomial of CRC-32C, its lowest power in the highest bit.
const crcPoly = 0x82f63b78

// multiply is the product of two polynomials modulo that of CRC-32C.
func multiply(a, b uint32) (p uint32) {
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			p ^= b
		}
		carry := b & 1
		b >>= 1
		if carry != 0 {
			b ^= crcPoly
		}
	}
	return p
}

// crcPowers holds x to the power of 8·n·256^k in [k][n].
var crcPowers = sync.OnceValue(func() *[4][256]uint32 {
	var t [4][256]uint32
	step := uint32(1 << 23) // x^8
	for k := range t {
		t[k][0] = 1 << 31
		for n := 1; n < 256; n++ {
			t[k][n] = multiply(t[k][n-1], step)
		}
		step = multiply(t[k][255], step)
	}
	return &t
})

// crcBehind is the CRC-32C of the last n bytes of some, of which whole is that of all and
// front that of those before: so the checksums of any number of pieces of a file cost one
// pass through it.
func crcBehind(whole, front uint32, n int64) uint32 {
	t := crcPowers()
	for k := 0; n > 0; k++ {
		if b := n & 0xff; b != 0 {
			front = multiply(t[k][b], front)
		}
		n >>= 8
	}
	return whole ^ front
}
