package main

import (
	"fmt"
	"time"

	"mbus/internal/client"
	"mbus/internal/flags"
)

// A place is where the broker is, and how to get in.
type place struct {
	portFlag string // "port" or "hport"
	host     string
	port     int
	data     string
	timeout  time.Duration
	in       client.Flags
}

// define makes the flags. The port is that for some clients.
func (p *place) define(s *flags.Set, port int, clients string) {
	s.StringVar(&p.host, "host", "127.0.0.1", "`HOST`: the broker's machine, by its name or address")
	s.IntVar(&p.port, p.portFlag, port, "`PORT`: the broker's port for "+clients)
	s.DurationVar(&p.timeout, "timeout", time.Minute, "`TIME`: how long the broker may take to be reached, and to answer; 0 is five minutes")
	s.StringVar(&p.data, "data", "./data", "`DIRECTORY`: the data directory of a broker on this machine: its operator-token is the log-in if there is no other one")
	s.Places("host", p.portFlag, "data")
	p.in.Define(s)
}

// group has the help show the flags together.
func (p *place) group(s *flags.Set) {
	s.Group("Where the broker is", "host", p.portFlag, "timeout", "data")
}

// broker is the one of the flags. The text of the error names the flag.
func (p *place) broker(s *flags.Set) (b client.Broker, err error) {
	if p.port < 1 || p.port > 65535 {
		return b, fmt.Errorf("-%s is %d, not 1 to 65535", p.portFlag, p.port)
	}
	address, err := flags.Address(p.host, p.port)
	if err != nil {
		return b, fmt.Errorf("-host: %w", err)
	}
	return p.in.Broker(s, address)
}
