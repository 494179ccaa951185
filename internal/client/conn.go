package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// A conn is a connection to a broker, plain or over TLS.
type conn struct {
	net.Conn // a *net.TCPConn or a *tls.Conn
	tcp      *net.TCPConn
	feed     *feed // nil over plain TCP
	resets   bool  // it is to be reset at its end
}

// A feed is the TCP connection below TLS.
type feed struct {
	*net.TCPConn
	peeks bool // reads do not wait
}

// errAborted is the end of a TLS connection that the other side has not closed. Package tls takes some of them for a
// close.
var errAborted = errors.New("the connection has ended without TLS's close")

func (f *feed) Read(p []byte) (int, error) {
	if f.peeks && !readable(f.TCPConn) {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := f.TCPConn.Read(p)
	if err == io.EOF {
		err = errAborted
	}
	return n, err
}

// newConn begins TLS, if the broker is to be reached by it.
func newConn(tcp *net.TCPConn, b *Broker, within time.Duration) (*conn, error) {
	if b.TLS == nil {
		return &conn{Conn: tcp, tcp: tcp}, nil
	}
	config := b.TLS
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(b.Addr)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.ServerName, _, _ = strings.Cut(host, "%") // without the zone
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	below := &feed{TCPConn: tcp}
	over := tls.Client(below, config)
	if err := over.HandshakeContext(ctx); err != nil {
		return nil, Explain(err)
	}
	return &conn{Conn: over, tcp: tcp, feed: below}, nil
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.feed != nil {
		err = Explain(err)
	}
	return n, err
}

// peek reads what has come, without waiting: nothing if n is 0. Whatever ends the connection is left to Read. Over plain TCP
// it does not take what has come, and only says whether something has.
func (c *conn) peek(p []byte) (n int, some bool) {
	if c.feed == nil {
		return 0, readable(c.tcp)
	}
	c.feed.peeks = true
	n, _ = c.Conn.Read(p)
	c.feed.peeks = false
	return n, n > 0
}

// CloseWrite closes our side.
func (c *conn) CloseWrite() error {
	if over, ok := c.Conn.(*tls.Conn); ok {
		return over.CloseWrite()
	}
	return c.tcp.CloseWrite()
}

// resetOnClose says whether the close to come, also the system's if this program dies, is a reset.
func (c *conn) resetOnClose(resets bool) error {
	seconds := -1
	if resets {
		seconds = 0
	}
	if err := c.tcp.SetLinger(seconds); err != nil {
		return err
	}
	c.resets = resets
	return nil
}

// Close closes in good order, unless the connection is to be reset: then TLS's close may not come first.
func (c *conn) Close() error {
	if c.resets {
		return c.tcp.Close()
	}
	return c.Conn.Close()
}

// Explain has an error of TLS say what is wrong, and what mends it. Others are returned as they are.
func Explain(err error) error {
	var plain tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var op *net.OpError
	switch {
	case errors.As(err, &plain):
		return fmt.Errorf("this port does not speak TLS: connect without -tls, or start the broker with -tls-cert and -tls-key (%w)", err)
	case errors.As(err, &authority):
		return fmt.Errorf("an unknown authority has signed the broker's certificate: -tls-ca names the file of the one to trust (%w)", err)
	case errors.As(err, &name):
		return fmt.Errorf("the broker's certificate has another name than %q: -host is to be a name in the certificate (%w)", name.Host, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the broker's certificate has expired, or is not valid yet (%w)", err)
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("the broker has ended TLS: where it is about a certificate, the one of -tls-cert is missing or wrong (%w)", err)
	}
	return err
}
