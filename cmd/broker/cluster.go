package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mbus/internal/broker"
	"mbus/internal/cluster"
	"mbus/internal/cluster/clusterkey"
	"mbus/internal/flags"
	"mbus/internal/gate"
	"mbus/internal/jetstream"
	"mbus/internal/line"
	"mbus/internal/relay"
	"mbus/internal/store"
	"mbus/internal/tcpserver"
	"mbus/internal/vfs"
	"mbus/internal/web"
)

// A clusterNode is this process as a node of a cluster. Ports, dispatchers and the engine live as long as the process;
// a broker with its servers only while this node owns the topics.
type clusterNode struct {
	o            *options
	log          *slog.Logger
	ports        *listeners
	certificates *tcpserver.Certificates // nil without TLS
	routes, tls  *tls.Config             // of the nodes' connections; nil without a key

	linkPort    net.Listener
	links       *tcpserver.Links
	dispatchers map[string]*tcpserver.Dispatcher // by port
	relay       *relay.Relay                     // of the producers' port
	gate        *gate.Gate                       // of the HTTP port
	about       *web.Node                        // what the node says of itself there
	httpDoor    *tcpserver.Dispatcher            // that lets its clients in
	engine      *jetstream.Engine
	node        *cluster.Node

	service atomic.Pointer[service] // while this node owns the topics
	failed  chan error              // ends the process
}

// runNode is run for a node of a cluster.
func runNode(o *options, log *slog.Logger) error {
	debug.SetGCPercent(gcPercent)
	slog.SetDefault(log)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGXFSZ)

	n := &clusterNode{o: o, log: log, failed: make(chan error, 1)}
	if err := n.open(); err != nil {
		return err
	}
	log.Info("starting", "version", flags.Version, "pid", os.Getpid(), "data", o.data, "node", o.kafka.nodeID, "cluster", o.cluster.address)
	startingDone := web.ServeStarting(n.ports.http, broker.DefaultLimits(), flags.Version)
	var err error
	if n.engine, err = jetstream.Start(n.engineOptions()); err != nil {
		return err
	}
	defer n.engine.Stop()
	if n.node, err = cluster.Start(n.nodeOptions()); err != nil {
		return err
	}
	reason, err := n.awaitReady(stop)
	startingDone()
	if reason == nil && err == nil {
		n.serve()
		select {
		case reason = <-stop:
		case err = <-n.failed:
		}
	}
	if err == nil {
		log.Info("stopping", "signal", reason.String())
	}
	n.stop()
	if err == nil {
		log.Info("stopped", "signal", reason.String(), "pid", os.Getpid())
	}
	return err
}

// open opens all ports, and reads the cluster's key and the certificates.
func (n *clusterNode) open() (err error) {
	if n.ports, err = n.o.listen.open(); err != nil {
		return err
	}
	if n.certificates, err = n.o.protect(n.ports, n.log); err != nil {
		return err
	}
	if name := n.o.cluster.key; name != "" {
		key, err := clusterkey.Read(name)
		if err != nil {
			return fmt.Errorf("-cluster-key: %w", err)
		}
		if n.routes, err = key.Config(n.number(), clusterkey.Routes); err != nil {
			return err
		}
		if n.tls, err = key.Config(n.number(), clusterkey.Links); err != nil {
			return err
		}
	}
	if n.linkPort, err = net.Listen("tcp", n.o.cluster.links); err != nil {
		return fmt.Errorf("the port for links: %w: -cluster-links sets another", err)
	}
	n.dispatch()
	return nil
}

func (n *clusterNode) number() int32 { return int32(n.o.kafka.nodeID) }

func (n *clusterNode) engineOptions() jetstream.Options {
	c := &n.o.cluster
	return jetstream.Options{
		Dir: n.o.data, Node: n.number(), Cluster: c.address, Peers: c.peers, TLS: n.routes, Replicas: c.replicas, Failover: c.failover, Log: n.log,
	}
}

func (n *clusterNode) nodeOptions() cluster.Options {
	return cluster.Options{
		Node: n.number(), Version: flags.Version, Ports: n.addresses(), Engine: nodeEngine{n.engine},
		Serve: n.serveOwned, Lead: n.lead, Report: n.report, Log: n.log,
	}
}

// The ports for clients, as nodes name them.
const (
	portProducers = "producers"
	portConsumers = "consumers"
	portKafka     = "kafka"
	portHTTP      = "http"
)

// addresses are those at which clients and nodes reach this one.
func (n *clusterNode) addresses() map[string]string {
	all := map[string]string{cluster.PortLinks: n.linkPort.Addr().String()}
	for port, l := range n.ports.byName() {
		all[port] = l.Addr().String()
	}
	if a := n.o.kafka.advertise; a != "" {
		all[portKafka] = a
	}
	return all
}

func (l *listeners) byName() map[string]net.Listener {
	return map[string]net.Listener{portProducers: l.producers, portConsumers: l.consumers, portKafka: l.kafka, portHTTP: l.http}
}

