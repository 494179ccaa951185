package tcpserver

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Borrow gives a listener for a server of another kind, such as net/http's, until stop is called, which returns when
// that server has closed it, and leaves l to Conns. Its connections are as those of l: TLS where they begin with a
// handshake. It is nil if l does not accept TCP.
func Borrow(l net.Listener) (borrowed net.Listener, stop func()) {
	b := &borrowing{ended: make(chan struct{})}
	if t, ok := l.(*tlsListener); ok {
		b.config, l = t.config, t.TCPListener
	}
	var ok bool
	if b.TCPListener, ok = l.(*net.TCPListener); !ok {
		return nil, nil
	}
	return b, func() {
		_ = b.SetDeadline(longAgo) // ends the Accept that waits
		<-b.ended
		_ = b.SetDeadline(time.Time{})
	}
}

// A borrowing is a listener that stays open. A deadline ends it.
type borrowing struct {
	*net.TCPListener
	config *tls.Config // nil without TLS
	once   sync.Once
	ended  chan struct{} // closed by Close
}

func (b *borrowing) Close() error {
	b.once.Do(func() { close(b.ended) })
	return nil
}

func (b *borrowing) Accept() (net.Conn, error) {
	conn, err := b.TCPListener.Accept()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, io.EOF // or http.Server would go on
	case err != nil || b.config == nil:
		return conn, err
	}
	return &undecided{Conn: conn, config: b.config}, nil
}

// An undecided connection is TLS or not with its first read.
type undecided struct {
	net.Conn
	config *tls.Config
	once   sync.Once
	over   atomic.Pointer[tls.Conn] // nil without TLS
	err    error                    // of the decision
}

func (u *undecided) Read(p []byte) (int, error) {
	if u.once.Do(u.decide); u.err != nil {
		return 0, u.err
	}
	if over := u.over.Load(); over != nil {
		return over.Read(p)
	}
	return u.Conn.Read(p)
}

func (u *undecided) decide() {
	c := newConn(u.Conn.(*net.TCPConn))
	if c == nil {
		u.err = net.ErrClosed
		return
	}
	first, err := c.peek()
	switch {
	case err != nil:
		u.err = err
	case first == handshakeRecord:
		u.over.Store(tls.Server(u.Conn, u.config))
	case !isLoopback(addressOf(u.LocalAddr())):
		u.err = ErrPlain
	}
}

func (u *undecided) Write(p []byte) (int, error) {
	if over := u.over.Load(); over != nil {
		return over.Write(p)
	}
	return u.Conn.Write(p)
}

func (u *undecided) Close() error {
	if over := u.over.Load(); over != nil {
		return over.Close()
	}
	return u.Conn.Close()
}
