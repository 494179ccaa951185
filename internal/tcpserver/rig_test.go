package tcpserver

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

const (
	// bound is for what must happen, and never is longer than any test waits.
	bound = time.Minute
	never = time.Hour

	// moment is how long a test watches for what must not happen.
	moment = 50 * time.Millisecond
)

// A rig is a server whose connections a test has in its hands.
type rig struct {
	*testing.T
	conns    *Conns[Conn]
	address  string
	client   *tls.Config // nil over TCP
	accepted chan Conn
	book     *brokertest.LogBook
}

// overBoth runs a test over TCP and over TLS.
func overBoth(t *testing.T, test func(r *rig)) {
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			test(newRig(t, transport == "tls", 10, bound))
		})
	}
}

func newRig(t *testing.T, overTLS bool, most int, handshake time.Duration) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, address: l.Addr().String(), accepted: make(chan Conn, 100), book: new(brokertest.LogBook)}
	r.conns = NewConns[Conn](slog.New(slog.NewTextHandler(r.book, nil)), Limits{Connections: most, Handshake: handshake})
	if overTLS {
		var server *tls.Config
		server, r.client = brokertest.TLS(t)
		l = WithTLS(l, server)
	}
	served, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		r.conns.Serve(l, func(c Conn) {
			err := r.conns.Start(c, c, func() {
				r.accepted <- c
				<-ended
				c.Close()
			})
			if err != nil {
				r.conns.Refuse(c, err.Error()+"\n")
			}
		})
	}()
	t.Cleanup(func() {
		close(ended)
		r.stop()
		<-served
	})
	return r
}

func (r *rig) stop() {
	r.Helper()
	brokertest.Within(r, bound, "the server stops", func() {
		r.conns.Stop(context.Background(), Conn.Interrupt, Conn.Abort)
	})
}

// narrow is connectWith(small), and the server's system keeps little of what is written, too.
func (r *rig) narrow() (Conn, *peer) {
	r.Helper()
	c, p := r.connectWith(small)
	s, ok := c.(*tcpConn)
	if ok {
		s.tcp.SetWriteBuffer(16 << 10)
	} else {
		c.(*tlsConn).tcp.SetWriteBuffer(16 << 10)
	}
	return c, p
}

// A peer is the other side of a connection.
type peer struct {
	net.Conn // to read and write: TCP or TLS
	tcp      *net.TCPConn
}

// connect gives both ends of a new connection.
func (r *rig) connect() (Conn, *peer) {
	r.Helper()
	return r.connectWith(net.Dialer{})
}

func (r *rig) connectWith(d net.Dialer) (Conn, *peer) {
	r.Helper()
	p := r.dial(d)
	return <-r.accepted, p
}

// dial does the handshake, too.
func (r *rig) dial(d net.Dialer) *peer {
	r.Helper()
	conn, err := d.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(bound))
	p := &peer{conn, conn.(*net.TCPConn)}
	if r.client != nil {
		over := brokertest.TLSClient(conn, r.client)
		if err := over.Handshake(); err != nil {
			r.Fatal(err)
		}
		p.Conn = over
	}
	return p
}

// small is a dialer whose connections hold no more than a few KiB unread.
var small = net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
	e := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	})
	if e != nil {
		return e
	}
	return err
}}

// closeWrite closes the sending side in good order.
func (p *peer) closeWrite() { _ = p.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// die ends the connection as the system does for a program that has died.
func (p *peer) die() { p.tcp.Close() }

func (p *peer) reset() {
	p.tcp.SetLinger(0)
	p.tcp.Close()
}

// awaitUnread waits until bytes have come that the peer has not read.
func (r *rig) awaitUnread(p *peer, n int) {
	r.Helper()
	brokertest.Await(r, bound, "bytes come", func() bool {
		unread, err := brokertest.Unread(p.tcp)
		return err == nil && unread >= n
	})
}

// write has the server write, and fails the test unless all is written.
func (r *rig) write(c Conn, text string) {
	r.Helper()
	if n, err := c.Write([]byte(text), bound); n != len(text) || err != nil {
		r.Fatalf("%d bytes of %d are written, %v", n, len(text), err)
	}
}

// mustRead reads so many bytes of the peer's.
func (r *rig) mustRead(from io.Reader, want string) {
	r.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		r.Fatalf("read %q, %v, not %q", got, err, want)
	}
}
