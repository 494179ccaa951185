package client

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
)

// A Broker is where one listens, and how a client gets in. Only Addr is needed.
type Broker struct {
	Addr string      // host:port
	TLS  *tls.Config // nil for plain TCP; without a ServerName it is the host of Addr

	User, Password string // "" for a client that does not log in with them
	Token          string // in place of both

	// TokenAt makes the token for the address that was reached; nil for Token.
	TokenAt func(netip.AddrPort) string
}

// errNotPrivate is for secrets that others would read.
var errNotPrivate = errors.New("a password or a token is sent over TLS only, or to a loopback address: -tls has the connection encrypted")

// TokenOn is the token for a connection; "" for none.
func (b *Broker) TokenOn(conn net.Conn) string {
	if b.TokenAt == nil {
		return b.Token
	}
	at, _ := conn.RemoteAddr().(*net.TCPAddr)
	return b.TokenAt(at.AddrPort())
}

// login is the line that comes before the request, with its LF; "" for a client that does not log in.
func (b *Broker) login(conn net.Conn) string {
	token := b.TokenOn(conn)
	switch {
	case token != "":
		return "AUTH " + token + "\n"
	case b.User != "" && b.Password != "":
		return "AUTH " + b.User + " " + b.Password + "\n"
	}
	return ""
}

// isPrivate says whether nobody else reads what is sent.
func (b *Broker) isPrivate(tcp *net.TCPConn) bool {
	return b.TLS != nil || isLoopback(tcp.LocalAddr()) && isLoopback(tcp.RemoteAddr())
}

// CheckPrivate says why no secret may be sent over a connection to the broker, before TLS has begun.
func (b *Broker) CheckPrivate(conn net.Conn) error {
	if tcp, ok := conn.(*net.TCPConn); ok && b.isPrivate(tcp) {
		return nil
	}
	return errNotPrivate
}

func isLoopback(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}
