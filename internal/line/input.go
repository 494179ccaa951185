package line

import (
	"errors"
	"io"
	"net"
	"sync"

	"mbus/internal/broker"
)

// An input is what has come on a connection and is not used yet. Its buffer is
// small at first. A connection that fills it gets a larger one from a pool, and
// gives it back when it has little to do; the broker's budget bounds them all.
type input struct {
	conn   net.Conn
	budget *broker.Budget

	buf   []byte
	r, w  int // buf[r:w] is not used yet
	taken int // bytes of the budget
	small int // reads in a row that did not need a large buffer
}

// errBusy says that the budget is used up.
var errBusy = errors.New("the broker has no memory left for messages in flight")

// manySmall is how many small reads in a row end the use of a large buffer.
const manySmall = 8

// large holds buffers of broker.ReadBuffer bytes.
var large = sync.Pool{New: func() any { return new([broker.ReadBuffer]byte) }}

// bytes are what has come and is not used yet; valid until fill.
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// skip says that the first n bytes have been used.
func (in *input) skip(n int) { in.r += n }

// fill waits for more bytes. The buffer grows as far as a message of want bytes
// needs; it fails with errBusy if there is no memory for that.
func (in *input) fill(want int) error {
	if err := in.prepare(want); err != nil {
		return err
	}
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	if n >= broker.FirstBuffer {
		in.small = 0
	} else {
		in.small++
	}
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// prepare makes room for a read, in a buffer that suits what there is to read.
func (in *input) prepare(want int) error {
	rest, size := in.w-in.r, len(in.buf)
	switch {
	case rest == 0 && (size > broker.ReadBuffer || in.small > manySmall):
		in.free() // much was needed once
	case rest == size && size >= broker.ReadBuffer:
		return in.grow(min(2*size, max(want, size+broker.FirstBuffer)))
	case rest == size && size > 0:
		return in.enlarge()
	case in.w == size && size > 0 && size < broker.ReadBuffer:
		_ = in.enlarge() // faster, but it goes without
	}
	if in.buf == nil {
		in.buf = make([]byte, broker.FirstBuffer)
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.bytes())
		in.r = 0
	}
	return nil
}

// enlarge moves to a buffer from the pool.
func (in *input) enlarge() error {
	if !in.budget.Take(broker.ReadBuffer) {
		return errBusy
	}
	b := large.Get().(*[broker.ReadBuffer]byte)
	in.w = copy(b[:], in.bytes())
	in.r, in.buf = 0, b[:]
	in.taken += broker.ReadBuffer
	return nil
}

// grow is for a message that does not fit even a large buffer.
func (in *input) grow(size int) error {
	if !in.budget.Take(size) {
		return errBusy
	}
	b := make([]byte, size)
	n := copy(b, in.bytes())
	in.free()
	in.buf, in.w, in.taken = b, n, size
	return nil
}

// free gives the buffer back. What it held is lost.
func (in *input) free() {
	if len(in.buf) == broker.ReadBuffer {
		large.Put((*[broker.ReadBuffer]byte)(in.buf))
	}
	in.budget.Give(in.taken)
	in.buf, in.r, in.w, in.taken, in.small = nil, 0, 0, 0, 0
}
