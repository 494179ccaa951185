package kafka

import (
	"errors"
	"net"
	"syscall"
	"time"

	"mbus/internal/store"
	"mbus/internal/tcp"
)

// A patience writes to a client that must take something within limit, again and
// again. How long it takes for everything is the client's affair.
type patience struct {
	conn  net.Conn
	limit time.Duration
}

// write writes everything in due.
func (w patience) write(due ...[]byte) error {
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
	return tcp.Persist(w.conn, w.limit, within, op)
}
