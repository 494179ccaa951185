package line

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/tcpserver"
	"mbus/internal/units"
)

// A conn is one connection. Its goroutine reads; what it writes to is said with
// each method.
type conn struct {
	server      *Server
	broker      *broker.Broker
	tcp         *net.TCPConn
	in          input
	turn        uint64    // the connection's number, in the order in which they came
	asked       time.Time // when the request had come
	room        uint32    // the most that the client's system was seen to have, in bytes
	isCut       atomic.Bool
	finishes    atomic.Bool // a stop of the broker lets it go on for a while
	interrupted atomic.Bool // interrupt was called
}

func newConn(s *Server, tcp *net.TCPConn) *conn {
	c := &conn{server: s, broker: s.broker, tcp: tcp, turn: s.turn.Add(1)}
	c.in = newInput(tcp, &s.broker.Budget)
	return c
}

// An answerError is told to the client before the connection is closed.
type answerError struct {
	code string
	err  error
}

func (e *answerError) Error() string { return e.code + " " + e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

// line is what the client is told: an HTTP client in its own protocol.
func (e *answerError) line() string {
	if errors.Is(e.err, errHTTP) {
		text := e.err.Error() + "\n"
		return "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: " + strconv.Itoa(len(text)) +
			"\r\nConnection: close\r\n\r\n" + text
	}
	return "-" + e.code + " " + oneLine(e.err.Error()) + "\n"
}

func answer(code, format string, args ...any) error {
	return &answerError{code, fmt.Errorf(format, args...)}
}

// oneLine keeps an answer on its line, whatever a name of a file holds.
func oneLine(s string) string {
	if !bytes.ContainsAny([]byte(s), "\r\n") {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// codes says what a client is told for errors from below. The first that fits
// counts.
var codes = []struct {
	err  error
	code string
}{
	{broker.ErrFull, "FULL"},
	{broker.ErrFailed, "FAILED"},
	{broker.ErrUnusable, "FAILED"},
	{broker.ErrClosed, "GONE"}, // see told
	{broker.ErrUnknownTopic, "GONE"},
	{broker.ErrUnknownGroup, "GONE"},
	{broker.ErrStreamGone, "GONE"},
	{broker.ErrReplaced, "REPLACED"},
	{broker.ErrTopicExists, "EXISTS"},
	{broker.ErrConfig, "BADREQUEST"},
	{broker.ErrTooManyTopics, "BUSY"},
	{group.ErrTooMany, "BUSY"},
	{broker.ErrPartitions, "BADREQUEST"},
	{broker.ErrInternalTopic, "BADREQUEST"},
	{broker.ErrTooLarge, "TOOLARGE"},
	{batch.ErrTooLarge, "TOOLARGE"},
	{batch.ErrCorrupt, "BADMESSAGE"},
	{broker.ErrTime, "BADMESSAGE"},
	{broker.ErrDeliverAt, "BADMESSAGE"},
	{syscall.EMFILE, "BUSY"}, // nothing was done
	{syscall.ENFILE, "BUSY"},
}

// told is the answer that the client gets. A log is closed when its topic is deleted,
// and when the broker stops.
func (c *conn) told(a *answerError) string {
	switch {
	case !errors.Is(a.err, broker.ErrClosed):
	case c.server.isStopping():
		a = &answerError{"SHUTDOWN", errors.New("the broker is stopping")}
	default:
		a = &answerError{"GONE", errors.New("the topic was deleted")}
	}
	return a.line()
}

// toAnswer makes an error of the broker one that the client is told.
func toAnswer(err error) error {
	var told *answerError
	if errors.As(err, &told) {
		return err
	}
	var inUse *group.InUseError
	if errors.As(err, &inUse) {
		return &answerError{"BUSY", err}
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &answerError{c.code, err}
		}
	}
	return &answerError{"FAILED", err}
}

// readRequest reads and parses the first line. It returns io.EOF if the client
// has left without one.
func (c *conn) readRequest(options map[string]option) (*request, error) {
	c.tcp.SetReadDeadline(time.Now().Add(c.broker.Limits.RequestTime))
	c.interruptIfStopping()
	for {
		p := c.in.bytes()
		if i := bytes.IndexByte(p, '\n'); i >= 0 && i < broker.RequestLine {
			r, err := parseRequest(p[:i], options, c.broker.Now())
			if err != nil {
				return nil, &answerError{"BADREQUEST", err}
			}
			c.server.debug(c, "request", "line", string(p[:i]))
			c.in.skip(i + 1)
			c.asked = time.Now()
			c.tcp.SetReadDeadline(time.Time{})
			c.interruptIfStopping()
			return r, nil
		}
		if err := foreign(p); err != nil {
			return nil, &answerError{"BADREQUEST", err}
		}
		if len(p) >= broker.RequestLine {
			return nil, answer("BADREQUEST", "the request line is longer than %d bytes", broker.RequestLine)
		}
		if err := c.in.fill(broker.RequestLine); err != nil {
			return nil, c.noRequest(err, len(p))
		}
	}
}

func (c *conn) noRequest(err error, got int) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && c.server.isStopping():
		return answer("SHUTDOWN", "the broker is stopping")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return answer("TIMEOUT", "no request line within %s", units.FormatDuration(c.broker.Limits.RequestTime))
	case err == io.EOF && got > 0:
		return answer("BADREQUEST", "the request line has no LF")
	}
	return err
}

