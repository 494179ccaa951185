// Package gate serves HTTP on a node of a cluster, whichever node owns the topics. Each request is judged by itself, also
// where a connection has many: the node answers what is about the node, and the owner all else. A request that may be sent
// again, because nothing is changed by it or because it has an idempotency key, is sent to the next owner when the
// one before has not begun to answer.
//
// The way of a request: client.go reads its head and decides, exchange.go follows it and its answer to their ends, and
// session.go is what an owner's server reads from and writes to. A request for messages gets the client's own connection: its
// close shows that the client has read them.
package gate

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// Options configure New.
type Options struct {
	Limits broker.Limits // of the owner's server, too

	// Lead has a connection served by the owner, as tcpserver.Dispatcher.Lead does.
	Lead func(tcpserver.Conn) error

	// Local answers requests about this node; nil says that the owner answers.
	Local func(r *http.Request, client tcpserver.Conn) http.Handler

	// Refusal is the answer to a request that no owner has got, because of an error of package tcpserver.
	Refusal func(error) string

	Log *slog.Logger
}

// A Gate serves the HTTP port of a node. Any goroutine may call its methods.
type Gate struct {
	o       Options
	memory  *broker.Budget // for requests that may be sent again
	times   times
	freeze  *tcpserver.FreezeWatch
	running sync.WaitGroup

	mu       sync.Mutex // guards clients, and stopping while that is set
	clients  map[*client]struct{}
	stopping atomic.Bool
}

// times are those of a Gate. Tests have others.
type times struct {
	patience time.Duration // how long a request may wait for an owner
	pause    time.Duration // before a request is sent again
	frozen   time.Duration // this process must have stood still for what clients have sent to be old
}

var usualTimes = times{patience: 30 * time.Second, pause: 20 * time.Millisecond, frozen: 10 * time.Second}

// New serves nothing yet.
func New(o Options) *Gate { return newGate(o, usualTimes) }

func newGate(o Options, t times) *Gate {
	g := &Gate{o: o, memory: broker.NewBudget(o.Limits.MaxInFlight / 4), times: t, clients: make(map[*client]struct{})}
	g.freeze = tcpserver.WatchFreezes(t.frozen, g.cutOff)
	return g
}

// Take serves a client that a Dispatcher has let in. It returns at once. It reports false, and leaves the connection to
// the caller, if the Gate has been stopped.
func (g *Gate) Take(conn tcpserver.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping.Load() {
		return false
	}
	c := newClient(g, conn)
	g.clients[c] = struct{}{}
	g.running.Go(func() {
		defer g.remove(c)
		c.run()
	})
	return true
}

func (g *Gate) remove(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.clients, c)
}

// Stop has no more clients taken, and no more requests begin. When the context ends those that go on are cut off.
func (g *Gate) Stop(ctx context.Context) {
	g.mu.Lock()
	g.stopping.Store(true)
	for c := range g.clients {
		c.interrupt()
	}
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		g.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		g.cutOff()
		<-ended
	}
	g.freeze.Stop()
}

// cutOff resets all clients.
func (g *Gate) cutOff() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.clients {
		c.cutOff()
	}
}
