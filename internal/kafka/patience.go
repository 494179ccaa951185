package kafka

import (
	"errors"
	"net"
	"os"
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

// looks is how often within limit it is seen whether the client has taken something.
const looks = 4

// persist calls op until it ends otherwise than by its deadline, or the client has
// taken nothing for so long. That op could write nothing does not say so: the system
// lets more be written when there is much room only.
func (w patience) persist(op func() error) error {
	taken := int64(-1)
	for idle := 0; ; idle++ {
		w.conn.SetWriteDeadline(time.Now().Add(w.limit / looks))
		err := op()
		if !errors.Is(err, os.ErrDeadlineExceeded) || idle == looks {
			return err
		}
		if now := w.taken(); now > taken {
			taken, idle = now, 0
		}
	}
}

// taken is the number of bytes that the client's system has acknowledged.
func (w patience) taken() int64 {
	if conn, ok := w.conn.(syscall.Conn); ok {
		if n, err := tcp.Acknowledged(conn); err == nil {
			return int64(n)
		}
	}
	return 0
}
