package gate

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// A client is a connection. Its goroutine reads requests; owners' servers write answers.
type client struct {
	gate  *Gate
	conn  tcpserver.Conn
	spare *[]byte   // that is read into; nil for none
	began bool      // a request has come
	until time.Time // deadline of reads; zero for none

	mu       sync.Mutex // guards what follows
	changed  sync.Cond
	in       []byte    // has come, and no owner has read it
	given    int       // bytes of in that an owner may read
	session  *session  // nil for none
	exchange *exchange // that goes on; nil for none
	admitted bool      // the client has logged in
	reading  bool      // the goroutine waits for bytes
	over     error     // why nothing more is read; nil while it is
}

func newClient(g *Gate, conn tcpserver.Conn) *client {
	c := &client{gate: g, conn: conn}
	c.changed.L = &c.mu
	return c
}

// maxIn is the most that is read of a client and not passed on, in bytes: a head, or a part of a body.
const maxIn = broker.HTTPHeader

var spares = sync.Pool{New: func() any { p := make([]byte, 16<<10); return &p }}

// Why a client ends, beside what its connection says.
var (
	errDone     = errors.New("done")
	errCut      = errors.New("the client is cut off")
	errStopping = errors.New("this node stops")
)

// run serves the client to its end. A panic ends this client only.
func (c *client) run() {
	defer func() {
		if r := recover(); r != nil {
			c.gate.o.Log.Error("panic in a connection", "client", c.conn.RemoteAddr(), "reason", r, "stack", string(debug.Stack()))
			c.end(errCut)
		}
	}()
	c.end(c.serve())
}

// serve answers requests until the connection is to end. The error is nil where an owner has the connection itself.
func (c *client) serve() error {
	for {
		r, head, err := c.readHead()
		switch {
		case err != nil:
			return err
		case r == nil || isForOwner(r):
			return c.handOver()
		}
		c.began = true
		if h := c.local(r); h != nil {
			err = c.answer(r, head, h)
		} else {
			err = c.carry(r, head)
		}
		if err != nil {
			return err
		}
	}
}

// local is what answers a request here; nil if an owner does.
func (c *client) local(r *http.Request) http.Handler {
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return nil
	}
	return c.gate.o.Local(r, c.conn)
}

// isForOwner says whether an owner needs the connection of a request: it shows who has read messages, or becomes another kind of
// connection.
func isForOwner(r *http.Request) bool {
	if r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect {
		return true
	}
	path, isTopic := strings.CutPrefix(r.URL.Path, "/topics/")
	_, what, _ := strings.Cut(path, "/")
	return isTopic && strings.TrimSuffix(what, "/") == "messages"
}

// readHead waits for a request, and gives its head's length. The request is nil where an owner's server is to read it.
func (c *client) readHead() (r *http.Request, head int, err error) {
	limits := &c.gate.o.Limits
	idle := limits.HTTPIdleTime
	if !c.began {
		idle = limits.HTTPHeaderTime
	}
	c.setDeadline(idle)
	for isFirst := true; ; isFirst = false {
		c.mu.Lock()
		for len(c.in) > 0 && (c.in[0] == '\r' || c.in[0] == '\n') && c.began { // some clients send line ends behind a body
			c.in = c.in[1:]
		}
		in := c.in
		c.mu.Unlock()
		if head = headLength(in); head > 0 && head <= maxIn {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[:head])))
			if err != nil {
				return nil, 0, nil
			}
			c.setDeadline(0)
			return r, head, nil
		}
		if len(in) >= maxIn {
			return nil, 0, nil
		}
		if isFirst && c.began && len(in) > 0 {
			c.setDeadline(limits.HTTPHeaderTime)
		}
		before := len(in)
		err := c.read(nil)
		if c.began && before == 0 && err == nil {
			c.setDeadline(limits.HTTPHeaderTime)
		}
		switch {
		case err == nil:
		case len(in) > 0 && (err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded)) && !c.isStopping():
			return nil, 0, nil // an owner's server says what is missing
		default:
			return nil, 0, err
		}
	}
}

// headLength is how many bytes the head of a request or an answer has; 0 if it is not whole.
func headLength(p []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := p[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return at + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at + 2
		}
	}
}

// setDeadline gives the client so long for what is read next; 0 for any time.
func (c *client) setDeadline(d time.Duration) {
	c.until = time.Time{}
	if d > 0 {
		c.until = time.Now().Add(d)
	}
	c.conn.SetReadDeadline(c.until)
}

