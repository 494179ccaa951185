package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// A conn is one connection. Its goroutine reads requests and hands them to their
// handlers; responses.go writes the responses.
type conn struct {
	server *Server
	view   *broker.View // the broker as the client sees it, from the first request on that needs it
	net    tcpserver.Conn
	in     frames
	quit   chan struct{}                // closed by giveUp
	giveUp func()                       // ends waits for memory
	last   atomic.Int32                 // API key of the latest request, and 1; 0 for none
	topic  atomic.Pointer[broker.Topic] // that was fetched or produced to last
	group  atomic.Pointer[string]       // that the client is a member of; nil for none

	session  session
	isClient bool // has sent a Kafka request; its goroutine's own

	mu       sync.Mutex // guards what follows
	changed  sync.Cond  // the queue has become shorter, or writing has ended, or the server stops
	queue    []*call    // without a response yet, in the order of the requests
	reading  bool       // the connection's goroutine is in a handler, and writes after it
	writing  bool       // a goroutine writes
	stopping bool       // calls that wait are cancelled
	ended    bool       // no responses are written any more
}

func newConn(s *Server, nc tcpserver.Conn) *conn {
	c := &conn{server: s, net: nc, quit: make(chan struct{}), session: newSession(nc)}
	c.view = s.broker.As(broker.NewPrincipal(auth.Identity{}, c.session.client))
	c.giveUp = sync.OnceFunc(func() { close(c.quit) })
	c.changed.L = &c.mu
	c.in = frames{
		conn: nc, budget: &s.broker.Budget, limits: &s.broker.Limits, quit: c.quit, onShortage: s.reportShortage,
	}
	return c
}

// serve reads requests until the client closes the connection, the server stops, or a
// request is malformed. All requests read before have their responses when it returns.
func (c *conn) serve() error {
	err := c.readRequests()
	switch {
	case err == io.EOF:
		err = nil
	case errors.Is(err, os.ErrDeadlineExceeded) && c.server.isStopping():
		c.cancelWaiting()
		c.awaitResponses()
		err = nil
	case err != nil && !isNetwork(err):
		c.logClosing(err)
		c.awaitResponses()
		c.explainPort()
	}
	return err
}

// explainPort sends a line of text to a client that has sent text: it may be a client of the
// line protocol, and a mistyped port would look like a broker that has failed.
func (c *conn) explainPort() {
	if c.isClient || !isText(c.in.received()) {
		return
	}
	tcpserver.WriteLast(c.net, portHint(c.in.received()), tcpserver.LingerTime)
}

// otherPorts names the ports of the line protocol.
const otherPorts = "this is the port for Kafka clients: that for producers of lines is 9990 by default, that for consumers and administration 9991\n"

// portHint is the response to p, which is no Kafka request: in HTTP to an HTTP client.
func portHint(p []byte) string {
	for _, verb := range []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "CONNECT ", "PATCH ", "TRACE "} {
		if n := min(len(p), len(verb)); n >= 4 && string(p[:n]) == verb[:n] {
			return fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
				len(otherPorts), otherPorts)
		}
	}
	return "-BADREQUEST " + otherPorts
}

// isText reports whether p begins with a line of text, or a part of one. Any bytes may follow
// the line.
func isText(p []byte) bool {
	line, _, _ := bytes.Cut(p, []byte("\n"))
	for _, b := range line {
		if b < ' ' && b != '\r' && b != '\t' || b > '~' {
			return false
		}
	}
	return len(line) > 0
}

// logClosing logs why a connection is closed where no response can say it. It is a warning
// if the client has sent a valid request before, which a scan of ports has not, and has logged in where there are users.
func (c *conn) logClosing(reason error) {
	level := slog.LevelDebug
	if c.isClient && (c.session.identity.Load() != nil || !c.server.broker.Users().Any()) && !errors.Is(reason, errLogin) {
		level = slog.LevelWarn
	}
	c.server.log.Log(context.Background(), level, "closing a Kafka client's connection", "client", c.net.RemoteAddr(), "reason", reason)
}

func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.ErrUnexpectedEOF)
}

func (c *conn) readRequests() error {
	for {
		if !c.awaitQueue() {
			return io.EOF
		}
		if err := c.readRequest(); err != nil {
			return err
		}
	}
}

// readRequest waits for a request and calls its handler.
func (c *conn) readRequest() error {
	size, err := c.in.awaitHeader()
	if err == nil {
		err = c.admit(c.in.key())
	}
	switch {
	case err != nil:
		return err
	case size > c.server.maxWhole && c.in.key() == int16(kmsg.Produce):
		return c.produceStream(size)
	}
	frame, err := c.in.whole(size)
	if err != nil {
		return err
	}
	err = c.handle(frame)
	c.in.discard()
	c.afterHandler() // last: a client that reads its response slowly must hold no memory of the budget
	return err
}

