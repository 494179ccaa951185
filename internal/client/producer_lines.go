package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// SendLines sends the lines of r, a message each, without the LF; what comes
// after the last LF is a message too, if it is not empty. What one Read returns
// is sent before the next, so that nothing waits for input that trickles. It
// returns at the end of r, with everything sent but not yet acknowledged. An
// error that is not an *UnacknowledgedError says why r could not be read on; the lines before
// have been sent.
func (c *Producer) SendLines(r io.Reader) error {
	c.pending.fromLines = true
	buf, partial := make([]byte, readSize), 0
	for skips := false; ; { // the rest of a line that is too long
		n, err := r.Read(buf[partial:])
		p := buf[:partial+n]
		if skips {
			p, skips = behindLF(p)
			partial = 0
		}
		rest, addErr := c.addLines(p, partial)
		if errors.Is(err, io.EOF) && addErr == nil && len(rest) > 0 {
			addErr = c.Add(now(), rest)
		}
		if flushErr := c.Flush(); flushErr != nil {
			return flushErr
		}
		switch {
		case addErr != nil:
			return addErr
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("input can't be read after line %d: %w", c.pending.lines, err)
		case len(rest) > MaxMessage:
			c.pending.lines++
			if err := c.tooLong(); err != nil {
				return err
			}
			rest, skips = nil, true
		}
		buf, partial = keep(buf, rest), len(rest)
	}
}

// behindLF is what comes after the first LF; if there is none, more is to be skipped.
func behindLF(p []byte) (rest []byte, more bool) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		return nil, true
	}
	return p[i+1:], false
}

// SendMessage sends one message. An error that is not an *UnacknowledgedError says why it
// can't be sent.
func (c *Producer) SendMessage(value []byte) error {
	if err := c.Add(now(), value); err != nil {
		return err
	}
	return c.Flush()
}

// addLines adds the complete lines of p and returns what comes after them. The
// first scanned bytes are known to hold no LF.
func (c *Producer) addLines(p []byte, scanned int) (rest []byte, err error) {
	timestamp := now()
	for {
		i := bytes.IndexByte(p[scanned:], '\n')
		if i < 0 {
			return p, nil
		}
		if err := c.Add(timestamp, p[:scanned+i]); err != nil {
			return nil, err
		}
		p, scanned = p[scanned+i+1:], 0
	}
}

// keep returns buf with rest, which is a part of it, at its beginning. It is
// made larger only when half of it is in use, that is, by what has arrived.
func keep(buf, rest []byte) []byte {
	if len(rest) > len(buf)/2 {
		larger := make([]byte, 2*len(buf))
		copy(larger, rest)
		return larger
	}
	copy(buf, rest)
	return buf
}

// now is a message's time, in milliseconds since 1970.
func now() int64 { return time.Now().UnixMilli() }