// read reads what comes, unless something else happens first, or isOver, which may be nil, says that it has.
func (c *client) read(isOver func() bool) error {
	c.mu.Lock()
	if c.over != nil || isOver != nil && isOver() {
		defer c.mu.Unlock()
		return c.over
	}
	c.reading = true
	c.mu.Unlock()
	n, err := c.conn.ReadInto(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	switch {
	case c.gate.freeze.IsOver():
		err = errCut
	case err == nil:
		c.in = append(c.in, (*c.spare)[:n]...)
		c.advance()
	}
	c.freeSpare()
	if err != nil && c.conn.IsInterrupted() && c.over == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		c.conn.Resume(c.until) // something has happened
		return nil
	}
	if err != nil && c.over == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.over = err
		c.wake()
	}
	if c.over != nil {
		return c.over
	}
	return err
}

// Space implements tcpserver.Buffer.
func (c *client) Space() []byte {
	if c.spare == nil {
		c.spare = spares.Get().(*[]byte)
	}
	return *c.spare
}

// Idle implements tcpserver.Buffer.
func (c *client) Idle() { c.freeSpare() }

func (c *client) freeSpare() {
	if c.spare != nil {
		spares.Put(c.spare)
		c.spare = nil
	}
}

// wake has all look again that wait for something. The caller holds mu.
func (c *client) wake() {
	if c.session != nil {
		c.session.pipe.Wake()
	}
	c.changed.Broadcast()
}

// wakeReader ends the read that waits, because something else has happened. The caller holds mu.
func (c *client) wakeReader() {
	if c.reading {
		c.conn.Interrupt()
	}
	c.changed.Broadcast()
}

// interrupt ends the client when no request goes on.
func (c *client) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exchange == nil {
		c.stop(errStopping)
	}
}

// cutOff resets the client.
func (c *client) cutOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop(errCut)
	c.conn.Abort()
}

// stop ends everything. The caller holds mu.
func (c *client) stop(why error) {
	if c.over == nil || c.over == io.EOF {
		c.over = why
	}
	c.conn.Interrupt()
	if c.session != nil {
		c.session.pipe.Fail(why)
	}
	c.changed.Broadcast()
}

func (c *client) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over == errStopping
}

// answer has a request answered here.
func (c *client) answer(r *http.Request, head int, h http.Handler) error {
	c.skip(head)
	w := &recorder{header: make(http.Header), status: http.StatusOK}
	h.ServeHTTP(w, r)
	isLast := r.Close || c.gate.stopping.Load()
	if _, err := c.conn.WriteAll(c.gate.o.Limits.WriteTime, w.response(r, isLast)); err != nil {
		return err
	}
	if isLast {
		return errDone
	}
	return nil
}

// skip forgets bytes that were read.
func (c *client) skip(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = append([]byte(nil), c.in[n:]...) // no more memory than that
}

// handOver has an owner serve the connection to its end.
func (c *client) handOver() error {
	c.mu.Lock()
	in, over := c.in, c.over
	c.in = nil
	c.mu.Unlock()
	if over != nil && over != io.EOF {
		return over
	}
	c.closeSession()
	c.conn.Resume(time.Time{})
	if err := c.gate.o.Lead(tcpserver.Prefixed(c.conn, in)); err != nil {
		c.refuse(err)
		return errDone
	}
	return nil
}

// refuse answers that there is no owner.
func (c *client) refuse(err error) {
	tcpserver.WriteLast(c.conn, c.gate.o.Refusal(err), c.gate.o.Limits.WriteTime)
}

// closeSession ends the session, in which no request goes on.
func (c *client) closeSession() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.session; s != nil {
		c.session = nil
		s.pipe.Fail(errDone)
	}
}

// end ends the connection, which is an owner's where why is nil.
func (c *client) end(why error) {
	c.closeSession()
	c.mu.Lock()
	c.freeSpare()
	if c.exchange != nil {
		c.exchange.forget()
	}
	c.mu.Unlock()
	switch {
	case why == nil:
	case why == errDone, why == io.EOF, why == errStopping, errors.Is(why, os.ErrDeadlineExceeded):
		c.conn.ResetOnClose(false)
		tcpserver.Linger(c.conn)
		c.conn.Close()
	default:
		c.conn.Abort()
	}
}

// A recorder has an answer of a handler.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *recorder) WriteHeader(status int)      { w.status = status }

// response is the answer as it is sent.
func (w *recorder) response(r *http.Request, isLast bool) []byte {
	var text bytes.Buffer
	w.header.Del("Content-Length")
	w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	answer := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Request: r, Close: isLast,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}
	_ = answer.Write(&text) // into memory
	return text.Bytes()
}
