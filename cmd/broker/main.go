// Command broker keeps topics: producers send messages to it, consumers take
// them. It exits with 0 after SIGINT or SIGTERM, 1 when it can't go on, and 2
// when it was called in a wrong way. With -verify it reads a data directory instead
// and exits with 0 if that is sound, 1 if it can't be read, 2 if it is damaged.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/kafka"
	"mbus/internal/line"
)

func main() {
	o, code, ok := parse(os.Args[1:])
	if !ok {
		os.Exit(code)
	}
	if o.verify != "" {
		os.Exit(verify(o.verify, os.Stdout, os.Stderr))
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		os.Exit(1)
	}
}

// gcPercent has the collector run twice as often as usual: no message costs an
// allocation, so that it seldom runs, and stalled readers cost less.
const gcPercent = 50

// run is the broker from its start to its end.
func run(o *options) error {
	debug.SetGCPercent(gcPercent)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGXFSZ)

	ports, err := listen(o)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	checkDescriptors(o.maxConnections, log)
	slog.SetDefault(log) // package aio has no other
	store, err := commitlog.Open(o.data, commitlog.Options{SyncEvery: o.syncEvery, Reserve: o.reserve, Log: log})
	if err != nil {
		return err
	}
	b, err := broker.New(store, o.brokerOptions(log))
	if err != nil {
		return errors.Join(err, store.Close())
	}
	lines := line.NewServer(b)
	clients := kafka.NewServer(b, o.kafkaOptions())
	go lines.ServeProducers(ports.producers)
	go lines.ServeConsumers(ports.consumers)
	go clients.Serve(ports.kafka)
	greet(o, ports)

	log.Info("stopping", "signal", (<-stop).String())
	ctx, cancel := context.WithTimeout(context.Background(), b.Limits.StopTime)
	defer cancel()
	var stopped sync.WaitGroup
	stopped.Go(func() { lines.Stop(ctx) })
	stopped.Go(func() { clients.Stop(ctx) })
	stopped.Wait()
	return b.Close()
}

// greet says on standard error what was started, and what to do next.
func greet(o *options, p *ports) {
	durability := "every message is synced before it is acknowledged"
	if o.syncEvery > 0 {
		durability = fmt.Sprintf("synced every %v: a crash of the system can lose acknowledged messages", o.syncEvery)
	}
	advertised := "the address that a client connected to"
	if o.advertise != "" {
		advertised = o.advertise
	}
	fmt.Fprintf(os.Stderr, "data: %s\ndurability: %s\nproducers: %s\nconsumers: %s\nkafka: %s\nadvertised: %s\n",
		o.data, durability, p.producers.Addr(), p.consumers.Addr(), p.kafka.Addr(), advertised)
	next := "producer -topic orders -message \"first order\""
	if port := portOf(p.producers); port != defaultProducerPort {
		next += fmt.Sprintf(" -port %d", port)
	}
	fmt.Fprintf(os.Stderr, "next: %s\n", next)
}