// writeWithin gives the next write so long. A connection that is cut stays so.
func (c *conn) writeWithin(d time.Duration) {
	c.tcp.SetWriteDeadline(time.Now().Add(d))
	if c.isCut.Load() {
		c.cut()
	}
}

// cut ends a write that waits, now or later.
func (c *conn) cut() {
	c.isCut.Store(true)
	c.tcp.SetWriteDeadline(time.Unix(1, 0))
}

// say writes a line. Any goroutine may call it, for lines of which one does not
// depend on the other.
func (c *conn) say(line string) error {
	c.writeWithin(c.broker.Limits.WriteTime)
	_, err := io.WriteString(c.tcp, line)
	return err
}

// writeSlowly writes p to a client that must take something within WriteTime, again
// and again. n is how much was written.
func (c *conn) writeSlowly(p []byte) (n int, err error) {
	err = tcpserver.Persist(c.tcp, c.broker.Limits.WriteTime, c.writeWithin, func() error {
		more, err := c.tcp.Write(p[n:])
		if n += more; isTimeout(err) && c.isCut.Load() {
			return errCut
		}
		return err
	})
	return n, err
}

// errCut ends a write to a connection that has been cut.
var errCut = errors.New("the connection is cut")

// lingerTime bounds how long a client may go on sending after it was told that
// the connection is closed. Closing with its bytes unread would have the system
// reset the connection, and the answer might be lost with it.
const lingerTime = 2 * time.Second

// sayLast writes the last line and sees that the client can read it.
func (c *conn) sayLast(line string) {
	c.keep()
	if c.say(line) != nil || c.tcp.CloseWrite() != nil {
		return
	}
	c.tcp.SetReadDeadline(time.Now().Add(lingerTime))
	io.Copy(io.Discard, onlyReader{c.tcp})
}

// onlyReader hides other methods, so that io.Copy reads into a small buffer.
type onlyReader struct{ io.Reader }

// refusals is how many clients may be heard out at a time that there was no room
// for. The answer to more of them may be lost on its way.
const refusals = 64

// refuse tells a client that there is no room for it.
func (s *Server) refuse(c *conn) {
	select {
	case s.refusing <- struct{}{}:
		go func() {
			defer func() { <-s.refusing }()
			c.sayLast(tooMany)
			c.tcp.Close()
		}()
	default:
		c.say(tooMany)
		c.tcp.Close()
	}
}

const tooMany = "-BUSY too many connections\n"

// reset makes the coming close a reset: the client must not take it for the end.
func (c *conn) reset() { c.tcp.SetLinger(0) }

// keep takes reset back.
func (c *conn) keep() { c.tcp.SetLinger(-1) }

// interrupt ends a read that waits, now or later.
func (c *conn) interrupt() {
	c.interrupted.Store(true)
	c.tcp.SetReadDeadline(time.Unix(1, 0))
}

// interruptIfStopping makes up for an interrupt that a change of the deadline
// has undone.
func (c *conn) interruptIfStopping() {
	if c.server.isStopping() {
		c.interrupt()
	}
}
