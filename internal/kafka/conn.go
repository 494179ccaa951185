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

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// A conn is one connection. Its goroutine reads requests and hands them to their
// handlers; replies.go writes the answers.
type conn struct {
	server *Server
	net    tcpserver.Conn
	in     frames
	quit   chan struct{} // closed by giveUp
	giveUp func()        // ends waiting for memory

	isClient bool // has sent a Kafka request; its goroutine's own

	mu       sync.Mutex // guards what follows
	changed  sync.Cond  // the queue has become shorter, or writing has ended, or the server stops
	queue    []*call    // not answered yet, in the order of the requests
	reading  bool       // the connection's goroutine is in a handler, and writes after it
	writing  bool       // a goroutine writes
	stopping bool       // what waits for something to happen is given up
	ended    bool       // no answers are written any more
}

func newConn(s *Server, nc tcpserver.Conn) *conn {
	c := &conn{server: s, net: nc, quit: make(chan struct{})}
	c.giveUp = sync.OnceFunc(func() { close(c.quit) })
	c.changed.L = &c.mu
	c.in = frames{
		conn: nc, budget: &s.broker.Budget, limits: &s.broker.Limits, quit: c.quit, onShortage: s.reportShortage,
	}
	return c
}

// serve takes requests until the client leaves, the server stops, or a request
// is not one. What was asked is answered before it returns.
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

// explainPort answers what is no Kafka client, and may be a program that writes lines, in a
// line: else a mistyped port would look like a broker that has failed.
func (c *conn) explainPort() {
	if c.isClient || !isText(c.in.received()) {
		return
	}
	tcpserver.WriteLast(c.net, portHint(c.in.received()), tcpserver.LingerTime)
}

// otherPorts says where lines go.
const otherPorts = "this is the port for Kafka clients: that for producers of lines is 9990 by default, that for consumers and administration 9991\n"

// portHint is what a client is told that has sent p: an HTTP client in its own protocol.
func portHint(p []byte) string {
	for _, verb := range []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "CONNECT ", "PATCH ", "TRACE "} {
		if n := min(len(p), len(verb)); n >= 4 && string(p[:n]) == verb[:n] {
			return fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
				len(otherPorts), otherPorts)
		}
	}
	return "-BADREQUEST " + otherPorts
}

// isText says that bytes begin with a line of text, or a part of one. Behind the request
// line of a producer there may be bytes of any kind.
func isText(p []byte) bool {
	line, _, _ := bytes.Cut(p, []byte("\n"))
	for _, b := range line {
		if b < ' ' && b != '\r' && b != '\t' || b > '~' {
			return false
		}
	}
	return len(line) > 0
}

// logClosing says why a connection is closed where the client is not told. What has not
// spoken the Kafka protocol, such as a scan of ports, is no client that needs help.
func (c *conn) logClosing(reason error) {
	level := slog.LevelDebug
	if c.isClient {
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

// readRequest waits for a request and hands it to its handler.
func (c *conn) readRequest() error {
	size, err := c.in.awaitHeader()
	switch {
	case err != nil:
		return err
	case size > c.server.maxWhole && c.in.isKey(kmsg.Produce):
		return c.produceStream(size)
	}
	frame, err := c.in.whole(size)
	if err != nil {
		return err
	}
	err = c.handle(frame)
	c.in.discard()
	if err == nil {
		c.afterHandler() // last: a client that is slow to take an answer holds no memory that others wait for
	}
	return err
}

// handle gives a request to its handler.
func (c *conn) handle(frame []byte) error {
	h, err := parseHeader(frame)
	if err != nil {
		return err
	}
	a := apis[h.key]
	if a == nil {
		return fmt.Errorf("API key %d is not known here", h.key)
	}
	if h.version < a.min || h.version > a.max {
		return c.refuseVersion(a, h)
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
	return nil
}

// refuseVersion closes the connection, but answers a request that asks for the
// versions.
func (c *conn) refuseVersion(a *api, h header) error {
	if h.key != int16(kmsg.ApiVersions) {
		return fmt.Errorf("%s of version %d is not supported, only %d to %d", kmsg.NameForKey(h.key), h.version, a.min, a.max)
	}
	h.version = 0
	c.enqueue(h).reply(unsupportedVersion())
	return nil
}

const (
	// cheap is the cost of a request, in bytes, that is not counted.
	freeDecode = 64 << 10

	// decodeMemory is what all that is decoded may cost, in bytes; others wait. It is more
	// than the dearest request may, and apart from what frames take: a connection that
	// waits for this has a frame.
	decodeMemory = costFactor*maxWhole + 4*costSlack
)

// decode reads a request's fields. It returns what it has taken for them, to be given back.
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

// awaitQueue waits while too many requests are not answered yet, or the latest has to wait for
// its turn: what follows would change what it is about. It reports false if the connection
// has ended.
func (c *conn) awaitQueue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cancelled := false; (len(c.queue) >= broker.InFlight || c.latestWaits()) && !c.ended; {
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

// latestWaits says whether the latest request waits for its turn, or has it and is not
// settled yet. The caller holds mu.
func (c *conn) latestWaits() bool {
	if len(c.queue) == 0 {
		return false
	}
	latest := c.queue[len(c.queue)-1]
	return latest.waited && !latest.completed
}

// interrupt says that the server stops: it ends a read that waits, now or later, and
// what waits for something to happen.
func (c *conn) interrupt() {
	c.mu.Lock()
	c.stopping = true
	c.changed.Broadcast()
	c.mu.Unlock()
	c.giveUp()
	c.net.Interrupt()
}

// close lets go of everything. It is called once, by the connection's goroutine.
func (c *conn) close() {
	c.abort(io.EOF)
	c.mu.Lock()
	for c.writing {
		c.changed.Wait()
	}
	c.mu.Unlock()
	c.in.free()
}
