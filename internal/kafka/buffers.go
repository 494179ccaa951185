package kafka

import (
	"math/bits"
	"sync"
)

// Buffers are pooled by size: powers of two from smallBuffer to largeBuffer
// bytes. Larger ones are not pooled.
const (
	smallBits   = 12
	largeBits   = 21
	smallBuffer = 1 << smallBits
	largeBuffer = 1 << largeBits
)

var pools [largeBits - smallBits + 1]sync.Pool

// getBuffer returns an empty buffer with a capacity of at least size bytes.
func getBuffer(size int) []byte {
	if size > largeBuffer {
		return make([]byte, 0, size)
	}
	class := bits.Len(uint(max(size, smallBuffer) - 1))
	if p, ok := pools[class-smallBits].Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, 1<<class)
}

// putBuffer returns a buffer of getBuffer, perhaps grown, to its pool.
func putBuffer(p []byte) {
	if cap(p) < smallBuffer || cap(p) > largeBuffer {
		return
	}
	p = p[:0]
	pools[bits.Len(uint(cap(p)))-1-smallBits].Put(&p)
}