// awaitReady waits until the cluster can be used; the engine says what it waits for. It ends with a signal, or an error.
func (n *clusterNode) awaitReady(stop <-chan os.Signal) (os.Signal, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- n.engine.Ready(ctx) }()
	select {
	case err := <-ready:
		return nil, err
	case err := <-n.failed:
		return nil, err
	case reason := <-stop:
		return reason, nil
	}
}

// dispatch makes what brings clients to the owner, before that is known.
func (n *clusterNode) dispatch() {
	limits := n.o.brokerOptions(n.log).Limits
	n.links = tcpserver.NewLinks(n.log, n.tls)
	n.dispatchers = make(map[string]*tcpserver.Dispatcher)
	for port := range n.ports.byName() {
		n.dispatchers[port] = tcpserver.NewDispatcher(n.log, tcpserver.DispatcherOptions{
			Port: port, Links: n.tls, Refusal: refusals[port],
			Limits: tcpserver.Limits{Connections: limits.MaxConnections, PerAddress: limits.MaxPerAddress, Handshake: limits.RequestTime},
		})
	}
	n.relay = relay.New(relay.Options{Limits: limits, Lead: n.dispatchers[portProducers].Lead, Refusal: line.Refusal, Log: n.log})
	n.gate = gate.New(gate.Options{Limits: limits, Lead: n.dispatchers[portHTTP].Lead, Local: n.local, Refusal: web.Refusal, Log: n.log})
	n.about = web.NewNode(web.NodeOptions{
		Cluster: n, Number: n.number(), Version: flags.Version, Hosts: n.o.http.hosts, Ask: n.gate.Ask,
		Owns: func() bool { return n.service.Load() != nil },
	})
	n.httpDoor = tcpserver.NewDispatcher(n.log, tcpserver.DispatcherOptions{
		Port: portHTTP, Refusal: web.Refusal,
		Limits: tcpserver.Limits{Connections: limits.MaxConnections, PerAddress: limits.MaxPerAddress, Handshake: limits.HTTPHeaderTime},
	})
	n.httpDoor.Set(tcpserver.Target{Take: n.gate.Take})
}

// serve lets clients in, and this node own the topics.
func (n *clusterNode) serve() {
	go n.links.Serve(n.linkPort, func(h tcpserver.Hello, c tcpserver.Conn) bool {
		s := n.service.Load()
		return s != nil && s.take(h.Port)(c)
	})
	go n.relay.Serve(n.ports.producers)
	go n.httpDoor.Serve(n.ports.http)
	for _, port := range []string{portConsumers, portKafka} {
		go n.dispatchers[port].Serve(n.ports.byName()[port])
	}
	if n.certificates != nil {
		hangUp := make(chan os.Signal, 1)
		signal.Notify(hangUp, syscall.SIGHUP)
		go reloadOn(hangUp, n.certificates)
		go n.certificates.Watch(nil)
	}
	n.log.Info("listening", "node", n.o.kafka.nodeID, "producers", n.ports.producers.Addr(), "consumers", n.ports.consumers.Addr(),
		"kafka", n.ports.kafka.Addr(), "http", n.ports.http.Addr(), "advertise", n.o.kafka.advertise, "links", n.linkPort.Addr())
	if n.o.log.isForPeople() {
		n.ports.print()
	}
	n.node.Own()
}

// refusals are the texts for clients that can't be served, by port. Kafka has none.
var refusals = map[string]func(error) string{
	portProducers: line.Refusal, portConsumers: line.Refusal, portHTTP: web.Refusal,
}

// lead has clients go to a service of this node, or to another node. Nobody may come from elsewhere while everything
// is open: then the process ends.
func (n *clusterNode) lead(s cluster.Service, owner cluster.Member) {
	sv, _ := s.(*service)
	n.service.Store(sv)
	if owner.Open {
		if err := n.o.checkExposed(n.ports); err != nil {
			n.fail(err)
			return
		}
	}
	for port, d := range n.dispatchers {
		t := tcpserver.Target{Owner: owner.Ports[cluster.PortLinks]}
		if sv != nil {
			t.Take = sv.take(port)
		}
		d.Set(t)
	}
}

// report fills in what changes of what this node says of itself.
func (n *clusterNode) report(m *cluster.Member) {
	m.Free, m.Size, _ = vfs.OS{}.Space(n.o.data) // 0 where it is not known
	m.Exposed = n.o.exposed(n.ports) != nil
	if s := n.service.Load(); s != nil {
		m.Open = !s.broker.Users().Any()
	}
}

// stop hands the topics over and ends the process's part of the cluster.
func (n *clusterNode) stop() {
	for _, l := range n.ports.all() {
		(*l).Close()
	}
	n.stopClients()
	n.node.Stop()
	var stopped sync.WaitGroup
	for _, d := range n.dispatchers {
		stopped.Go(d.Stop)
	}
	stopped.Go(n.httpDoor.Stop)
	stopped.Wait()
	n.linkPort.Close()
	n.links.EndAll()
}

