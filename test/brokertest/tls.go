package brokertest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// TLS makes the configurations of a server on this machine and of its clients, with a
// certificate that is made once for each process. The server sends no session tickets, so that
// all that comes is what it writes.
func TLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	own := &ownCertificate
	own.Do(func() {
		a := NewAuthority(t)
		own.roots = a.Pool()
		own.pair = a.Issue(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"bus.example"}})
	})
	return &tls.Config{Certificates: []tls.Certificate{own.pair}, SessionTicketsDisabled: true}, &tls.Config{RootCAs: own.roots, ServerName: "127.0.0.1"}
}

var ownCertificate struct {
	sync.Once
	pair  tls.Certificate
	roots *x509.CertPool
}

// TLSClient is a client's side of a connection over TLS, for which the end of the connection
// without a close_notify is an error: package tls takes it for the end.
func TLSClient(conn net.Conn, config *tls.Config) *tls.Conn { return tls.Client(strict{conn}, config) }

type strict struct{ net.Conn }

func (s strict) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err == io.EOF {
		err = errNoCloseNotify
	}
	return n, err
}

var errNoCloseNotify = errors.New("the connection ended without a close_notify")
