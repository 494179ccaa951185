package jetstream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options say how an Engine runs.
type Options struct {
	Dir       string      // for the engine alone
	Node      int32       // number of this node, above 0
	Cluster   string      // host:port on which the other nodes' routes are accepted
	Peers     []string    // host:port of all nodes' routes, this node's too; none: a node alone, for tests
	Advertise string      // host:port that the other nodes get, in place of Cluster
	TLS       *tls.Config // for both sides of a route; nil: only loopback addresses are taken
	Replicas  int         // of each stream: 1, 3 or 5
	Failover  time.Duration
	Log       *slog.Logger
}

// check fails if a cluster can't run so.
func (o *Options) check() error {
	switch {
	case o.Node < 1:
		return fmt.Errorf("node %d: the numbers of nodes begin with 1", o.Node)
	case o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		return fmt.Errorf("%d replicas: choose 3 or 5", o.Replicas)
	case len(o.Peers) == 0:
		return nil
	}
	for _, address := range append([]string{o.Cluster}, o.Peers...) {
		host, _, err := splitAddress(address)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); o.TLS == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("%q is not an address of loopback: other machines can be reached with a cluster key only", address)
		}
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no address of a node: the port must be a number from 1 to 65535", address)
	}
	return host, port, nil
}

// An Engine is this node's part of the engine: an embedded server, and connections to it. Messages and
// calls between nodes work from Start on; the catalog and the streams when Ready has returned.
type Engine struct {
	o        Options
	log      *slog.Logger
	dir      *directory
	password string // of this process's connections

	server atomic.Pointer[embedded] // another one from the moment on in which this node joins its cluster

	*streams
	*meta
	// A large answer makes a slow consumer of a connection, so that appends, reads and calls have one each.
	publish, read, system *nats.Conn

	member *member

	ctx   context.Context // until Stop
	end   context.CancelFunc
	tasks tasks // end with ctx
	stop  sync.Once
}

// Start starts the engine of this node. It returns before the cluster can be used: see Ready.
func Start(o Options) (*Engine, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := openDirectory(o.Dir, o.Node)
	if err != nil {
		return nil, err
	}
	setElections(o.Failover)
	e := &Engine{o: o, log: o.Log, dir: dir, password: rand.Text(), streams: &streams{replicas: o.Replicas}, member: newMember()}
	e.ctx, e.end = context.WithCancel(context.Background())
	e.meta = &meta{e.streams, e.ctx, &e.tasks}
	if err := e.start(); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// start starts the first server. That of a node alone is the last one, too.
func (e *Engine) start() error {
	alone := len(e.o.Peers) == 0
	if err := e.startServer(alone); err != nil {
		return err
	}
	if err := e.connect(); err != nil {
		return err
	}
	if err := e.answerHello(); err != nil {
		return err
	}
	e.tasks.start(e.run)
	return nil
}

// connect makes the connections of this process to its own server. They outlive a change of the server. The
// address only spares a look-up of its name.
func (e *Engine) connect() error {
	for _, c := range []struct {
		conn **nats.Conn
		user string
	}{{&e.publish, userName}, {&e.read, userName}, {&e.calls, userName}, {&e.system, systemName}} {
		conn, err := nats.Connect("nats://127.0.0.1", nats.SetCustomDialer(dialer{e}), nats.IgnoreDiscoveredServers(),
			nats.UserInfo(c.user, e.password), nats.IgnoreAuthErrorAbort(), nats.Timeout(startTime),
			nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
		if err != nil {
			return fmt.Errorf("the engine can't be reached in its own process: %w", err)
		}
		*c.conn = conn
	}
	return nil
}

// A dialer connects to the server that the engine has now.
type dialer struct{ e *Engine }

func (d dialer) Dial(string, string) (net.Conn, error) {
	address := d.e.server.Load().Addr()
	if address == nil {
		return nil, errors.New("the server takes no connections")
	}
	return net.Dial(address.Network(), address.String())
}

// Leads reports whether this node leads the stream of the internal logs, so that it is to be the owner
// of all topics. The embedded server answers from memory.
func (e *Engine) Leads() bool { return e.member.isReady() && e.leads(shardStream) }

func (e *Engine) leads(stream string) bool {
	return len(e.o.Peers) == 0 || e.server.Load().JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
}

// Stop ends what the engine does in this process, the server last, and waits for its end.
func (e *Engine) Stop() {
	e.stop.Do(func() {
		e.end()
		for _, c := range []*nats.Conn{e.publish, e.read, e.calls, e.system} {
			if c != nil {
				c.Close()
			}
		}
		e.tasks.wait()
		if s := e.server.Load(); s != nil {
			s.stop()
		}
		e.dir.close()
	})
}
