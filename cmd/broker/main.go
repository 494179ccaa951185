// Command broker keeps topics: producers send messages to it, consumers take
// them. It exits with 0 after SIGINT or SIGTERM, 1 when it can't go on, and 2
// when it was called in a wrong way.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/line"
)

func main() {
	o, code, ok := parse(os.Args[1:])
	if !ok {
		os.Exit(code)
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

	producers, consumers, err := listen(o)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	store, err := commitlog.Open(o.data, commitlog.Options{SyncEvery: o.syncEvery, Log: log})
	if err != nil {
		return err
	}
	b, err := broker.New(store, o.brokerOptions(log))
	if err != nil {
		return errors.Join(err, store.Close())
	}
	server := line.NewServer(b)
	go server.ServeProducers(producers)
	go server.ServeConsumers(consumers)
	greet(o, producers.Addr(), consumers.Addr())

	log.Info("stopping", "signal", (<-stop).String())
	ctx, cancel := context.WithTimeout(context.Background(), b.Limits.StopTime)
	defer cancel()
	server.Stop(ctx)
	return b.Close()
}

// listen opens both ports before anything else is done, so that a second broker
// by mistake fails at once; connections wait until they are served.
func listen(o *options) (producers, consumers net.Listener, err error) {
	producers, err = net.Listen("tcp", net.JoinHostPort(o.producerHost, strconv.Itoa(o.producerPort)))
	if err != nil {
		return nil, nil, fmt.Errorf("the producers' port: %w", err)
	}
	consumers, err = net.Listen("tcp", net.JoinHostPort(o.consumerHost, strconv.Itoa(o.consumerPort)))
	if err != nil {
		producers.Close()
		return nil, nil, fmt.Errorf("the consumers' port: %w", err)
	}
	return producers, consumers, nil
}

// greet says on standard error what was started, and what to do next.
func greet(o *options, producers, consumers net.Addr) {
	durability := "every message is synced before it is acknowledged"
	if o.syncEvery > 0 {
		durability = fmt.Sprintf("synced every %v: a crash of the system can lose acknowledged messages", o.syncEvery)
	}
	fmt.Fprintf(os.Stderr, "data: %s\ndurability: %s\nproducers: %s\nconsumers: %s\n", o.data, durability, producers, consumers)
	next := "producer -topic orders -message \"first order\""
	if port := producers.(*net.TCPAddr).Port; port != defaultProducerPort {
		next += fmt.Sprintf(" -port %d", port)
	}
	fmt.Fprintf(os.Stderr, "next: %s\n", next)
}
