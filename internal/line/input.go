package line

import (
	"errors"
	"sync"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// An input holds the bytes that a connection has received and not used yet. It has a buffer
// only while there are such bytes, or bytes to read: the buffer comes from a pool, small at
// first and larger for a connection that fills it, and goes back before the connection waits,
// unless the beginning of a message lies in it. The broker's budget bounds all buffers.
type input struct {
	budget *broker.Budget

	mem   *[]byte // what the pool gave, of which buf is made; nil for none
	buf   []byte
	r, w  int   // buf[r:w] is received and not used yet
	taken int32 // bytes of the budget
	next  int32 // size of the buffer that suits the connection
	small int32 // reads in a row that did not need a large buffer
	want  int32 // bytes that the fill that goes on needs at most
}

// errBusy says that the budget is used up.
var errBusy = errors.New("the broker has no memory left for messages in flight")

// manySmall is how many small reads in a row end the use of a large buffer.
const manySmall = 8

// The sizes of pooled buffers are broker.FirstBuffer and each sizeStep times the
// one before, up to broker.ReadBuffer: a message of which a part has come holds
// that many times its size at most.
const sizeStep = 4

var inputs [5]sync.Pool

func newInput(budget *broker.Budget) input {
	return input{budget: budget, next: broker.FirstBuffer}
}

// bytes are what has come and is not used yet; valid until fill.
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// skip says that the first n bytes have been used.
func (in *input) skip(n int) { in.r += n }

// fill waits for more bytes from conn. The buffer grows as far as a message of want bytes
// needs; it fails with errBusy if there is no memory for that.
func (in *input) fill(conn tcpserver.Conn, want int) error {
	in.want = int32(want)
	n, err := conn.ReadInto(in)
	if err == tcpserver.ErrNoSpace {
		return errBusy
	}
	if err != nil {
		return err
	}
	in.w += n
	switch {
	case in.w == len(in.buf):
		in.next, in.small = int32(min(sizeStep*len(in.buf), broker.ReadBuffer)), 0
	case n >= broker.FirstBuffer:
		in.small = 0
	case in.small < manySmall:
		in.small++
	default:
		in.next = broker.FirstBuffer
	}
	return nil
}

// Space makes space for a read, in a buffer that suits what there is to read.
func (in *input) Space() []byte {
	rest, size := in.w-in.r, len(in.buf)
	switch {
	case size < int(in.next) && in.move(int(in.next)): // faster, but it goes without
	case size == 0:
		in.move(broker.FirstBuffer)
	case rest == size:
		if !in.move(min(sizeStep*size, max(int(in.want), size+broker.FirstBuffer))) {
			return nil
		}
	case in.r > 0:
		in.w = copy(in.buf, in.bytes())
		in.r = 0
	}
	return in.buf[in.w:]
}

// Idle gives back what is not needed until more has come.
func (in *input) Idle() {
	rest := in.w - in.r
	if rest == 0 {
		in.free()
	} else if size := len(in.buf); size > broker.FirstBuffer && size > sizeStep*rest {
		in.move(rest)
	}
}

// move moves to a buffer of size bytes, or a little more. It reports false, and
// changes nothing, if the budget is used up; a small one is not of the budget.
func (in *input) move(size int) bool {
	pool, class := 0, broker.FirstBuffer
	for class < size && pool < len(inputs)-1 {
		pool, class = pool+1, class*sizeStep
	}
	size = max(size, class)
	take := size
	if size == broker.FirstBuffer {
		take = 0
	}
	if take > 0 && !in.budget.Take(take) {
		return false
	}
	var mem *[]byte
	if size == class {
		mem, _ = inputs[pool].Get().(*[]byte)
	}
	if mem == nil {
		b := make([]byte, size)
		mem = &b
	}
	n := copy(*mem, in.bytes())
	in.free()
	in.mem, in.buf, in.w, in.taken = mem, *mem, n, int32(take)
	return true
}

// free gives the buffer back. What it held is lost.
func (in *input) free() {
	pool, class := 0, broker.FirstBuffer
	for class < len(in.buf) && pool < len(inputs)-1 {
		pool, class = pool+1, class*sizeStep
	}
	if class == len(in.buf) {
		inputs[pool].Put(in.mem)
	}
	in.budget.Give(int(in.taken))
	in.mem, in.buf, in.r, in.w, in.taken = nil, nil, 0, 0, 0
}
