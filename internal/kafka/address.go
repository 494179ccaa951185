package kafka

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
)

// CheckAddress reports why address can't be advertised.
func CheckAddress(address string) error {
	host, _, err := splitAddress(address)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && !hostName.MatchString(host):
		return fmt.Errorf("address %q: %q is neither the name of a host nor an IP address", address, host)
	case err == nil && ip.IsUnspecified():
		return fmt.Errorf("address %q: clients can't connect to %s, which stands for all addresses of a machine", address, host)
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})$`)

// splitAddress reads a host:port, an IPv6 address in brackets. The port is 1 to 65535.
func splitAddress(address string) (host string, port int32, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: it takes host:port, without a protocol, and an IPv6 address in brackets, as in [::1]:9092", address)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("address %q: it takes host:port, the port from 1 to 65535", address)
	}
	return host, int32(n), nil
}

// address is the advertised address, or else the address that the client has connected to: over TLS by the name
// that the certificate has for the client, otherwise as a number, because a name could have other addresses for the client.
func (c *conn) address() (host string, port int32) {
	if advertised := c.server.opts.Advertise; advertised != "" {
		host, port, _ = splitAddress(advertised) // has been checked
		return host, port
	}
	local := c.net.LocalAddr().(*net.TCPAddr)
	if name, _ := c.net.ServerName(); name != "" {
		return name, int32(local.Port)
	}
	return local.AddrPort().Addr().Unmap().String(), int32(local.Port)
}
