package commitlog

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// A window reads a file forwards, in large steps, for callers that need small parts.
type window struct {
	f    io.ReaderAt
	end  int64 // of what may be read
	step int
	pos  int64
	buf  []byte

	small *[smallWindow]byte // buf, if it is one of smallWindows
}

// at returns n bytes at pos, or as many as there are before the end. They are
// valid until the next call.
func (w *window) at(pos int64, n int) ([]byte, error) {
	n = int(max(0, min(int64(n), w.end-pos)))
	if n == 0 {
		return nil, nil
	}
	if pos < w.pos || pos+int64(n) > w.pos+int64(len(w.buf)) {
		size := int(min(int64(max(n, w.step)), w.end-pos))
		if cap(w.buf) < size {
			w.grow(size)
		}
		got, err := w.f.ReadAt(w.buf[:size], pos)
		if err != nil && !errors.Is(err, io.EOF) {
			w.buf = w.buf[:0]
			return nil, err
		}
		w.pos, w.buf = pos, w.buf[:got]
	}
	p := w.buf[pos-w.pos:]
	return p[:min(n, len(p))], nil
}

// smallWindow is the size of the buffers, in bytes, that windows share: recovery reads a little of each
// log.
const smallWindow = 16 << 10

var smallWindows = sync.Pool{New: func() any { return new([smallWindow]byte) }}

// grow gets a buffer of size bytes or more.
func (w *window) grow(size int) {
	w.close()
	if size > smallWindow {
		w.buf = make([]byte, size)
		return
	}
	w.small = smallWindows.Get().(*[smallWindow]byte)
	w.buf = w.small[:]
}

// close gives the buffer back. What at has returned is not valid any more.
func (w *window) close() {
	if w.small != nil {
		smallWindows.Put(w.small)
	}
	w.small, w.buf = nil, nil
}

// lastUsed returns the position behind the last byte from pos to size that is not zero, or pos.
func lastUsed(s *segment, pos, size int64) (int64, error) {
	f, err := s.reader()
	if err != nil {
		return pos, err
	}
	defer f.close()
	w, end := window{f: f, end: size, step: 1 << 20}, pos
	defer w.close()
	for at := pos; at < size; at += 1 << 20 {
		p, err := w.at(at, 1<<20)
		if err != nil {
			return pos, err
		}
		if used := bytes.TrimRight(p, "\x00"); len(used) > 0 {
			end = at + int64(len(used))
		}
	}
	return end, nil
}
