package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/tcpserver"
)

// A conn is a connection as net/http wants it.
type conn struct {
	net       tcpserver.Conn
	writeTime time.Duration                 // in which the client must take something
	use       atomic.Pointer[tcpserver.Use] // nil between requests
	finishes  atomic.Bool                   // a stop of the broker lets its request go on for a while
	serves    bool                          // an operation answers; for the goroutine of the requests
	sends     atomic.Bool                   // the client may go on with a body behind the answer
	once      sync.Once
	ended     chan struct{} // closed by Close and handOver
	rest      func()        // that goes on with a connection that was handed over
}

func newConn(nc tcpserver.Conn, writeTime time.Duration) *conn {
	return &conn{net: nc, writeTime: writeTime, ended: make(chan struct{})}
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection of a request that a Server serves.
func connOf(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }

// betweenRequests is http.Server's ConnState.
func betweenRequests(nc net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		nc.(*conn).serves = false
	}
}

func (c *conn) Read(p []byte) (int, error) { return c.net.Read(p) }

// Write fails if the client takes nothing for the write time; it may take long for everything.
func (c *conn) Write(p []byte) (int, error) {
	if !c.serves { // net/http writes its answer whole
		_, err := c.net.WriteAll(c.writeTime, toAnswer(p))
		return len(p), err
	}
	n, err := c.net.WriteAll(c.writeTime, p)
	return int(n), err
}

// Close closes in good order, the first time that it is called.
func (c *conn) Close() (err error) {
	c.once.Do(func() {
		if c.sends.Load() {
			tcpserver.Linger(c.net)
		}
		err = c.net.Close()
		close(c.ended)
	})
	return err
}

// handOver ends the use of a connection by net/http, which has given it away, and has rest go on with it.
// What net/http holds for a request is free when the handler has returned.
func (c *conn) handOver(rest func()) {
	c.rest = rest
	close(c.ended)
}

// rests ends the use of a connection by a request, unless that goes on behind it.
func (c *conn) rests() {
	if c.rest == nil {
		c.use.Store(nil)
	}
}

func (c *conn) CloseWrite() error    { return c.net.CloseWrite() }
func (c *conn) LocalAddr() net.Addr  { return c.net.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.net.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline does nothing: each write has a limit.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
