// Package kafka serves the Kafka protocol: every client and tool that speaks it
// works on the same topics, and the same positions of groups, as the line
// protocol. KAFKA.md lists the requests and their versions, from the registry of this package.
//
// The way of a request: conn.go reads its frame, handler.go finds its handler, the handler
// (one file per API key) completes the call at once or later, and responses.go writes the
// responses in the order of the requests.
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

// Options are the settings of a Server.
type Options struct {
	// Advertise is the host:port for clients to connect to; "" for the address on which
	// a connection was accepted.
	Advertise string
	// NodeID is this broker's number in responses; 0 or more.
	NodeID int32
	// ClusterID names the cluster in responses; "" for "mbus".
	ClusterID string
	// RebalanceDelay is the time that the first members of a group wait for more.
	RebalanceDelay time.Duration
	// MinSession is the shortest session timeout that a member may ask for; 0 for
	// DefaultMinSession.
	MinSession time.Duration
	// SyncEvery is the interval of syncs if messages are acknowledged before they are
	// synced; 0 if they are synced first. It is only shown to clients.
	SyncEvery time.Duration
}

// Limits of session timeouts. DefaultMinSession is Kafka's.
const (
	DefaultMinSession = 6 * time.Second
	MaxSession        = 30 * time.Minute
)

// A Server serves one port, or several, of one broker.
type Server struct {
	broker   *broker.Broker
	log      *slog.Logger
	opts     Options
	nodes    broker.Nodes // nil for a broker that is alone
	groups   groups       // for the handlers of consumer groups
	requests requestStats
	conns    *tcpserver.Conns[*conn]
	decoding *broker.Budget // for decoded requests
	maxWhole int            // size in bytes of the largest frame that is read whole
	reported atomic.Int64   // time of the latest log line of reportLoss, in nanoseconds since 1970
	short    atomic.Int64   // the same of reportShortage
}

// NewServer serves nothing yet.
func NewServer(b *broker.Broker, o Options) *Server {
	if o.ClusterID == "" {
		o.ClusterID = "mbus"
	}
	if o.MinSession == 0 {
		o.MinSession = DefaultMinSession
	}
	s := &Server{broker: b, log: b.Log, opts: o, nodes: b.Options().Nodes, decoding: broker.NewBudget(decodeMemory), maxWhole: maxWhole, conns: tcpserver.NewConns[*conn](b.Log, tcpserver.Limits{
		Connections: b.Limits.MaxConnections, PerAddress: b.Limits.MaxPerAddress, Handshake: b.Limits.RequestTime,
	})}
	s.groups, s.requests = newGroups(s), newRequestStats(b)
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
// once. It reports false, and leaves the connection to the caller, if the server has been stopped. Kafka has no words
// for "too many connections", or for a port that speaks TLS: such a connection is closed.
func (s *Server) Take(nc tcpserver.Conn) bool {
	c := newConn(s, nc)
	stats := s.broker.Stats.Connections(broker.Kafka)
	err := s.conns.Start(c, nc, func() {
		defer stats.Begin()()
		s.serveConn(c)
	})
	switch err {
	case nil:
		return true
	case tcpserver.ErrStopped:
		return false
	}
	stats.Refused.Add(1)
	s.debug(c, "refused", "port", "kafka", "reason", err)
	nc.Close()
	return true
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

// debug logs an event of a connection.
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
	s.log.Warn("Kafka clients' requests wait for memory",
		"bytes", s.broker.Limits.MaxInFlight)
}

// Stop ends the server: it reads no more requests and completes those that it has read. When
// the context ends, the remaining connections are aborted.
func (s *Server) Stop(ctx context.Context) {
	s.conns.Stop(ctx, (*conn).interrupt, func(c *conn) { c.abort(context.Canceled) })
	s.groups.stop()
}

func (s *Server) isStopping() bool { return s.conns.IsStopping() }
