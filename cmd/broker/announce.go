package main

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"mbus/internal/broker"
	"mbus/internal/flags"
	"mbus/internal/units"
)

// announce logs what was started and warns about the system. If people read the log, it also
// prints the addresses and a first command.
func (o *options) announce(l *listeners, b *broker.Broker, log *slog.Logger) {
	topics, partitions := count(b)
	checkMode(o.data, log)
	checkDescriptors(o.limits.connections, partitions, log)
	log.Info("listening", "producers", l.producers.Addr(), "consumers", l.consumers.Addr(), "kafka", l.kafka.Addr(), "http", l.http.Addr(),
		"advertise", o.kafka.advertise, "topics", topics, "partitions", partitions, "fsync", o.durability,
		"journal", units.FormatSize(o.durability.journal))
	if !o.log.isForPeople() {
		return
	}
	l.print()
	if b.Users().Any() { // without a user, the first command would be refused
		return
	}
	next := flags.Sibling("producer") + " -topic orders -message \"first order\""
	if port := portOf(l.producers); port != defaultProducerPort {
		next += fmt.Sprintf(" -port %d", port)
	}
	fmt.Fprintf(os.Stderr, "next: %s\n", next)
}

// print prints the addresses for people.
func (l *listeners) print() {
	fmt.Fprintf(os.Stderr, "producers: %s\nconsumers: %s\nkafka: %s\nhttp: %s\n", l.producers.Addr(), l.consumers.Addr(), l.kafka.Addr(), l.http.Addr())
}

// String is the value of -fsync.
func (d durabilityOptions) String() string {
	if d.syncEvery > 0 {
		return units.FormatDuration(d.syncEvery)
	}
	return "always"
}

// count counts the topics, with the broker's own, and their partitions.
func count(b *broker.Broker) (topics, partitions int) {
	all := b.As(broker.Self).Topics()
	for _, t := range all {
		partitions += len(t.Partitions())
	}
	return len(all), partitions
}

// checkMode warns if other users may list or change the data directory. A directory that the
// broker creates is for its user only. An existing one keeps its mode, because it may be meant so.
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

// File descriptors that the broker needs beside those of connections.
const (
	descriptorsOfAPartition = 2   // while it is written to
	descriptorsForFiles     = 512 // at least, with listeners and syncs
)

// checkDescriptors warns if the system allows fewer file descriptors than the partitions and the
// connections of one protocol (-max-connections) may need. Go has raised the soft limit to the
// hard one.
func checkDescriptors(maxConnections, partitions int, log *slog.Logger) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	if needed := uint64(maxConnections + max(descriptorsForFiles, descriptorsOfAPartition*partitions)); limit.Cur < needed {
		log.Warn("the system allows fewer file descriptors than -max-connections and the partitions may need: connections may have to wait; raise the limit (ulimit -n, LimitNOFILE=) or lower -max-connections",
			"limit", limit.Cur, "needed", needed, "connections", maxConnections, "partitions", partitions)
	}
}
