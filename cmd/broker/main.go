// Command broker keeps topics: producers send messages to it, consumers receive them. It exits
// with 0 after SIGINT or SIGTERM, 1 when it can't go on, and 2 after a usage error. With -verify
// it checks a data directory instead, and exits with 0 if that is intact, 1 if it can't be read,
// 2 if it is damaged.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/flags"
	"mbus/internal/kafka"
	"mbus/internal/line"
	"mbus/internal/tcpserver"
	"mbus/internal/web"
)

func main() {
	o, code, ok := parse(os.Args[1:])
	if !ok {
		os.Exit(code)
	}
	if o.verify != "" {
		os.Exit(verify(o.verify, os.Stdout, os.Stderr))
	}
	log := o.log.logger(os.Stderr)
	start := run
	if o.cluster.isNode() {
		start = runNode
	}
	if err := start(o, log); err != nil {
		o.log.fail(err, os.Stderr, log)
		os.Exit(1)
	}
}

// gcPercent makes garbage collections twice as frequent as Go's default, to need less memory for
// stalled readers. They stay rare, because messages cost no allocation.
const gcPercent = 50

// gcPercentAtStart is that of the start, which allocates for each topic once, and then no more: with 10,000
// topics garbage collections took a fifth of its processor time. FreeOSMemory gives back what the start
// has left over.
const gcPercentAtStart = 200

// run is the broker from its start to its end.
func run(o *options, log *slog.Logger) error {
	debug.SetGCPercent(gcPercentAtStart)
	slog.SetDefault(log) // for packages without a logger of their own, such as vfs
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGXFSZ)

	l, err := o.listen.open()
	if err != nil {
		return err
	}
	certificates, err := o.protect(l, log)
	if err != nil {
		return err
	}
	log.Info("starting", "version", flags.Version, "pid", os.Getpid(), "data", o.data)
	startingDone := web.ServeStarting(l.http, broker.DefaultLimits(), flags.Version)
	store, err := commitlog.Open(o.data, o.storeOptions(log))
	if err != nil {
		return err
	}
	b, err := broker.New(store, o.secured(o.brokerOptions(log), l, certificates))
	if err != nil {
		return errors.Join(err, store.Close())
	}
	if err := o.checkUsers(l, b); err != nil {
		return errors.Join(err, b.Close())
	}
	operator := newOperatorToken(o.data, b, log)
	f := newFronts(b, o, o.webOptions(l))
	startingDone()
	f.serve(l)
	f.guard(b, certificates)
	o.announce(l, b, log)
	debug.SetGCPercent(gcPercent)
	debug.FreeOSMemory() // clients are served meanwhile
	releaseText()

	reason := (<-stop).String()
	log.Info("stopping", "signal", reason)
	f.stop(b.Limits.StopTime)
	operator.remove()
	if err := b.Close(); err != nil {
		return err
	}
	log.Info("stopped", "signal", reason, "pid", os.Getpid())
	return nil
}

// fronts are the servers of the protocols.
type fronts struct {
	lines *line.Server
	kafka *kafka.Server
	web   *web.Server
	ended chan struct{} // closed by stop
}

func newFronts(b *broker.Broker, o *options, shown web.Options) *fronts {
	f := &fronts{lines: line.NewServer(b), kafka: kafka.NewServer(b, o.kafkaOptions()), ended: make(chan struct{})}
	shown.Fronts = []web.Front{f.lines, f.kafka}
	f.web = web.NewServer(b, shown)
	f.lines.Node = int32(o.kafka.nodeID)
	return f
}

// serve accepts connections in the background.
func (f *fronts) serve(l *listeners) {
	go f.lines.ServeProducers(l.producers)
	go f.lines.ServeConsumers(l.consumers)
	go f.kafka.Serve(l.kafka)
	go f.web.Serve(l.http)
}

// guard watches over users and certificates in the background. The certificates are nil without TLS.
func (f *fronts) guard(b *broker.Broker, c *tcpserver.Certificates) {
	g := &guard{fronts: []front{f.lines, f.kafka, f.web}, users: b.Users(), exposure: b.Exposure, log: b.Log}
	go g.run(f.ended)
	if c == nil {
		return
	}
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	go reloadOn(hangUp, c)
	go c.Watch(f.ended)
}

// stop ends all connections, within the time.
func (f *fronts) stop(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	f.stopBy(ctx)
}

// stopBy ends all connections, those that are left at the end of ctx with a reset.
func (f *fronts) stopBy(ctx context.Context) {
	close(f.ended)
	var stopped sync.WaitGroup
	stopped.Go(func() { f.lines.Stop(ctx) })
	stopped.Go(func() { f.kafka.Stop(ctx) })
	stopped.Go(func() { f.web.Stop(ctx) })
	stopped.Wait()
}
