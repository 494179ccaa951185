package tcpserver

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// A listener for IPv6 and IPv4 shows IPv4 clients as IPv6 has them: here they are the same as on one for IPv4.
func TestAddressOfIPv4ClientIsIPv4(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	at := &syscall.SockaddrInet6{Addr: [16]byte(net.IPv4(127, 0, 0, 1))}
	for _, err := range []error{syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 0), syscall.Bind(fd, at), syscall.Listen(fd, 1)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn := newConn(nc.(*net.TCPConn))
	defer conn.Close()
	if got, want := conn.RemoteAddrPort().String(), client.LocalAddr().String(); got != want {
		t.Errorf("the address is %s, want %s", got, want)
	}
}
