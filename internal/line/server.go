// Package line serves the line protocol of PROTOCOL.md: producers on one port,
// consumers on another. It owns the connections, how requests and messages look
// on the wire, and the judgement whether a consumer has read to the end.
package line

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync/atomic"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/tcpserver"
)

// A Server serves both ports of one broker.
type Server struct {
	Node int32 // this broker's number; it may be set before anything is served

	broker *broker.Broker
	log    *slog.Logger
	hub    *delivery.Hub
	conns  *tcpserver.Conns[*conn]
	latest atomic.Uint64 // number of a connection
}

// NewServer serves nothing yet.
func NewServer(b *broker.Broker) *Server {
	return &Server{
		Node: 1, broker: b, log: b.Log, hub: delivery.NewHub(b),
		conns: tcpserver.NewConns[*conn](b.Log, tcpserver.Limits{
			Connections: b.Limits.MaxConnections, PerAddress: b.Limits.MaxPerAddress, Handshake: b.Limits.RequestTime,
		}),
	}
}

// ServeProducers takes producers' connections from l until Stop.
func (s *Server) ServeProducers(l net.Listener) { s.serve(l, broker.Producers, (*conn).produce) }

// ServeConsumers takes consumers' connections from l until Stop.
func (s *Server) ServeConsumers(l net.Listener) { s.serve(l, broker.Consumers, (*conn).consume) }

func (s *Server) serve(l net.Listener, port broker.Port, handle func(*conn) error) {
	s.conns.Serve(l, func(nc tcpserver.Conn) {
		if !s.take(nc, port, handle) {
			nc.Close()
		}
	})
}

// TakeProducer serves a producer's connection that another has accepted, of which nothing has been read, as
// ServeProducers does. It returns at once. It reports false, and leaves the connection to the caller, if the server
// has been stopped.
func (s *Server) TakeProducer(nc tcpserver.Conn) bool {
	return s.take(nc, broker.Producers, (*conn).produce)
}

// TakeConsumer serves a consumer's connection, as TakeProducer does a producer's.
func (s *Server) TakeConsumer(nc tcpserver.Conn) bool {
	return s.take(nc, broker.Consumers, (*conn).consume)
}

func (s *Server) take(nc tcpserver.Conn, port broker.Port, handle func(*conn) error) bool {
	stats := s.broker.Stats.Connections(port)
	c := newConn(s, nc)
	err := s.conns.Start(c, nc, func() {
		defer stats.Begin()()
		s.debug(c, "connected", "port", port)
		s.run(c, handle)
	})
	switch err {
	case nil:
		return true
	case tcpserver.ErrStopped:
		return false
	}
	stats.Refused.Add(1)
	s.debug(c, "refused", "port", port, "reason", err)
	s.conns.Refuse(nc, Refusal(err))
	return true
}

// Refusal is the line for a client that is not served, because of an error of package tcpserver.
func Refusal(err error) string {
	code := "BUSY"
	switch err {
	case tcpserver.ErrPlain:
		code = "DENIED"
	case tcpserver.ErrStopped, tcpserver.ErrNoOwner:
		code = "SHUTDOWN"
	}
	return "-" + code + " " + err.Error() + "\n"
}

// run serves a connection to its end. A panic ends that connection only.
func (s *Server) run(c *conn, handle func(*conn) error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic in a connection", "client", c.net.RemoteAddr(), "reason", r, "stack", string(debug.Stack()))
			c.writeLine("-INTERNAL an error in the broker, which it has logged\n")
			c.net.Close()
		}
		c.in.Free()
	}()
	err := handle(c)
	var answer *errorLine
	switch {
	case errors.As(err, &answer):
		c.writeLast(answer.line())
	case err != nil:
		c.net.ResetOnClose(true)
	default:
		c.net.ResetOnClose(false)
	}
	c.net.Close()
	s.debug(c, "disconnected", "reason", cmp.Or(err, errDone))
}

// errDone is the reason where a connection has ended as it should.
var errDone = errors.New("done")

// debug logs what a connection does.
func (s *Server) debug(c *conn, msg string, args ...any) {
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug(msg, append([]any{"client", c.net.RemoteAddr()}, args...)...)
	}
}

// Stop ends the server: no more connections are taken, producers' messages that
// have come are answered, consumers may go on until the context ends. Then what
// is left is cut off.
func (s *Server) Stop(ctx context.Context) {
	interrupt := func(c *conn) {
		if !c.finishes.Load() {
			c.net.Interrupt()
		}
	}
	s.hub.Stop()
	s.conns.Stop(ctx, interrupt, func(c *conn) { c.net.Abort() })
}

// finish lets c go on for a while when the server stops. It reports false if it
// is stopping already.
func (s *Server) finish(c *conn) bool {
	c.finishes.Store(true)
	return !s.isStopping()
}

func (s *Server) isStopping() bool { return s.conns.IsStopping() }
