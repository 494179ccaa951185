package jetstream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// MaxPayload bounds one message of the engine, in bytes. It holds a prefix and whole batches.
	MaxPayload = 8 << 20

	clusterName = "mbus" // of the engine's routes
	streamPath  = "jetstream"

	startTime = 30 * time.Second // for the embedded server to accept the connections of its own process
	noLimit   = 1 << 60          // bytes on disk: the engine is to go on until the disk is full
	memory    = 64 << 20         // bytes of streams in memory: there are none
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

// An Engine is this node's part of the engine: an embedded server and connections to it.
type Engine struct {
	o      Options
	log    *slog.Logger
	server *server.Server

	// A large answer makes a slow consumer of a connection, so that those who write, who read, and all
	// others have one each.
	publish, read, calls *nats.Conn

	ctx   context.Context // until Stop
	end   context.CancelFunc
	tasks tasks // end with ctx
	stop  sync.Once
}

// Start starts the embedded server. It answers before the cluster can be used: see Ready.
func Start(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setElections(o.Failover)
	password := rand.Text()
	so, err := serverOptions(&o, password)
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("the engine refuses its settings: %w", err)
	}
	logger := &serverLog{log: o.Log, fatal: make(chan string, 1)}
	s.SetLoggerV2(logger, false, false, false)
	e := &Engine{o: o, log: o.Log, server: s}
	e.ctx, e.end = context.WithCancel(context.Background())
	s.Start()
	if err := e.connect(logger, password); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// serverOptions gives the settings of the embedded server.
func serverOptions(o *Options, password string) (*server.Options, error) {
	so := &server.Options{
		ServerName: nodeName(o.Node),
		// Without a listener for clients the server starts no routes.
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoSigs:                 true,
		MaxPayload:             MaxPayload,
		JetStream:              true,
		StoreDir:               o.Dir,
		SyncAlways:             true,
		JetStreamMaxStore:      noLimit,
		JetStreamMaxMemory:     memory,
		DisableJetStreamBanner: true,
		Accounts:               []*server.Account{server.NewAccount(server.DEFAULT_SYSTEM_ACCOUNT)},
		SystemAccount:          server.DEFAULT_SYSTEM_ACCOUNT,
	}
	so.Users = []*server.User{
		{Username: userName, Password: password},
		{Username: systemName, Password: password, Account: so.Accounts[0]},
	}
	if len(o.Peers) == 0 {
		return so, nil
	}
	host, port, err := splitAddress(o.Cluster)
	if err != nil {
		return nil, err
	}
	so.Cluster = server.ClusterOpts{
		Name: clusterName, Host: host, Port: port, Advertise: o.Advertise,
		PingInterval: time.Second, MaxPingsOut: 3, // else a frozen node is noticed after more than a minute
	}
	if o.TLS != nil {
		so.Cluster.TLSConfig, so.Cluster.TLSTimeout = o.TLS, 5
	}
	for _, p := range o.Peers {
		if _, _, err := splitAddress(p); err != nil {
			return nil, err
		}
		so.Routes = append(so.Routes, &url.URL{Scheme: "nats-route", Host: p})
	}
	return so, nil
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

const (
	userName   = "mbus"
	systemName = "system"
)

// connect makes the connections of this process to its own server.
func (e *Engine) connect(logger *serverLog, password string) error {
	for !e.server.ReadyForConnections(10 * time.Millisecond) {
		select {
		case text := <-logger.fatal:
			return fmt.Errorf("the engine can't start: %s", text)
		case <-time.After(startTime):
			return errors.New("the engine takes no connections")
		default:
		}
	}
	for _, c := range []struct {
		conn **nats.Conn
		name string
	}{{&e.publish, "publish"}, {&e.read, "read"}, {&e.calls, "calls"}} {
		conn, err := nats.Connect(e.server.ClientURL(),
			nats.Name(c.name), nats.UserInfo(userName, password),
			nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
		if err != nil {
			return fmt.Errorf("the engine can't be reached in its own process: %w", err)
		}
		*c.conn = conn
	}
	return nil
}

// Leads reports whether this node leads the stream of the internal logs, so that it is to be the owner
// of all topics. The embedded server answers from memory.
func (e *Engine) Leads() bool { return e.leads(shardStream) }

func (e *Engine) leads(stream string) bool {
	if len(e.o.Peers) == 0 {
		return true
	}
	return e.server.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
}

// Stop ends what the engine does in this process, the server last, and waits for its end.
func (e *Engine) Stop() {
	e.stop.Do(func() {
		e.end()
		for _, c := range []*nats.Conn{e.publish, e.read, e.calls} {
			if c != nil {
				c.Close()
			}
		}
		e.tasks.wait()
		e.server.Shutdown()
		e.server.WaitForShutdown()
	})
}

// nodeName is the server's name of a node; the engine derives its Raft identity from it.
func nodeName(node int32) string { return "mbus-" + strconv.Itoa(int(node)) }
