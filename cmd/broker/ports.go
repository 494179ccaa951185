package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"mbus/internal/flags"
)

// ports are what the broker listens on.
type ports struct {
	producers, consumers, kafka net.Listener
}

// A place is an address to listen on, and the flags that say so.
type place struct {
	whose              string
	hostFlag, portFlag string
	host               string
	port               int
}

func (o *options) places() [3]place {
	return [3]place{
		{"the producers'", "-phost", "-pport", o.producerHost, o.producerPort},
		{"the consumers'", "-chost", "-cport", o.consumerHost, o.consumerPort},
		{"the Kafka clients'", "-khost", "-kport", o.kafkaHost, o.kafkaPort},
	}
}

// check reports why nobody can listen there, whatever the machine.
func (p place) check() error {
	if p.port < 0 || p.port > 65535 {
		return fmt.Errorf("%s is %d: it takes 0 to 65535", p.portFlag, p.port)
	}
	if _, err := flags.Address(p.host, p.port); err != nil {
		return fmt.Errorf("%s: %w", p.hostFlag, err)
	}
	return nil
}

// listen opens all ports before anything else is done, so that a second broker
// by mistake fails at once; connections wait until they are served.
func listen(o *options) (*ports, error) {
	p := new(ports)
	places := o.places()
	for i, to := range []*net.Listener{&p.producers, &p.consumers, &p.kafka} {
		l, err := places[i].listen()
		if err != nil {
			return nil, err
		}
		*to = l
	}
	return p, nil
}

func (p place) listen() (net.Listener, error) {
	address, err := flags.Address(p.host, p.port)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.hostFlag, err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s port: %w%s", p.whose, err, p.advice(err))
	}
	return l, nil
}

// advice says which flag is meant, and what to do.
func (p place) advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf(": another broker or another program has it; %s sets another port", p.portFlag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf(": this machine does not have the address of %s; 0.0.0.0 or :: stands for all that it has", p.hostFlag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf(": this user may not listen on it; %s sets another port, from 1024 on they are free to all", p.portFlag)
	}
	return fmt.Sprintf(": %s and %s say where to listen", p.hostFlag, p.portFlag)
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// Descriptors beside those of connections: of each partition that is written to, and of
// all else, such as listeners and syncs, at least.
const (
	descriptorsOfAPartition = 2
	descriptorsForFiles     = 512
)

// checkDescriptors warns where the system lets the broker have fewer file descriptors
// than the connections of one protocol may take, which -max-connections bounds, and the
// partitions that are there. Go has raised the limit to the hard one.
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
