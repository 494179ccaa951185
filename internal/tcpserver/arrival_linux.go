package tcpserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mbus/internal/turns"
)

// A tlsListener accepts connections for TLS.
type tlsListener struct {
	*net.TCPListener
	config *tls.Config
	file   *os.File // the same socket: package net does not let others accept from it
	raw    syscall.RawConn
	closed atomic.Bool
}

// silence is how long the system keeps a connection to itself that sends nothing: clients of all ports speak first.
const silence = time.Second

// WithTLS makes a listener whose connections speak TLS if they begin with a handshake. Others are served as they
// are if they come to a loopback address, and refused with ErrPlain if not. l accepts TCP.
func WithTLS(l net.Listener, config *tls.Config) (net.Listener, error) {
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true // small records cost a system call each
	t := &tlsListener{TCPListener: l.(*net.TCPListener), config: config}
	var err error
	if t.file, err = t.TCPListener.File(); err != nil {
		return nil, err
	}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		return nil, err
	}
	return t, control(t.raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(silence/time.Second))
	})
}

func (l *tlsListener) Close() error {
	l.closed.Store(true)
	_ = l.file.Close()
	return l.TCPListener.Close()
}

// arrive waits for a connection.
func (l *tlsListener) arrive() (*arrival, error) {
	var fd int
	var from syscall.Sockaddr
	var err error
	e := l.raw.Read(func(listener uintptr) bool {
		for {
			fd, from, err = syscall.Accept4(int(listener), syscall.SOCK_CLOEXEC)
			if err != syscall.EINTR && err != syscall.ECONNABORTED {
				return !isAgain(err)
			}
		}
	})
	switch {
	case e == nil && err == nil:
		return &arrival{config: l.config, seat: newGuest(addressIn(from)), fd: fd}, nil
	case l.closed.Load():
		return nil, net.ErrClosed
	case e != nil:
		return nil, e
	}
	return nil, os.NewSyscallError("accept4", err)
}

// addressIn is an address of the system; an IPv4 address in IPv6 is IPv4.
func addressIn(a syscall.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// An arrival is a connection that was accepted, and is not known to be TLS or not. It is a mere descriptor until open, because
// most connections of a flood are closed again before they cost more.
type arrival struct {
	Conn           // over TCP; nil before open
	of     *socket // of Conn
	config *tls.Config
	seat   *guest

	mu sync.Mutex // guards fd, and Conn until it is there
	fd int        // -1 when it is closed, or Conn is there
}

// open makes it a Conn.
func (a *arrival) open() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.Conn != nil:
		return nil
	case a.fd < 0:
		return net.ErrClosed
	}
	file := os.NewFile(uintptr(a.fd), "")
	a.fd = -1
	defer file.Close()
	nc, err := net.FileConn(file) // which has a descriptor of its own
	switch {
	case err != nil:
		return err
	case nc.RemoteAddr() == nil: // it has been reset
		nc.Close()
		return errLeft
	}
	c := newConn(nc.(*net.TCPConn))
	if c == nil {
		return net.ErrClosed
	}
	c.seat = a.seat
	a.Conn, a.of = c, &c.socket
	return nil
}

func (a *arrival) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.Conn != nil:
		return a.Conn.Close()
	case a.fd >= 0:
		err := syscall.Close(a.fd)
		a.fd = -1
		return err
	}
	return nil
}

// first is the first byte that has come, which stays there. The error is EAGAIN where none has.
func (a *arrival) first() (byte, error) {
	var p [1]byte
	n, err := receive(a.fd, p[:], syscall.MSG_PEEK)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return p[0], err
}

func (a *arrival) guest() *guest { return a.seat }

func (a *arrival) HasLeft() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Conn != nil && a.Conn.HasLeft() || a.Conn == nil && (a.fd < 0 || hasLeft(a.fd))
}

// handshakeRecord is the first byte of a TLS connection: the type of a record of the handshake (RFC 8446, section
// 5.1). No line, no HTTP request and no Kafka request, which begins with its size, has it.
const handshakeRecord = 0x16

// decide waits for the first byte, does the handshake if it is one, and gives the connection to serve.
func (a *arrival) decide(limit time.Duration) (Conn, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	s := a.of
	s.SetReadDeadline(time.Now().Add(limit))
	first, err := s.peek()
	if err != nil {
		return nil, err
	}
	if first == handshakeRecord {
		until := time.Now().Add(min(limit, handshakeTime))
		return a.shake(handshakes.Begin(a.seat.network()), until)
	}
	s.SetReadDeadline(time.Time{})
	if !isLoopback(addressOf(s.LocalAddr())) {
		a.seat.place.refused = ErrPlain
	}
	return a.Conn, nil
}

// handshakeTime is the most time for a handshake from its first byte on.
const handshakeTime = 10 * time.Second

var errLeft = errors.New("the client has left before the handshake")

// shake does the handshake in its turn, which it ends.
func (a *arrival) shake(turn *turns.Turn, until time.Time) (Conn, error) {
	err := error(nil)
	switch {
	case !time.Now().Before(until): // there was no turn for so long
		err = os.ErrDeadlineExceeded
	case a.HasLeft():
		err = errLeft
	default:
		err = a.open()
	}
	if err != nil {
		turn.Pause()
		return nil, err
	}
	c := newTLS(a.of, a.config)
	return c, c.handshake(turn, until)
}

// peek waits for the first byte and leaves it there.
func (s *socket) peek() (byte, error) {
	var p [1]byte
	var n int
	var failed error
	err := s.raw.Read(func(fd uintptr) bool {
		n, failed = receive(int(fd), p[:], syscall.MSG_PEEK)
		return !isAgain(failed)
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	case n == 0:
		return 0, io.EOF
	}
	return p[0], nil
}

// nameIn is the name of a certificate's owner.
func nameIn(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	}
	return ""
}
