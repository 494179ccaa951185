package jetstream

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// MaxPayload bounds one message of the engine, in bytes. It holds a prefix and whole batches.
	MaxPayload = 8 << 20

	clusterName = "mbus" // of the engine's routes

	// Users of a server. The password is random, and no other process knows it.
	userName   = "mbus"
	systemName = "system"

	startTime = 30 * time.Second // for a server to take the connections of its own process
	noLimit   = 1 << 60          // bytes on disk: the engine is to go on until the disk is full
	memory    = 64 << 20         // bytes of streams in memory: there are none
)

// nodeName is the server's name of a node; the engine derives its Raft identity from it.
func nodeName(node int32) string { return "mbus-" + strconv.Itoa(int(node)) }

// An embedded server is a server of the engine in this process.
type embedded struct{ *server.Server }

func (s *embedded) stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

// startServer starts a server, with streams or without them, and makes it that of the engine.
func (e *Engine) startServer(streams bool) error {
	s, err := server.NewServer(e.serverOptions(streams))
	if err != nil {
		return fmt.Errorf("the engine refuses its settings: %w", err)
	}
	logger := &serverLog{log: e.log, fatal: make(chan string, 1), twin: e.member.seeTwin}
	s.SetLoggerV2(logger, false, false, false)
	s.Start()
	for end := time.Now().Add(startTime); !s.ReadyForConnections(10 * time.Millisecond); {
		text := "it takes no connections"
		select {
		case text = <-logger.fatal:
		default:
			if time.Now().Before(end) && e.ctx.Err() == nil {
				continue
			}
		}
		(&embedded{s}).stop()
		return errors.New("the engine can't start: " + text)
	}
	e.server.Store(&embedded{s})
	return nil
}

// serverOptions gives the settings of a server.
func (e *Engine) serverOptions(streams bool) *server.Options {
	so := &server.Options{
		ServerName: nodeName(e.o.Node),
		// Without a listener for clients the server starts no routes.
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		AuthTimeout:            startTime.Seconds(),
		NoSigs:                 true,
		MaxPayload:             MaxPayload,
		JetStream:              streams,
		StoreDir:               e.dir.root,
		SyncAlways:             true,
		JetStreamMaxStore:      noLimit,
		JetStreamMaxMemory:     memory,
		DisableJetStreamBanner: true,
		Accounts:               []*server.Account{server.NewAccount(server.DEFAULT_SYSTEM_ACCOUNT)},
		SystemAccount:          server.DEFAULT_SYSTEM_ACCOUNT,
	}
	so.Users = []*server.User{
		{Username: userName, Password: e.password},
		{Username: systemName, Password: e.password, Account: so.Accounts[0]},
	}
	if len(e.o.Peers) == 0 {
		return so
	}
	host, port, _ := splitAddress(e.o.Cluster) // has been checked
	so.Cluster = server.ClusterOpts{
		Name: clusterName, Host: host, Port: port, Advertise: e.o.Advertise,
		PingInterval: time.Second, MaxPingsOut: 3, // else a frozen node is noticed after more than a minute
	}
	if e.o.TLS != nil {
		so.Cluster.TLSConfig, so.Cluster.TLSTimeout = e.o.TLS.Clone(), routeTLSTime.Seconds()
	}
	for _, p := range e.o.Peers {
		so.Routes = append(so.Routes, &url.URL{Scheme: "nats-route", Host: p})
	}
	return so
}

// routeTLSTime is the time for the handshake of a route.
const routeTLSTime = 5 * time.Second
