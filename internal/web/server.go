// Package web serves HTTP: publish, consume, work by leases, operate, observe, and the page for
// browsers. It owns the operations, which the OpenAPI document is made of too, how errors look
// (RFC 9457), and the guard against browsers' requests from other sites. Topics and groups are
// those of the other fronts.
//
// The way of a request: operation.go finds its operation, guard.go checks where it comes from, and
// the operation's function answers it. Plain publishes have a shorter one, in plainserve.go.
package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/tcpserver"
)

// Options are the settings of a Server.
type Options struct {
	// NodeID is this broker's number in messages as JSON.
	NodeID int32
	// Hosts are names, beside addresses of this machine, by which browsers may reach the broker.
	Hosts []string
	// Debug serves /debug/pprof.
	Debug bool
	// Version is the broker's; Ports are the addresses of all listeners by protocol. Both are
	// only shown.
	Version string
	Ports   map[string]string
	// SyncEvery is the interval of syncs if messages are acknowledged before they are
	// synced; 0 if they are synced first. It is only shown.
	SyncEvery time.Duration
	// Fronts are the servers of the other protocols.
	Fronts []Front
	// Cluster is what this broker is a node of; nil if it is alone.
	Cluster Cluster
}

// A Front is a server whose connections are shown, and closed on request.
type Front interface {
	Connections() []tcpserver.Connection
	Disconnect(id uint64) bool // resets the connection; false if there is none
}

// A Server serves one port, or several, of one broker.
type Server struct {
	broker   *broker.Broker
	log      *slog.Logger
	opts     Options
	hub      *delivery.Hub
	conns    *tcpserver.Conns[*conn]
	guard    *guard
	router   *router
	http     *http.Server
	queue    *queue    // of connections for http
	serves   sync.Once // http takes them
	plain    *plainServer
	surveys  surveys
	sessions *sessions     // of the page
	turns    atomic.Uint64 // requests with numbered messages
	series   int           // partitions, and positions, of which /metrics has series; the constant, but in tests
}

// NewServer serves nothing yet.
func NewServer(b *broker.Broker, o Options) *Server {
	s := &Server{
		broker: b, log: b.Log, opts: o, hub: delivery.NewHub(b),
		conns: tcpserver.NewConns[*conn](b.Log, tcpserver.Limits{
			Connections: b.Limits.MaxConnections, PerAddress: b.Limits.MaxPerAddress, Handshake: b.Limits.HTTPHeaderTime,
		}),
		guard:  newGuard(o.Hosts),
		router: newRouter(operations()),
		queue:  newQueue(), sessions: newSessions(), series: broker.MetricPartitions,
	}
	s.router.count(&b.Stats)
	s.plain = newPlainServer(s)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: b.Limits.HTTPHeaderTime,
		IdleTimeout:       b.Limits.HTTPIdleTime,
		MaxHeaderBytes:    broker.HTTPHeader,
		ErrorLog:          slog.NewLogLogger(debugOnly{b.Log.Handler()}, slog.LevelDebug),
		ConnContext:       withConn,
		ConnState:         betweenRequests,

		DisableGeneralOptionsHandler: true, // it would answer without the guard, and wait for a body for ever
	}
	return s
}

// Serve takes connections from l until Stop.
func (s *Server) Serve(l net.Listener) {
	s.conns.Serve(l, func(nc tcpserver.Conn) {
		if !s.Take(nc) {
			nc.Close()
		}
	})
}

// Take serves a connection that another has accepted, of which nothing has been read, as Serve does. It returns at
// once. It reports false, and leaves the connection to the caller, if the server has been stopped.
func (s *Server) Take(nc tcpserver.Conn) bool {
	s.serves.Do(func() { go s.http.Serve(s.queue) }) // an error is that the queue is closed
	stats := s.broker.Stats.Connections(broker.HTTP)
	c := newConn(nc, s.broker.Limits.WriteTime, &s.broker.Budget)
	c.client = broker.NewClient(nc)
	err := s.conns.Start(c, nc, func() {
		defer stats.Begin()()
		defer c.free()
		if s.plain.serve(c) {
			s.queue.serve(c)
		}
	})
	switch err {
	case nil:
		return true
	case tcpserver.ErrStopped:
		return false
	}
	stats.Refused.Add(1)
	s.conns.Refuse(nc, Refusal(err))
	return true
}

// Refusal is the answer to a connection that is not served, because of an error of package tcpserver.
func Refusal(err error) string {
	p := &problem{Status: http.StatusServiceUnavailable, Code: "BUSY", Detail: err.Error()}
	switch err {
	case tcpserver.ErrPlain:
		p.Status, p.Code = http.StatusBadRequest, "BADREQUEST"
	case tcpserver.ErrStopped, tcpserver.ErrNoOwner:
		p.Code = "SHUTDOWN"
	}
	return string(p.answer())
}

// Stop ends the server: no more connections are taken, requests that wait end, and others may go on until
// the context ends. Then the rest is cut off.
func (s *Server) Stop(ctx context.Context) {
	s.hub.Stop()
	s.http.SetKeepAlivesEnabled(false) // closes connections without a request
	s.conns.Stop(ctx, func(c *conn) {
		if !c.finishes.Load() {
			c.net.Interrupt()
		}
	}, func(c *conn) { c.net.Abort() })
	s.hub.CloseLeases()
	s.queue.Close()
}

func (s *Server) isStopping() bool { return s.conns.IsStopping() }

// A queue has connections for an http.Server, which takes them from a net.Listener.
type queue struct {
	conns  chan *conn
	closed chan struct{}
}

func newQueue() *queue { return &queue{make(chan *conn), make(chan struct{})} }

// serve has c served, and returns when that has ended.
func (q *queue) serve(c *conn) {
	select {
	case q.conns <- c:
		<-c.ended
		if c.rest != nil {
			c.rest()
		}
	case <-q.closed:
		c.Close()
	}
}

// Accept is net.Listener's.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, io.EOF
	}
}

// Close is net.Listener's.
func (q *queue) Close() error {
	select {
	case <-q.closed:
		return errors.New("closed twice")
	default:
		close(q.closed)
		return nil
	}
}

// Addr is net.Listener's.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

// debugOnly logs at debug level: errors of clients are no errors of the broker.
type debugOnly struct{ slog.Handler }

func (d debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}
