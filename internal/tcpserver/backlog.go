package tcpserver

import "sync"

// A backlog is bytes that wait, in a buffer of a pool that is as small as they allow. Without bytes it has none.
type backlog struct {
	mem  *[]byte // that buf is, of pool; nil for none
	pool *sync.Pool
	buf  []byte // buf[read:] waits
	read int
	lent bool // bytes of mem are in use without a lock
}

func (b *backlog) bytes() []byte { return b.buf[b.read:] }

// add adds a copy of p.
func (b *backlog) add(p []byte) {
	if len(b.buf)+len(p) > cap(b.buf) {
		b.makeSpace(len(p))
	}
	b.buf = append(b.buf, p...)
}

// makeSpace moves the bytes to the front, or to a larger buffer.
func (b *backlog) makeSpace(n int) {
	rest := b.bytes()
	if len(rest)+n <= cap(b.buf) && !b.lent {
		b.buf, b.read = b.buf[:copy(b.buf, rest)], 0
		return
	}
	pool := &smallOutputs
	if len(rest)+n > smallOutput {
		pool = &largeOutputs
	}
	mem := pool.Get().(*[]byte)
	buf := append((*mem)[:0], rest...)
	b.drop()
	b.mem, b.pool, b.buf = mem, pool, buf
}

// lend gives the bytes to use without a lock, until skip.
func (b *backlog) lend() []byte {
	p := b.bytes()
	b.lent = len(p) > 0
	return p
}

// skip says that the first n bytes do not wait any more.
func (b *backlog) skip(n int) {
	b.lent = false
	if b.read += n; b.read == len(b.buf) {
		b.drop()
	}
}

// drop forgets all bytes. The pool does not get a buffer that is in use.
func (b *backlog) drop() {
	if b.mem != nil && !b.lent {
		b.pool.Put(b.mem)
	}
	*b = backlog{}
}
