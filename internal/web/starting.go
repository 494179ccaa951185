package web

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// startingPatience bounds the time of the last answers of ServeStarting, which are short.
const startingPatience = time.Second

// ServeStarting answers health checks while the broker recovers, and refuses all other requests, so that whatever
// watches over the process does not take a long recovery for its death. stop leaves the listener for a Server,
// and lets the answers under way end in the background. With config, clients may use TLS, and those of other machines
// must; it is nil without TLS.
func ServeStarting(l net.Listener, config *tls.Config, limits broker.Limits, version string) (stop func()) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return func() {} // clients wait
	}
	s := &http.Server{
		Handler: starting(version), ReadHeaderTimeout: limits.HTTPHeaderTime, ReadTimeout: limits.HTTPHeaderTime, WriteTimeout: limits.HTTPHeaderTime,
		MaxHeaderBytes: broker.HTTPHeader, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	s.SetKeepAlivesEnabled(false)
	served := make(chan struct{})
	go func() {
		_ = s.Serve(borrowed{tcp, config}) // the error is that it is given back
		close(served)
	}()
	return func() {
		_ = tcp.SetDeadline(time.Unix(1, 0)) // ends the Accept that waits
		<-served
		_ = tcp.SetDeadline(time.Time{})
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), startingPatience)
			defer cancel()
			if s.Shutdown(ctx) != nil {
				s.Close()
			}
		}()
	}
}

// A borrowed listener stays open. A deadline ends it.
type borrowed struct {
	*net.TCPListener
	config *tls.Config // nil without TLS
}

func (b borrowed) Accept() (net.Conn, error) {
	conn, err := b.TCPListener.Accept()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, io.EOF // or http.Server would go on
	case err != nil || b.config == nil:
		return conn, err
	}
	return &startingConn{Conn: conn, config: b.config}, nil
}

// A startingConn becomes one over TLS if it begins with a handshake.
type startingConn struct {
	net.Conn
	config *tls.Config
	begun  net.Conn                 // what is read and written; nil before the first byte
	tls    atomic.Pointer[tls.Conn] // nil if it is none
}

// Read decides, with the first byte. The HTTP server writes nothing before.
func (c *startingConn) Read(p []byte) (int, error) {
	if c.begun != nil {
		return c.begun.Read(p)
	}
	const handshake = 0x16 // RFC 8446, section 5.1
	first := make([]byte, 1)
	if _, err := io.ReadFull(c.Conn, first); err != nil {
		return 0, err
	}
	again := &resumed{Conn: c.Conn, rest: first}
	switch {
	case first[0] == handshake:
		c.tls.Store(tls.Server(again, c.config))
		c.begun = c.tls.Load()
	case c.LocalAddr().(*net.TCPAddr).IP.IsLoopback():
		c.begun = again
	default:
		return 0, tcpserver.ErrPlain
	}
	return c.begun.Read(p)
}

func (c *startingConn) Write(p []byte) (int, error) {
	if c.begun == nil {
		return 0, tcpserver.ErrPlain
	}
	return c.begun.Write(p)
}

func (c *startingConn) Close() error {
	if over := c.tls.Load(); over != nil {
		return over.Close()
	}
	return c.Conn.Close()
}

// A resumed connection gives what was read of it once more.
type resumed struct {
	net.Conn
	rest []byte
}

func (c *resumed) Read(p []byte) (n int, err error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(p)
	}
	n = copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (b borrowed) Close() error { return nil }

const recovering = "The broker reads its data directory after a start, and serves when that is done."

// starting answers requests of the time before recovery is done.
func starting(version string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		setPolicies(w.Header())
		c := &call{w: &writer{ResponseWriter: w}, r: r}
		switch r.URL.Path {
		case "/livez":
			_ = alive(c) // an error is that the client has gone
		case "/healthz":
			_ = c.json(http.StatusServiceUnavailable, healthReport{
				Status: statusFailed, Version: version, Checks: []checkResult{{broker.CheckRecovery, statusFailed, recovering}},
			})
		default:
			(&problem{Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: recovering}).write(w)
		}
	}
}
