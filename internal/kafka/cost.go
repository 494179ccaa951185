package kafka

import (
	"encoding/binary"
	"errors"
)

// The limit for the cost of a request is costFactor times its size and costSlack, in bytes,
// so that a request with many small elements is not refused.
const (
	costFactor = 4
	costSlack  = 2 << 20
	tagCost    = 128 // of a tagged field
)

var (
	errLayout = errors.New("the request is not laid out as its version says")
	errCost   = errors.New("the request has too many elements for its size")
)

// checkCost walks a request's body and returns the memory in bytes that its elements take when
// they are decoded and handled. The error is errLayout or errCost.
func checkCost(layout []field, flexible bool, p []byte) (cost int, err error) {
	w := walk{flexible: flexible, p: p, limit: costFactor*len(p) + costSlack}
	w.fields(layout)
	return w.cost, w.err
}

// A walk goes over the fields of a request.
type walk struct {
	flexible bool
	p        []byte
	cost     int
	limit    int
	err      error
}

func (w *walk) fields(fields []field) {
	for i := range fields {
		if w.err == nil {
			w.field(&fields[i])
		}
	}
	if w.flexible && w.err == nil {
		w.tags()
	}
}

func (w *walk) field(f *field) {
	switch f.kind {
	case numberField:
		w.skip(f.size)
	case stringField:
		w.skip(max(0, w.length(2)))
	case bytesField:
		w.skip(max(0, w.length(4)))
	case structField:
		if null := f.size > 0 && len(w.p) > 0 && int8(w.p[0]) < 0; null {
			w.skip(f.size)
		} else if w.skip(f.size); w.err == nil {
			w.fields(f.elements)
		}
	case arrayField:
		w.array(f)
	}
}

func (w *walk) array(f *field) {
	n := max(0, w.length(4))
	for w.pay(n, f.size); n > 0 && w.err == nil; n-- {
		if f.plain {
			w.field(&f.elements[0])
		} else {
			w.fields(f.elements)
		}
	}
}

func (w *walk) skip(n int) {
	if n > len(w.p) {
		w.err = errLayout
		return
	}
	w.p = w.p[n:]
}

// length reads a length of size bytes, or a compact one; -1 is null.
func (w *walk) length(size int) int {
	if w.flexible {
		n, read := binary.Uvarint(w.p)
		if read <= 0 || n > uint64(len(w.p)) {
			w.err = errLayout
			return 0
		}
		w.p = w.p[read:]
		return int(n) - 1
	}
	if len(w.p) < size {
		w.err = errLayout
		return 0
	}
	n := int(int16(binary.BigEndian.Uint16(w.p)))
	if size == 4 {
		n = int(int32(binary.BigEndian.Uint32(w.p)))
	}
	w.p = w.p[size:]
	return n
}

// pay adds the cost of n elements, each of which has at least one byte.
func (w *walk) pay(n, each int) {
	if n > len(w.p) {
		w.err = errLayout
		return
	}
	if w.cost += n * each; w.cost > w.limit {
		w.err = errCost
	}
}

func (w *walk) tags() {
	count, n := binary.Uvarint(w.p)
	if n <= 0 || count > uint64(len(w.p)) {
		w.err = errLayout
		return
	}
	w.pay(int(count), tagCost)
	if w.err != nil {
		return
	}
	rest, err := skipTags(w.p)
	if w.p = rest; err != nil {
		w.err = errLayout
	}
}
