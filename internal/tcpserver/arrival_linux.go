package tcpserver

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"syscall"
	"time"
)

// A tlsListener accepts connections for TLS.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

// WithTLS makes a listener whose connections speak TLS if they begin with a handshake. Others are served as they
// are if they come to a loopback address, and refused with ErrPlain if not. l accepts TCP.
func WithTLS(l net.Listener, config *tls.Config) net.Listener {
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true // small records cost a system call each
	return &tlsListener{l, config}
}

// An arrival is a connection that has sent nothing yet: it is TCP until decide.
type arrival struct {
	Conn
	of     *socket
	config *tls.Config
}

// handshakeRecord is the first byte of a TLS connection: the type of a record of the handshake (RFC 8446, section
// 5.1). No line, no HTTP request and no Kafka request, which begins with its size, has it.
const handshakeRecord = 0x16

// decide waits for the first byte, does the handshake if it is one, and gives the connection to serve.
func (a *arrival) decide(limit time.Duration) (Conn, error) {
	s := a.of
	s.SetReadDeadline(time.Now().Add(limit))
	first, err := s.peek()
	if err != nil {
		return nil, err
	}
	if first == handshakeRecord {
		c := newTLS(s, a.config)
		return c, c.handshake(min(limit, handshakeTime), handshakes)
	}
	s.SetReadDeadline(time.Time{})
	if !isLoopback(addressOf(s.LocalAddr())) {
		s.seat.place.refused = ErrPlain
	}
	return a.Conn, nil
}

// handshakeTime is the most time for a handshake from its first byte on.
const handshakeTime = 10 * time.Second

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
