package brokertest

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
)

// Reserve gives an address of this machine that is nobody else's until the test
// ends: a socket that does not listen is bound to it. Connections are refused until
// one does that allows the address's reuse, as Go's and so the broker's do; and they
// are again between two brokers.
func Reserve(t testing.TB) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	local := [4]byte{127, 0, 0, 1}
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: local}))
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*syscall.SockaddrInet4).Port
	return netip.AddrPortFrom(netip.AddrFrom4(local), uint16(port)).String()
}
