package tcpserver

import (
	"errors"
	"time"

	"mbus/internal/turns"
)

// handshakes bound the processor time of handshakes, of all servers together. A handshake has its turn while it
// computes, not while it waits for its peer.
var handshakes = turns.New(0.15)

// maxHandshake is the most bytes that a client sends for a handshake. Its request has 2 KiB or less, and each
// certificate 1 KiB or 2. Package tls would take 256 KiB, and memory for them before anything is proven.
const maxHandshake = 24 << 10

var errLongHandshake = errors.New("the handshake is too long")

// handshake ends the turn.
func (c *tlsConn) handshake(turn *turns.Turn, until time.Time) error {
	c.records.turn = turn
	defer turn.Pause()
	c.SetReadDeadline(until)
	c.setWriteTime(time.Until(until))
	if err := c.tls.Handshake(); err != nil {
		return err
	}
	c.records.waits.Store(false)
	c.SetReadDeadline(time.Time{})
	return nil
}

// readHandshake reads and waits. While it waits others have their turn.
func (r *records) readHandshake(p []byte) (int, error) {
	if r.got == maxHandshake {
		return 0, errLongHandshake
	}
	p = p[:min(len(p), maxHandshake-r.got)]
	n, err := r.readNow(p)
	if isAgain(err) {
		err = r.pause(func() error { n, err = r.TCPConn.Read(p); return err })
	}
	r.got += n
	if n == 0 && err == nil {
		err = errAborted
	}
	return n, err
}

// writeHandshake writes and waits, as readHandshake does.
func (r *records) writeHandshake(p []byte) (int, error) {
	rest, err := r.writeNow(p)
	n := len(p) - len(rest)
	if err != nil || len(rest) == 0 {
		return n, err
	}
	err = r.pause(func() error {
		more, err := r.TCPConn.Write(rest)
		n += more
		return err
	})
	return n, err
}

// pause ends the turn for f, which waits.
func (r *records) pause(f func() error) error {
	r.turn.Pause()
	err := f()
	r.turn.Resume()
	return err
}
