package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"mbus/internal/flags"
)

const (
	defaultProducerPort = 9990
	defaultConsumerPort = 9991
	defaultKafkaPort    = 9092
	defaultHTTPPort     = 9992
)

// loopback is where a listener is unless a flag says otherwise.
const loopback = "127.0.0.1"

// listenOptions are the addresses to listen on.
type listenOptions struct{ producers, consumers, kafka, http endpoint }

// An endpoint is an address to listen on, with the flags that set it.
type endpoint struct {
	clients            string // for messages: "the producers'"
	hostFlag, portFlag string // without the hyphen
	host               string
	port               int
}

// listeners are the open ports.
type listeners struct{ producers, consumers, kafka, http net.Listener }

func (l *listeners) all() []*net.Listener {
	return []*net.Listener{&l.producers, &l.consumers, &l.kafka, &l.http}
}

func (o *listenOptions) define(s *flags.Set) {
	o.producers.define(s, "producers", 'p', defaultProducerPort)
	o.consumers.define(s, "consumers", 'c', defaultConsumerPort)
	o.kafka.define(s, "Kafka clients", 'k', defaultKafkaPort)
	o.http.define(s, "HTTP clients", 'h', defaultHTTPPort)
}

func (e *endpoint) define(s *flags.Set, clients string, letter rune, port int) {
	e.clients, e.hostFlag, e.portFlag = "the "+clients+"'", string(letter)+"host", string(letter)+"port"
	s.IntVar(&e.port, e.portFlag, port, "`PORT`: the port for "+clients+"; 0 for any free one")
	s.StringVar(&e.host, e.hostFlag, loopback, "`ADDRESS`: the address to listen on for "+clients+"; 0.0.0.0 or :: for all")
}

func (o *listenOptions) endpoints() []*endpoint {
	return []*endpoint{&o.producers, &o.consumers, &o.kafka, &o.http}
}

func (o *listenOptions) check() error {
	for _, e := range o.endpoints() {
		if err := e.check(); err != nil {
			return err
		}
	}
	return nil
}

// check reports an address on which no machine can listen.
func (e *endpoint) check() error {
	if e.port < 0 || e.port > 65535 {
		return fmt.Errorf("-%s is %d: it takes 0 to 65535", e.portFlag, e.port)
	}
	if _, err := flags.Address(e.host, e.port); err != nil {
		return fmt.Errorf("-%s: %w", e.hostFlag, err)
	}
	return nil
}

// open opens all ports. It is the first step, so that a second broker on the same ports fails at
// once; connections wait until they are served.
func (o *listenOptions) open() (*listeners, error) {
	l := new(listeners)
	for i, to := range l.all() {
		var err error
		if *to, err = o.endpoints()[i].listen(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (e *endpoint) listen() (net.Listener, error) {
	address, err := flags.Address(e.host, e.port)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", e.hostFlag, err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s port: %w%s", e.clients, err, e.advice(err))
	}
	return l, nil
}

// advice names the flag that helps.
func (e *endpoint) advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf(": another broker or another program uses it; -%s sets another port", e.portFlag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf(": this machine does not have the address of -%s; 0.0.0.0 or :: stands for all its addresses", e.hostFlag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf(": this user may not listen on it; -%s sets another port, and ports from 1024 on are free to all users", e.portFlag)
	}
	return fmt.Sprintf(": -%s and -%s set the address", e.hostFlag, e.portFlag)
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
