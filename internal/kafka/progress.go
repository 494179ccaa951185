package kafka

import (
	"errors"
	"os"
	"time"

	"mbus/internal/store"
	"mbus/internal/tcpserver"
)

// A progressWriter writes to a client that must read some bytes within limit, or 1.5 times
// that, again and again. The time for all bytes has no limit.
type progressWriter struct {
	conn  tcpserver.Conn
	limit time.Duration
}

// soon is the part of the limit within which clients read nearly all responses.
const soon = 4

// write writes p. The first attempt makes few calls, so that the goroutine of a response
// does not have to enlarge its stack.
func (w progressWriter) write(p []byte) error {
	n, err := w.conn.Write(p, w.limit/soon)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return w.writeAll(p[n:])
	}
	return err
}

// writeAll writes all of due.
func (w progressWriter) writeAll(due ...[]byte) error {
	_, err := w.conn.WriteAll(w.limit, due...)
	return err
}

// sendfile sends a chunk with the system call, if the transport allows it; otherwise the
// error is errors.ErrUnsupported, and no byte has been sent.
func (w progressWriter) sendfile(c *store.Chunk) error { return c.SendTo(w) }

// Write implements store.RawWriter.
func (w progressWriter) Write(f func(fd uintptr) bool) error { return w.conn.WriteRaw(w.limit, f) }
