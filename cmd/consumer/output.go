package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"mbus/internal/client"
)

// flushSize is what is collected before it is written, in bytes: what one read
// of the connection brings, so usually a write a read.
const flushSize = 256 << 10

// An output prints messages. It collects them until it is idle. A message that was
// written to a pipe counts when its reader has taken it out of there.
type output struct {
	w      io.Writer
	format format
	buf    []byte
	pipe   *pipe           // of w; nil where it is none, or where nothing is consumed
	stop   context.Context // the reader is not waited for any more
}

// take adds a message. An error is final, as are those of the other methods.
func (o *output) take(_ *client.Consumer, _ int64, m *received) error {
	o.buf = o.format.append(o.buf, m)
	o.pipe.add(len(o.buf))
	if len(o.buf) >= flushSize {
		return o.flush()
	}
	return nil
}

// idle writes out what was collected, and acknowledges what a reader can have taken.
func (o *output) idle(c *client.Consumer, n int64) error {
	if err := o.flush(); err != nil {
		return err
	}
	if o.pipe == nil {
		c.Ack(n)
		return nil
	}
	c.Ack(o.pipe.taken())
	if o.pipe.left() {
		return client.ErrInterrupted
	}
	o.pipe.wakeLater(c)
	return nil
}

// settle writes out what was collected, and only when its reader has it acknowledges it.
func (o *output) settle(c *client.Consumer, n int64) error {
	if err := o.flush(); err != nil && !errors.Is(err, client.ErrInterrupted) {
		return err
	}
	if o.pipe != nil {
		n = o.pipe.await(o.stop)
	}
	c.Ack(n)
	if o.pipe.left() && !o.pipe.follows {
		return errReaderLeft // and nothing is consumed
	}
	return nil
}

func (o *output) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	n, err := o.w.Write(o.buf)
	o.pipe.wrote(n)
	o.buf = o.buf[:0]
	switch {
	case o.pipe != nil && errors.Is(err, syscall.EPIPE):
		o.pipe.broken.Store(true)
		return client.ErrInterrupted
	case errors.Is(err, syscall.EPIPE):
		return errReaderLeft
	case err != nil:
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// wakes has idle called when the reader of the pipe leaves.
func (o *output) wakes(c *client.Consumer) (stop func()) { return o.pipe.watch(c) }
