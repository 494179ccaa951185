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
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/flags"
	"mbus/internal/kafka"
	"mbus/internal/line"
	"mbus/internal/units"
)

func main() {
	o, code, ok := parse(os.Args[1:])
	if !ok {
		os.Exit(code)
	}
	if o.verify != "" {
		os.Exit(verify(o.verify, os.Stdout, os.Stderr))
	}
	log := o.newLog(os.Stderr)
	if err := run(o, log); err != nil {
		o.fail(err, os.Stderr, log)
		os.Exit(1)
	}
}

// gcPercent has the collector run twice as often as usual: no message costs an
// allocation, so that it seldom runs, and stalled readers cost less.
const gcPercent = 50

// run is the broker from its start to its end.
func run(o *options, log *slog.Logger) error {
	debug.SetGCPercent(gcPercent)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGHUP, syscall.SIGXFSZ)

	ports, err := listen(o)
	if err != nil {
		return err
	}
	log.Info("starting", "version", flags.Version, "pid", os.Getpid(), "data", o.data)
	slog.SetDefault(log) // package vfs has no other
	store, err := commitlog.Open(o.data, commitlog.Options{SyncEvery: o.syncEvery, Reserve: o.reserve, Log: log})
	if err != nil {
		return err
	}
	checkMode(o.data, log)
	b, err := broker.New(store, o.brokerOptions(log))
	if err != nil {
		return errors.Join(err, store.Close())
	}
	lines := line.NewServer(b)
	lines.Node = int32(o.nodeID)
	clients := kafka.NewServer(b, o.kafkaOptions())
	go lines.ServeProducers(ports.producers)
	go lines.ServeConsumers(ports.consumers)
	go clients.Serve(ports.kafka)
	topics, partitions := count(b)
	checkDescriptors(o.maxConnections, partitions, log)
	greet(o, ports, topics, partitions, log)

	reason := (<-stop).String()
	log.Info("stopping", "signal", reason)
	ctx, cancel := context.WithTimeout(context.Background(), b.Limits.StopTime)
	defer cancel()
	var stopped sync.WaitGroup
	stopped.Go(func() { lines.Stop(ctx) })
	stopped.Go(func() { clients.Stop(ctx) })
	stopped.Wait()
	if err := b.Close(); err != nil {
		return err
	}
	log.Info("stopped", "signal", reason, "pid", os.Getpid())
	return nil
}

// count counts the topics, the broker's own among them, and their partitions.
func count(b *broker.Broker) (topics, partitions int) {
	all := b.Topics()
	for _, t := range all {
		partitions += len(t.Partitions())
	}
	return len(all), partitions
}

// greet logs what was started, and says to people, if the log is for them, where the
// broker listens and what to do next.
func greet(o *options, p *ports, topics, partitions int, log *slog.Logger) {
	durability := "always"
	if o.syncEvery > 0 {
		durability = units.FormatDuration(o.syncEvery)
	}
	log.Info("listening", "producers", p.producers.Addr(), "consumers", p.consumers.Addr(), "kafka", p.kafka.Addr(),
		"advertise", o.advertise, "topics", topics, "partitions", partitions, "fsync", durability)
	if o.logFormat != logText || o.logLevel > slog.LevelInfo {
		return
	}
	fmt.Fprintf(os.Stderr, "producers: %s\nconsumers: %s\nkafka: %s\n", p.producers.Addr(), p.consumers.Addr(), p.kafka.Addr())
	next := beside("producer") + " -topic orders -message \"first order\""
	if port := portOf(p.producers); port != defaultProducerPort {
		next += fmt.Sprintf(" -port %d", port)
	}
	fmt.Fprintf(os.Stderr, "next: %s\n", next)
}

// beside is how a program is called that lies in the directory from which the broker was
// started.
func beside(program string) string {
	dir, _ := filepath.Split(os.Args[0])
	return dir + program
}

// checkMode says that users other than the broker's may see what is in the data
// directory, or change it. The broker makes its own for itself only; one that it has
// found there is left as it is, because others may have their reasons.
func checkMode(dir string, log *slog.Logger) {
	info, err := os.Stat(dir)
	if err != nil {
		return
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o022 != 0:
		log.Warn("other users may write to the data directory: they can remove its files, and put others there; chmod 700 prevents it", "directory", dir, "mode", fmt.Sprintf("%04o", mode))
	case mode&0o055 != 0:
		log.Info("other users may list the data directory, but not read its files; chmod 700 closes it", "directory", dir, "mode", fmt.Sprintf("%04o", mode))
	}
}