// stopClients has what producers have sent acknowledged, and requests answered, by whichever node owns the topics.
func (n *clusterNode) stopClients() {
	ctx, cancel := context.WithTimeout(context.Background(), n.o.brokerOptions(n.log).Limits.StopTime)
	defer cancel()
	var stopped sync.WaitGroup
	stopped.Go(func() { n.relay.Stop(ctx) })
	stopped.Go(func() { n.gate.Stop(ctx) })
	go func() {
		stopped.Wait()
		cancel()
	}()
	<-ctx.Done()
	n.dispatchers[portProducers].Stop() // nobody waits for an owner any more
	n.dispatchers[portHTTP].Stop()
	stopped.Wait()
}

// local answers HTTP requests about this node.
func (n *clusterNode) local(r *http.Request, client tcpserver.Conn) http.Handler {
	return n.about.Local(r, client)
}

// Report is what this node knows of all nodes.
func (n *clusterNode) Report(ctx context.Context) cluster.Report {
	return n.node.Report(ctx, n.o.cluster.replicas, n.peers)
}

// peers is what the engine knows of all nodes.
func (n *clusterNode) peers(ctx context.Context) (all []cluster.Peer, err error) {
	peers, err := n.engine.Peers(ctx)
	for _, p := range peers {
		all = append(all, cluster.Peer{Node: p.Node, Current: p.Current, Lag: p.Lag, Streams: p.Streams, Leads: p.Leads})
	}
	return all, err
}

// Remove begins to remove a node that is gone for good.
func (n *clusterNode) Remove(ctx context.Context, node int32) error {
	if err := n.engine.Remove(ctx, node); err != nil {
		return fmt.Errorf("%w: %w", cluster.ErrNotNow, err)
	}
	return nil
}

// A nodeEngine is the engine as package cluster asks for it.
type nodeEngine struct{ *jetstream.Engine }

func (e nodeEngine) TakeOver(ctx context.Context) (cluster.Owned, error) {
	s, err := e.Engine.TakeOver(ctx)
	if err != nil {
		return nil, err // and no store: a nil pointer would be one
	}
	return s, nil
}

// A service is a broker with its servers, while this node owns the topics.
type service struct {
	broker *broker.Broker
	fronts *fronts
}

// serveOwned starts a service.
func (n *clusterNode) serveOwned(owned cluster.Owned) (cluster.Service, error) {
	if s, ok := owned.(*jetstream.Store); ok {
		s.UseDisk(n.disk)
	}
	o := n.o.secured(n.o.brokerOptions(n.log), n.ports, n.certificates)
	o.Exposed = o.Exposed || slices.ContainsFunc(n.node.Live(), func(m cluster.Member) bool { return m.Exposed })
	o.Nodes = clusterNodes{n}
	o.Limits.MaxTail = maxTail
	b, err := broker.New(owned, o)
	if err != nil {
		return nil, errors.Join(err, owned.Close())
	}
	if err := n.o.checkUsers(n.ports, b); err != nil {
		n.fail(err)
		return nil, errors.Join(err, b.Close())
	}
	shown := n.o.webOptions(n.ports)
	shown.Cluster = n
	s := &service{b, newFronts(b, n.o, shown)}
	s.fronts.guard(b, nil)
	return s, nil
}

// fail ends the process with an error.
func (n *clusterNode) fail(err error) {
	select {
	case n.failed <- err:
	default: // it ends already
	}
}

// disk is the space of the node that has least, as the space of all: a message needs it on each.
func (n *clusterNode) disk() (d store.Disk) {
	d.Free, d.Size = n.node.Space()
	d.Reserve = n.o.durability.clusterReserveOf(d.Size)
	d.Full = d.Size > 0 && d.Free < d.Reserve
	return d
}

// take gives what serves a client of a port; nil for a port that this version does not know.
func (s *service) take(port string) func(tcpserver.Conn) bool {
	switch port {
	case portProducers:
		return s.fronts.lines.TakeProducer
	case portConsumers:
		return s.fronts.lines.TakeConsumer
	case portKafka:
		return s.fronts.kafka.Take
	case portHTTP:
		return s.fronts.web.Take
	}
	return func(tcpserver.Conn) bool { return false }
}

// keepTime is for the broker to write what is to be kept when all clients have gone.
const keepTime = 2 * time.Second

// Leave ends the servers and the broker. In good order the servers come first; else appends that go on, and keep their
// clients waiting, must fail first.
func (s *service) Leave(ctx context.Context) error {
	if ctx.Err() != nil {
		err := s.broker.Leave(ctx)
		s.fronts.stopBy(ctx)
		return err
	}
	s.fronts.stopBy(ctx)
	ctx, cancel := context.WithTimeout(context.Background(), keepTime)
	defer cancel()
	return s.broker.Leave(ctx)
}
