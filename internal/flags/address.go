package flags

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Address is a host:port for net.Dial and net.Listen. An IPv6 address may have brackets. The text
// of the error is meant to follow the flag's name.
func Address(host string, port int) (string, error) {
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		inner, closed := strings.CutSuffix(inner, "]")
		if ip, err := netip.ParseAddr(inner); err != nil || !closed || !ip.Is6() {
			return "", fmt.Errorf("%q has brackets, which belong around an IPv6 address only, as in [::1]", host)
		}
		host = inner
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, ":/[]") {
		return "", fmt.Errorf("%q is no host: it takes a name or an address, without a protocol and without a port", host)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}
