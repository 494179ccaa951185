package publish

import (
	"errors"
	"sync"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// An Input holds the bytes that a client has received and not used yet. It has a buffer
// only while there are such bytes, or bytes to read: the buffer comes from a pool, small at
// first and larger for a connection that fills it, and goes back before the connection waits,
// unless the beginning of a message lies in it. The broker's budget bounds all buffers.
type Input struct {
	budget *broker.Budget

	mem   *[]byte // what the pool gave, of which buf is made; nil for none
	buf   []byte
	r, w  int   // buf[r:w] is received and not used yet
	taken int32 // bytes of the budget
	next  int32 // size of the buffer that suits the connection
	small int32 // reads in a row that did not need a large buffer
	want  int32 // bytes that the Fill that goes on needs at most
}

// A Source is where bytes come from: a tcpserver.Conn, or another that has ReadInto.
type Source interface {
	ReadInto(b tcpserver.Buffer) (n int, err error)
}

// ErrBusy says that the budget is used up.
var ErrBusy = errors.New("the broker has no memory left for messages in flight")

// manySmall is how many small reads in a row end the use of a large buffer.
const manySmall = 8

// SizeStep is the growth of buffers: the pooled ones have broker.FirstBuffer bytes and each SizeStep times the
// one before, up to broker.ReadBuffer: a message of which a part has come holds
// that many times its size at most.
const SizeStep = 4

var inputs [5]sync.Pool

// NewInput has no bytes yet.
func NewInput(budget *broker.Budget) Input {
	return Input{budget: budget, next: broker.FirstBuffer}
}

// Bytes are what has come and is not used yet; valid until Fill.
func (in *Input) Bytes() []byte { return in.buf[in.r:in.w] }

// Skip says that the first n bytes have been used.
func (in *Input) Skip(n int) { in.r += n }

// Fill waits for more bytes. The buffer grows as far as a message of want bytes
// needs; it fails with ErrBusy if there is no memory for that.
func (in *Input) Fill(from Source, want int) error {
	in.want = int32(want)
	n, err := from.ReadInto(in)
	if err == tcpserver.ErrNoSpace {
		return ErrBusy
	}
	if err != nil {
		return err
	}
	in.w += n
	switch {
	case in.w == len(in.buf):
		in.next, in.small = int32(min(SizeStep*len(in.buf), broker.ReadBuffer)), 0
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
func (in *Input) Space() []byte {
	rest, size := in.w-in.r, len(in.buf)
	switch {
	case size < int(in.next) && in.move(int(in.next)): // faster, but it goes without
	case size == 0:
		in.move(broker.FirstBuffer)
	case rest == size:
		if !in.move(min(SizeStep*size, max(int(in.want), size+broker.FirstBuffer))) {
			return nil
		}
	case in.r > 0:
		in.w = copy(in.buf, in.Bytes())
		in.r = 0
	}
	return in.buf[in.w:]
}

// Idle gives back what is not needed until more has come.
func (in *Input) Idle() {
	rest := in.w - in.r
	if rest == 0 {
		in.Free()
	} else if size := len(in.buf); size > broker.FirstBuffer && size > SizeStep*rest {
		in.move(rest)
	}
}

// move moves to a buffer of size bytes, or a little more. It reports false, and
// changes nothing, if the budget is used up; a small one is not of the budget.
func (in *Input) move(size int) bool {
	pool, class := 0, broker.FirstBuffer
	for class < size && pool < len(inputs)-1 {
		pool, class = pool+1, class*SizeStep
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
	n := copy(*mem, in.Bytes())
	in.Free()
	in.mem, in.buf, in.w, in.taken = mem, *mem, n, int32(take)
	return true
}

// Free gives the buffer back. What it held is lost.
func (in *Input) Free() {
	pool, class := 0, broker.FirstBuffer
	for class < len(in.buf) && pool < len(inputs)-1 {
		pool, class = pool+1, class*SizeStep
	}
	if class == len(in.buf) {
		inputs[pool].Put(in.mem)
	}
	in.budget.Give(int(in.taken))
	in.mem, in.buf, in.r, in.w, in.taken = nil, nil, 0, 0, 0
}
