package kafka

import (
	"fmt"
	"net"
	"strconv"
)

// CheckAddress reports why address can't be advertised.
func CheckAddress(address string) error {
	_, _, err := splitAddress(address)
	return err
}

// splitAddress reads a host:port. The port is 1 to 65535.
func splitAddress(address string) (host string, port int32, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("address %q: it takes host:port, the port from 1 to 65535", address)
	}
	return host, int32(n), nil
}

// Address is where this connection's client finds the broker: what is advertised,
// or the address that it has connected to.
func (c *conn) address() (host string, port int32) {
	if advertised := c.server.opts.Advertise; advertised != "" {
		host, port, _ = splitAddress(advertised) // has been checked
		return host, port
	}
	local := c.net.LocalAddr().(*net.TCPAddr)
	if local.IP.IsLoopback() {
		return "localhost", int32(local.Port)
	}
	return local.IP.String(), int32(local.Port)
}
