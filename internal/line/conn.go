package line

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/publish"
	"mbus/internal/tcpserver"
	"mbus/internal/units"
)

// A conn is one connection. Its goroutine reads.
type conn struct {
	server   *Server
	broker   *broker.Broker
	view     *broker.View
	net      tcpserver.Conn
	in       publish.Input
	number   uint64                        // of the connection, in the order in which they came
	asked    time.Time                     // when the request had come
	finishes atomic.Bool                   // a stop of the broker lets it go on for a while
	use      atomic.Pointer[tcpserver.Use] // nil before the request
	identity atomic.Pointer[auth.Identity] // nil before the log-in, or a request without one
	revoked  atomic.Bool                   // the user has lost what it had
}

func newConn(s *Server, nc tcpserver.Conn) *conn {
	return &conn{server: s, broker: s.broker, view: s.broker.As(broker.NewPrincipal(auth.Identity{}, broker.NewClient(nc))), net: nc, in: publish.NewInput(&s.broker.Budget), number: s.latest.Add(1)}
}

// An errorLine is written to the client before the connection is closed.
type errorLine struct {
	code string
	err  error
}

func (e *errorLine) Error() string { return e.code + " " + e.err.Error() }
func (e *errorLine) Unwrap() error { return e.err }

// line is its text; for an HTTP client an HTTP response.
func (e *errorLine) line() string {
	if errors.Is(e.err, errHTTP) {
		text := e.err.Error() + "\n"
		return "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: " + strconv.Itoa(len(text)) +
			"\r\nConnection: close\r\n\r\n" + text
	}
	return "-" + e.code + " " + oneLine(e.err.Error()) + "\n"
}

func errorLinef(code, format string, args ...any) error {
	return &errorLine{code, fmt.Errorf(format, args...)}
}

// oneLine quotes a text that has line ends, as the name of a file may.
func oneLine(s string) string {
	if !bytes.ContainsAny([]byte(s), "\r\n") {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// toErrorLine makes an error of the broker one that the client gets.
func toErrorLine(err error) error {
	var line *errorLine
	if errors.As(err, &line) {
		return err
	}
	var wrong *publish.Error
	if errors.As(err, &wrong) {
		return &errorLine{wrong.Code, err}
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) { // nothing was done
		return &errorLine{"BUSY", err}
	}
	return &errorLine{delivery.Code(err), err}
}

// readRequest reads and parses the first line, or that behind AUTH. It returns io.EOF if the
// client has left without one.
func (c *conn) readRequest(options map[string]option) (*request, error) {
	c.net.SetReadDeadline(time.Now().Add(c.broker.Limits.RequestTime))
	for {
		p := c.in.Bytes()
		i := bytes.IndexByte(p, '\n')
		switch isLine := i >= 0 && i < broker.RequestLine; {
		case isLine && isLogin(p[:i]):
			c.in.Skip(i + 1)
			if err := c.logIn(p[:i]); err != nil {
				return nil, err
			}
			continue
		case isLine:
			c.in.Skip(i + 1)
			return c.takeRequest(p[:i], options)
		case isLogin(p):
		default:
			if err := foreign(p); err != nil {
				return nil, &errorLine{"BADREQUEST", err}
			}
		}
		if len(p) >= broker.RequestLine {
			return nil, errorLinef("BADREQUEST", "the request line is longer than %d bytes", broker.RequestLine)
		}
		if err := c.in.Fill(c.net, broker.RequestLine); err != nil {
			return nil, c.noRequest(err, len(p))
		}
	}
}

// takeRequest parses a request line, which the client may send.
func (c *conn) takeRequest(line []byte, options map[string]option) (*request, error) {
	r, err := parseRequest(line, options, c.broker.Now())
	if err != nil {
		return nil, &errorLine{"BADREQUEST", err}
	}
	_, publishes := options["producer"]
	if err := c.admit(r, publishes); err != nil {
		return nil, err
	}
	c.server.debug(c, "request", "line", string(line))
	c.server.conns.Admitted(c.net)
	c.asked = time.Now()
	c.use.Store(r.use(publishes))
	c.net.SetReadDeadline(time.Time{})
	return r, nil
}

func (c *conn) noRequest(err error, got int) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && c.server.isStopping():
		return errorLinef("SHUTDOWN", "the broker is stopping")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errorLinef("TIMEOUT", "no request line within %s", units.FormatDuration(c.broker.Limits.RequestTime))
	case err == io.EOF && got > 0:
		return errorLinef("BADREQUEST", "the request line has no LF")
	}
	return err
}

// writeLine writes a line. Any goroutine may call it if the order of the lines does not
// matter.
func (c *conn) writeLine(line string) error {
	_, err := c.net.Write([]byte(line), c.broker.Limits.WriteTime)
	return err
}

// writeSlowly writes p to a client that must take something in each WriteTime. It returns
// how many bytes were written.
func (c *conn) writeSlowly(p []byte) (int, error) {
	n, err := c.net.WriteAll(c.broker.Limits.WriteTime, p)
	return int(n), err
}

// writeLast writes the last line so that the client can read it before the close.
func (c *conn) writeLast(line string) { tcpserver.WriteLast(c.net, line, c.broker.Limits.WriteTime) }

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
