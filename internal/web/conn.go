package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/publish"
	"mbus/internal/tcpserver"
)

// A conn is a connection as net/http wants it.
type conn struct {
	net       tcpserver.Conn
	mu        sync.Mutex    // guards in, when net/http has the connection
	in        publish.Input // what was read before, and is not used yet
	writeTime time.Duration // in which the client must take something
	client    broker.Client
	login     atomic.Pointer[login]         // of the latest request that was admitted; nil for none
	use       atomic.Pointer[tcpserver.Use] // nil between requests
	finishes  atomic.Bool                   // a stop of the broker lets its request go on for a while
	serves    bool                          // an operation answers; for the goroutine of the requests
	wrong     string                        // see takeWrong; for the same goroutine
	sends     atomic.Bool                   // the client may go on with a body behind the answer
	once      sync.Once
	ended     chan struct{} // closed by Close and handOver
	rest      func()        // that goes on with a connection that was handed over
}

func newConn(nc tcpserver.Conn, writeTime time.Duration, memory *broker.Budget) *conn {
	return &conn{net: nc, in: publish.NewInput(memory), writeTime: writeTime, ended: make(chan struct{})}
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

// Read gives first what was read before.
func (c *conn) Read(p []byte) (int, error) {
	if n := c.readAgain(p); n > 0 {
		return n, nil
	}
	return c.net.Read(p)
}

func (c *conn) readAgain(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := copy(p, c.in.Bytes())
	if n > 0 {
		c.in.Skip(n)
		c.in.Idle()
	}
	return n
}

// free gives the memory back of what was read and not used.
func (c *conn) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in.Free()
}

// Write writes an answer, or a part of one.
func (c *conn) Write(p []byte) (int, error) {
	if !c.serves { // net/http writes its answer whole
		_, err := c.write(toAnswer(p))
		return len(p), err
	}
	return c.write(p)
}

// write fails if the client takes nothing for the write time; it may take long for everything.
func (c *conn) write(p []byte) (int, error) {
	n, err := c.net.Write(p, c.writeTime/4) // which costs less, and is nearly always enough
	if errors.Is(err, os.ErrDeadlineExceeded) {
		var more int64
		more, err = c.net.WriteAll(c.writeTime, p[n:])
		n += int(more)
	}
	return n, err
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
