package kafka

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"mbus/internal/store"
	"mbus/internal/tcpserver"
)

// A patience writes to a client that must take something within limit, or half as long
// again, over and over. How long it takes for everything is the client's affair.
type patience struct {
	conn  net.Conn
	limit time.Duration
}

// soon is the part of the limit in which nearly all answers are taken.
const soon = 4

// write writes p. The first attempt takes few calls, so that the goroutine of one
// answer gets by with the stack that it begins with.
func (w patience) write(p []byte) error {
	w.conn.SetWriteDeadline(time.Now().Add(w.limit / soon))
	n, err := w.conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return w.writeAll(p[n:])
	}
	return err
}

// writeAll writes everything in due.
func (w patience) writeAll(due ...[]byte) error {
	left := net.Buffers(due)
	return w.persist(func() error {
		_, err := left.WriteTo(w.conn)
		return err
	})
}

// sendUnread has the system send a chunk, if it can; else the error is
// errors.ErrUnsupported, and nothing has been sent.
func (w patience) sendUnread(c *store.Chunk) error {
	conn, ok := w.conn.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return c.SendTo(patientRaw{raw, w})
}

// A patientRaw is a connection for what writes to its descriptor.
type patientRaw struct {
	syscall.RawConn
	patience
}

// Write implements store.RawWriter.
func (w patientRaw) Write(f func(fd uintptr) bool) error {
	return w.persist(func() error { return w.RawConn.Write(f) })
}

func (w patience) persist(op func() error) error {
	within := func(d time.Duration) { w.conn.SetWriteDeadline(time.Now().Add(d)) }
	return tcpserver.Persist(w.conn, w.limit, within, op)
}
