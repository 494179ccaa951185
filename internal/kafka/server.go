// Package kafka serves the Kafka protocol: every client and tool that speaks it
// works on the same topics, and the same positions of groups, as the line
// protocol. KAFKA.md, made from the registry of this package, says which
// requests are answered and in which versions.
//
// A request's way: conn.go reads its frame, handler.go finds its handler, the
// handler (one file per API key) answers at once or later, and replies.go writes
// the answers in the order of the requests.
package kafka

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// Options are what NewServer may be told.
type Options struct {
	// Advertise is the host:port for clients to connect to; "" for
	// the address that a connection came in on.
	Advertise string
	// NodeID is this broker's number in answers; 0 or more.
	NodeID int32
	// ClusterID names the cluster in answers; "" for "mbus".
	ClusterID string
	// RebalanceDelay is how long the first members of a group wait for more.
	RebalanceDelay time.Duration
	// MinSession is the shortest session timeout that a member may ask for; 0 for
	// DefaultMinSession.
	MinSession time.Duration
	// SyncEvery is how often messages are synced that are acknowledged before; 0 if
	// each is synced before. It is shown to clients, no more.
	SyncEvery time.Duration
}

// Bounds of session timeouts: the default of the lower one is Kafka's.
const (
	DefaultMinSession = 6 * time.Second
	MaxSession        = 30 * time.Minute
)

// A Server serves one port, or several, of one broker.
type Server struct {
	broker   *broker.Broker
	log      *slog.Logger
	opts     Options
	groups   groups // what the handlers of consumer groups need
	conns    *tcpserver.Conns[*conn]
	decoding *broker.Budget // for what is decoded
	maxWhole int            // bytes up to which a frame is read whole
	reported atomic.Int64   // when reportLoss has logged, in nanoseconds since 1970
	short    atomic.Int64   // when reportShortage has
}

// NewServer serves nothing yet.
func NewServer(b *broker.Broker, o Options) *Server {
	if o.ClusterID == "" {
		o.ClusterID = "mbus"
	}
	if o.MinSession == 0 {
		o.MinSession = DefaultMinSession
	}
	s := &Server{broker: b, log: b.Log, opts: o, decoding: broker.NewBudget(decodeMemory), maxWhole: maxWhole, conns: tcpserver.NewConns[*conn](b.Log, b.Limits.MaxConnections, b.Limits.RequestTime)}
	s.groups = newGroups(s)
	return s
}

// Serve takes connections from l until Stop. Kafka has no words for "too many
// connections": one more is closed.
func (s *Server) Serve(l net.Listener) {
	s.conns.Serve(l, func(nc tcpserver.Conn) {
		c := newConn(s, nc)
		if err := s.conns.Start(c, nc, func() { s.serveConn(c) }); err != nil {
			s.debug(c, "refused", "port", "kafka", "reason", err)
			nc.Close()
		}
	})
}

// serveConn serves a connection to its end. A panic ends that connection only.
func (s *Server) serveConn(c *conn) {
	defer func() {
		if r := recover(); r != nil {
			s.panicked(c, r)
		}
		c.close()
	}()
	s.debug(c, "connected", "port", "kafka")
	err := c.serve()
	s.debug(c, "disconnected", "reason", cmp.Or(err, errDone))
}

// errDone is the reason where a client has closed its connection.
var errDone = errors.New("done")

// debug logs what a connection does.
func (s *Server) debug(c *conn, msg string, args ...any) {
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug(msg, append([]any{"client", c.net.RemoteAddr()}, args...)...)
	}
}

func (s *Server) panicked(c *conn, reason any) {
	s.log.Error("panic in a connection", "client", c.net.RemoteAddr(), "reason", reason, "stack", string(debug.Stack()))
}

// shortageEvery is the least time between two log lines about requests that wait for memory.
const shortageEvery = time.Minute

// reportShortage logs that a request waits for memory.
func (s *Server) reportShortage() {
	now := time.Now().UnixNano()
	last := s.short.Load()
	if now-last < int64(shortageEvery) || !s.short.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("Kafka clients' requests wait for memory: those that have begun to come take all of it, in bytes",
		"limit", s.broker.Limits.MaxInFlight)
}

// Stop ends the server: no more requests are taken, those that have come are
// answered. When the context ends, what is left is cut off.
func (s *Server) Stop(ctx context.Context) {
	s.conns.Stop(ctx, (*conn).interrupt, func(c *conn) { c.abort(context.Canceled) })
	s.groups.stop()
}

func (s *Server) isStopping() bool { return s.conns.IsStopping() }
