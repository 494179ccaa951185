package main

import (
	"fmt"
	"io"
)

// flushSize is what is collected before it is written, in bytes: what one read
// of the connection brings, so usually a write a read.
const flushSize = 256 << 10

// An output collects what is to be printed.
type output struct {
	w   io.Writer
	buf []byte
}

// print adds a message. An error is final.
func (o *output) print(f format, m *message) error {
	o.buf = f.append(o.buf, m)
	if len(o.buf) >= flushSize {
		return o.flush()
	}
	return nil
}

// flush writes out what was collected. An error is final.
func (o *output) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	_, err := o.w.Write(o.buf)
	o.buf = o.buf[:0]
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}