// handle calls a request's handler.
func (c *conn) handle(frame []byte) error {
	h, err := parseHeader(frame)
	if err != nil {
		return err
	}
	c.last.Store(int32(h.key) + 1)
	a := apis[h.key]
	if a == nil {
		return fmt.Errorf("API key %d is not known here", h.key)
	}
	if h.version < a.min || h.version > a.max {
		return c.refuseVersion(a, h)
	}
	if a.stream != nil {
		return c.handleStream(a, h, frame)
	}
	req := kmsg.RequestForKey(h.key)
	req.SetVersion(h.version)
	h.flexible = req.IsFlexible()
	cost, err := c.decode(h, req, frame)
	defer func() { c.server.decoding.Return(broker.Hold{Bytes: cost}) }()
	if err != nil {
		return fmt.Errorf("%s of version %d: %w", kmsg.NameForKey(h.key), h.version, err)
	}
	c.isClient = true
	a.handle(c.enqueue(h), req)
	return c.session.failed
}

// refuseVersion fails, which closes the connection; only ApiVersions gets a response.
func (c *conn) refuseVersion(a *api, h header) error {
	if h.key != int16(kmsg.ApiVersions) {
		return fmt.Errorf("%s of version %d is not supported, only %d to %d", kmsg.NameForKey(h.key), h.version, a.min, a.max)
	}
	h.version = 0
	c.enqueue(h).reply(unsupportedVersion())
	return nil
}

const (
	// freeDecode is the cost in bytes up to which a request takes nothing from the budget.
	freeDecode = 64 << 10

	// decodeMemory is the budget for decoded requests of all connections, in bytes; others
	// wait. It is larger than the cost of any request, and separate from the budget for
	// frames, because a connection that waits for it holds a frame.
	decodeMemory = costFactor*maxWhole + 4*costSlack
)

// decode reads a request's fields. It returns the bytes that it has taken from the budget.
func (c *conn) decode(h header, req kmsg.Request, frame []byte) (taken int, err error) {
	p, err := body(frame, h.flexible)
	if err != nil {
		return 0, err
	}
	cost, err := checkCost(apis[h.key].layout(h.version), h.flexible, p)
	if err != nil {
		return 0, err
	}
	if cost > freeDecode {
		all := broker.Hold{Bytes: cost, Share: broker.Whole}
		if c.server.decoding.Wait(broker.Hold{}, all, c.quit, c.server.reportShortage) != nil {
			return 0, errGivenUp
		}
		taken = cost
	}
	return taken, req.ReadFrom(p)
}

// enqueue puts a call at the end of the queue.
func (c *conn) enqueue(h header) *call {
	call := &call{conn: c, server: c.server, header: h}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, call)
	c.reading = true
	return call
}

// maxWaiting is the largest number of responses that wait for an earlier one, other than to
// Produce: a request of 20 bytes may have one of megabytes.
const maxWaiting = 4

// awaitQueue waits while too many requests have no response yet, while too many responses wait
// for an earlier one, or while the latest call waits for earlier ones, because a later request
// could change its outcome. It reports false if the connection has ended.
func (c *conn) awaitQueue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cancelled := false; (len(c.queue) >= broker.InFlight || c.waiting() >= maxWaiting || c.latestWaits()) && !c.ended; {
		if !c.stopping || cancelled {
			c.changed.Wait()
			continue
		}
		cancelled = true
		c.mu.Unlock()
		c.cancelWaiting()
		c.mu.Lock()
	}
	return !c.ended
}

// waiting is the number of responses that wait for an earlier one, other than to Produce. The
// caller holds mu.
func (c *conn) waiting() (n int) {
	for _, call := range c.queue {
		if call.completed && call.header.key != int16(kmsg.Produce) {
			n++
		}
	}
	return n
}

// latestWaits reports whether the latest call had to wait for earlier ones and is not complete.
// The caller holds mu.
func (c *conn) latestWaits() bool {
	if len(c.queue) == 0 {
		return false
	}
	latest := c.queue[len(c.queue)-1]
	return latest.waited && !latest.completed
}

// interrupt is called when the server stops: it ends the read that waits, now or later, and
// the wait for memory.
func (c *conn) interrupt() {
	c.mu.Lock()
	c.stopping = true
	c.changed.Broadcast()
	c.mu.Unlock()
	c.giveUp()
	c.net.Interrupt()
}

// close releases everything. It is called once, by the connection's goroutine.
func (c *conn) close() {
	c.abort(io.EOF)
	c.mu.Lock()
	for c.writing {
		c.changed.Wait()
	}
	c.mu.Unlock()
	c.in.free()
}
