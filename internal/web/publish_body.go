package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
	"mbus/internal/tcpserver"
	"mbus/internal/units"
)

// checkBody refuses a body that would be taken for another than the client has sent: a coded one, because
// the coding is not stored, events in XML or Avro, which the broker can't read, and a body of HTTP/1.0
// without a length, of which net/http reads nothing.
func checkBody(c *call) error {
	coding, media := strings.Join(c.r.Header["Content-Encoding"], ", "), c.mediaType()
	switch {
	case len(c.op.bodies) == 0:
	case message.IsEventFormat(media) && media != typeEvent && media != typeEvents:
		return unsupported("header Content-Type: events come as %s or %s, not as %q", typeEvent, typeEvents, media)
	case coding != "" && !strings.EqualFold(coding, "identity"):
		c.w.Header().Set("Accept-Encoding", "identity")
		return unsupported("header Content-Encoding: it takes identity, not %q", coding)
	case !c.r.ProtoAtLeast(1, 1) && c.r.Header.Get("Content-Length") == "":
		return badRequest("header Content-Length is missing: a client of HTTP 1.0 has to say how long the body is")
	}
	return nil
}

// unsupported is an error for a body of a kind that the operation does not take.
func unsupported(format string, args ...any) error {
	return &problem{Status: http.StatusUnsupportedMediaType, Code: codeBadRequest, Detail: fmt.Sprintf(format, args...)}
}

// A body is the body of a request, in memory of the broker's budget. The memory grows with the
// bytes that have come: a client that promises many takes none.
type body struct {
	c     *call
	limit int // of bytes
	buf   []byte
	taken int // bytes of the budget
}

func (c *call) newBody(limit int) *body { return &body{c: c, limit: limit} }

// free gives the memory back.
func (b *body) free() {
	b.c.server.broker.Budget.Give(b.taken)
	b.buf, b.taken = nil, 0
}

// readAll reads the body to its end. One that says that it is too long is not read.
func (b *body) readAll() ([]byte, error) {
	if b.c.r.ContentLength > int64(b.limit) {
		return nil, tooLarge(b.limit, "-max-message of the broker")
	}
	n := 0
	for {
		if n == len(b.buf) {
			if err := b.grow(); err != nil {
				return nil, err
			}
		}
		more, err := b.c.readBody(b.buf[n:])
		if n += more; n > b.limit {
			return nil, tooLarge(b.limit, "-max-message of the broker")
		}
		if err == io.EOF {
			return b.buf[:n:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// grow makes space for more bytes: four times as many, or as many as are still to come. The
// smallest buffer is not of the budget.
func (b *body) grow() error {
	const step = 4
	size := broker.FirstBuffer
	if n := len(b.buf); n > 0 {
		size = min(step*n, b.limit+1)
		if promised := b.c.r.ContentLength; promised >= int64(n) {
			size = min(size, int(promised)+1)
		}
		if !b.c.server.broker.Budget.Take(size) {
			return delivery.ErrMemory
		}
	}
	buf := make([]byte, size)
	copy(buf, b.buf)
	b.free()
	b.buf = buf
	if size > broker.FirstBuffer {
		b.taken = size
	}
	return nil
}

// A timedBody is the body of a request, of which some bytes must come within a time, again and again.
// The first time runs for a body that nobody reads, too: net/http reads it after the answer.
type timedBody struct {
	io.ReadCloser
	conn  *conn
	limit time.Duration
	ended bool // it was read to its end
}

func newTimedBody(r *http.Request, limit time.Duration) io.ReadCloser {
	if r.Body == http.NoBody {
		return r.Body
	}
	b := &timedBody{ReadCloser: r.Body, conn: connOf(r.Context()), limit: limit}
	b.conn.SetReadDeadline(time.Now().Add(limit))
	return b
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.conn.SetReadDeadline(time.Now().Add(b.limit))
	n, err := b.ReadCloser.Read(p)
	if b.ended = err == io.EOF; b.ended {
		b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// leaveBody is for an answer before the body has come to its end: the client gets it at once, and the
// connection is closed. net/http would wait for the rest first.
func (c *call) leaveBody() {
	if b, ok := c.r.Body.(*timedBody); ok && !b.ended {
		c.w.Header().Set("Connection", "close")
		b.conn.sends.Store(true)
		b.conn.SetReadDeadline(time.Now().Add(tcpserver.LingerTime))
	}
}

// readBody reads some bytes of the body.
func (c *call) readBody(p []byte) (int, error) {
	n, err := c.r.Body.Read(p)
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded) && c.server.isStopping():
		return n, errStopping
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &problem{Status: http.StatusRequestTimeout, Code: "TIMEOUT", Detail: "no byte of the body came within " + units.FormatDuration(c.server.broker.Limits.HTTPBodyTime)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, &problem{Status: http.StatusBadRequest, Code: "INCOMPLETE", Detail: "the client closed in the middle of the body"}
	}
	return n, badRequest("the body: %w", err)
}

// tooLarge is the error for a message of more than limit bytes.
func tooLarge(limit int, whose string) error {
	return &problem{Status: http.StatusRequestEntityTooLarge, Code: "TOOLARGE", Detail: fmt.Sprintf("the message is larger than %d bytes (%s)", limit, whose)}
}
