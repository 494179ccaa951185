package kafka

import (
	"errors"
	"os"
	"time"

	"mbus/internal/store"
	"mbus/internal/tcpserver"
)

// A progressWriter writes to a client that must take something within limit, or half as long
// again, over and over. How long it takes for everything is the client's affair.
type progressWriter struct {
	conn  tcpserver.Conn
	limit time.Duration
}

// soon is the part of the limit in which nearly all responses are taken.
const soon = 4

// write writes p. The first attempt takes few calls, so that the goroutine of one
// response gets by with the stack that it begins with.
func (w progressWriter) write(p []byte) error {
	n, err := w.conn.Write(p, w.limit/soon)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return w.writeAll(p[n:])
	}
	return err
}

// writeAll writes everything in due.
func (w progressWriter) writeAll(due ...[]byte) error {
	_, err := w.conn.WriteAll(w.limit, due...)
	return err
}

// sendfile has the system send a chunk, if the transport allows it; else the error is
// errors.ErrUnsupported, and nothing has been sent.
func (w progressWriter) sendfile(c *store.Chunk) error { return c.SendTo(w) }

// Write implements store.RawWriter.
func (w progressWriter) Write(f func(fd uintptr) bool) error { return w.conn.WriteRaw(w.limit, f) }
