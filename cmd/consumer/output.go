package main

import (
	"fmt"
	"io"

	"mbus/internal/consumer"
)

// flushSize is what is collected before it is written, in bytes: what one read
// of the connection brings, so usually a write a read.
const flushSize = 256 << 10

// An output prints messages. It collects them until it is idle.
type output struct {
	w      io.Writer
	format format
	buf    []byte
}

// take adds a message. An error is final, as are those of the other methods.
func (o *output) take(_ *consumer.Conn, _ int64, m *message) error {
	o.buf = o.format.append(o.buf, m)
	if len(o.buf) >= flushSize {
		return o.flush()
	}
	return nil
}

func (o *output) idle(c *consumer.Conn, n int64) error { return o.settle(c, n) }

// settle writes out what was collected, and only then acknowledges it.
func (o *output) settle(c *consumer.Conn, n int64) error {
	if err := o.flush(); err != nil {
		return err
	}
	c.Ack(n)
	return nil
}

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
