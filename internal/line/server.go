// Package line serves the line protocol of PROTOCOL.md: producers on one port,
// consumers on another. It owns the connections, how requests and messages look
// on the wire, and the judgement whether a consumer has read to the end.
package line

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"

	"mbus/internal/accept"
	"mbus/internal/broker"
)

// A Server serves both ports of one broker.
type Server struct {
	broker *broker.Broker
	log    *slog.Logger
	turns  *turns

	mu        sync.Mutex // guards what follows
	listeners []net.Listener
	conns     map[*conn]struct{}
	stopping  bool
	full      bool // said already that there are too many connections

	loads    chan struct{}  // holds as many as there are senders that have loaded something
	refusing chan struct{}  // holds as many as are being refused
	stopped  chan struct{}  // closed when the server is told to stop
	running  sync.WaitGroup // connections
}

// NewServer serves nothing yet.
func NewServer(b *broker.Broker) *Server {
	return &Server{
		broker: b, log: b.Log, turns: newTurns(), conns: make(map[*conn]struct{}),
		loads: make(chan struct{}, broker.Loads), refusing: make(chan struct{}, refusals), stopped: make(chan struct{}),
	}
}

// ServeProducers takes producers' connections from l until Stop.
func (s *Server) ServeProducers(l net.Listener) { s.serve(l, (*conn).produce) }

// ServeConsumers takes consumers' connections from l until Stop.
func (s *Server) ServeConsumers(l net.Listener) { s.serve(l, (*conn).consume) }

func (s *Server) serve(l net.Listener, handle func(*conn) error) {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	if s.stopping { // before it has begun
		l.Close()
	}
	s.mu.Unlock()
	accept.Each(l, s.log, func(nc net.Conn) { s.start(nc.(*net.TCPConn), handle) })
}

// start runs a connection in a goroutine of its own, if there is room for it.
func (s *Server) start(tcp *net.TCPConn, handle func(*conn) error) {
	c := newConn(s, tcp)
	s.mu.Lock()
	room := len(s.conns) < s.broker.Limits.MaxConnections
	stopping := s.stopping
	if room && !stopping {
		s.conns[c] = struct{}{}
		s.running.Add(1)
	}
	first := !room && !s.full
	s.full = !room
	s.mu.Unlock()
	switch {
	case stopping:
		tcp.Close()
	case !room:
		if first {
			s.log.Warn("too many connections", "limit", s.broker.Limits.MaxConnections)
		}
		s.refuse(c)
	default:
		go s.run(c, handle)
	}
}

// run serves a connection to its end. A panic ends that connection only.
func (s *Server) run(c *conn, handle func(*conn) error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic in a connection", "client", c.tcp.RemoteAddr(), "reason", r, "stack", string(debug.Stack()))
			c.say("-INTERNAL an error in the broker, which it has logged\n")
			c.tcp.Close()
		}
		c.in.free()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.running.Done()
	}()
	err := handle(c)
	var answer *answerError
	switch {
	case errors.As(err, &answer):
		c.sayLast(answer.line())
	case err != nil:
		s.log.Debug("connection lost", "client", c.tcp.RemoteAddr(), "reason", err)
		c.reset()
	default:
		c.keep()
	}
	c.tcp.Close()
}

// Stop ends the server: no more connections are taken, producers' messages that
// have come are answered, consumers may go on until the context ends. Then what
// is left is cut off.
func (s *Server) Stop(ctx context.Context) {
	s.mu.Lock()
	if !s.stopping {
		close(s.stopped)
	}
	s.stopping = true
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		if !c.finishes {
			c.interrupt()
		}
	}
	s.mu.Unlock()
	accept.Await(ctx, &s.running, s.cutOff)
}

func (s *Server) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.reset()
		c.tcp.Close()
	}
}

// finish lets c go on for a while when the server stops. It reports false if it
// is stopping already.
func (s *Server) finish(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.finishes = true
	return !s.stopping
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}
