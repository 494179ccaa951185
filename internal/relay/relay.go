// Package relay serves producers of lines on a node of a cluster, whichever node owns the topics. It sends what they publish
// to the owner, numbered, and keeps it until it is acknowledged. When another node becomes the owner it sends the rest
// there: clients do not notice, nothing is stored twice, and their order stays.
//
// The way of the bytes: client.go reads them from the client into a backlog, session.go is what an owner's server reads
// from, and where its answers go. A client has one session after the other.
package relay

import (
	"context"
	"log/slog"
	"net"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// Options configure New.
type Options struct {
	Limits broker.Limits // of the owner's server, too

	// Lead has a connection served by the owner, as tcpserver.Dispatcher.Lead does.
	Lead func(tcpserver.Conn) error

	// Refusal is the line for a client that is not served, because of an error of package tcpserver or ErrMemory.
	Refusal func(error) string

	Log *slog.Logger
}

// A Relay serves the producers' port of a node. Any goroutine may call its methods.
type Relay struct {
	o      Options
	conns  *tcpserver.Conns[*client]
	memory *broker.Budget
	times  times
	freeze *tcpserver.FreezeWatch
}

// Limits of a Relay.
const (
	// window is what a client may have sent that is not acknowledged, in bytes, unless it is a single message: as much as is on
	// its way while the owner's disks sync, and little to send again.
	window = 4 << 20

	// waitingWindow is the same before the client has logged in, and aheadWindow what is not sent yet: an owner that is
	// away, or refuses a message that is too large, has no more of it waiting here.
	waitingWindow = 48 << 10
	aheadWindow   = 1 << 20
)

// times are those of a Relay. Tests have others.
type times struct {
	patience              time.Duration // how long what a client has sent may wait for an owner
	firstPause, lastPause time.Duration // between two sessions, if the first of them has ended at once
	frozen                time.Duration // this process must have stood still for clients to have sent elsewhere what lies there unread
}

// usualTimes have more patience than an election takes.
var usualTimes = times{patience: 30 * time.Second, firstPause: 20 * time.Millisecond, lastPause: time.Second, frozen: 10 * time.Second}

// New serves nothing yet.
func New(o Options) *Relay { return newRelay(o, usualTimes) }

func newRelay(o Options, t times) *Relay {
	r := &Relay{
		o: o, times: t, memory: broker.NewBudget(o.Limits.MaxInFlight),
		conns: tcpserver.NewConns[*client](o.Log, tcpserver.Limits{
			Connections: o.Limits.MaxConnections, PerAddress: o.Limits.MaxPerAddress, Handshake: o.Limits.RequestTime,
		}),
	}
	r.freeze = tcpserver.WatchFreezes(t.frozen, func() { r.conns.Each((*client).cutOff) })
	return r
}

// Serve takes clients from l until Stop.
func (r *Relay) Serve(l net.Listener) {
	r.conns.Serve(l, func(conn tcpserver.Conn) {
		c := newClient(r, conn)
		switch err := r.conns.Start(c, conn, c.run); err {
		case nil:
		case tcpserver.ErrStopped:
			conn.Close()
		default:
			r.conns.Refuse(conn, r.o.Refusal(err))
		}
	})
}

// Stop has no more clients taken. Each has what it has sent until then acknowledged, and gets that this node stops. When the
// context ends the rest is cut off.
func (r *Relay) Stop(ctx context.Context) {
	r.conns.Stop(ctx, (*client).interrupt, (*client).cutOff)
	r.freeze.Stop()
}
