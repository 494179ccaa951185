package tcpserver

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
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

// Addresses that count as off loopback, in these tests alone.
const far, farther = "127.9.0.1", "127.9.0.2"

func init() {
	isLoopback = func(a netip.Addr) bool { return a.IsLoopback() && !netip.MustParsePrefix("127.9.0.0/16").Contains(a) }
}

// A rig is a server whose connections a test has in its hands.
type rig struct {
	*testing.T
	conns    *Conns[Conn]
	address  string
	client   *tls.Config // nil over TCP
	accepted chan Conn
	release  chan struct{} // each element ends a connection, whichever
	book     *brokertest.LogBook
	ended    chan struct{} // closed at the end of the test
	link     *linked       // nil without a link
}

// overBoth runs a test over TCP and over TLS, to this node and by way of another.
func overBoth(t *testing.T, test func(r *rig)) {
	for _, overTLS := range []bool{false, true} {
		name := map[bool]string{false: "tcp", true: "tls"}[overTLS]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newRig(t, overTLS, 10, bound))
		})
		t.Run(name+" by link", func(t *testing.T) {
			t.Parallel()
			test(newLinkedRig(t, overTLS, Limits{Connections: 10}))
		})
	}
}

func newRig(t *testing.T, overTLS bool, most int, handshake time.Duration) *rig {
	t.Helper()
	limits := Limits{Connections: most, Handshake: handshake}
	if !overTLS {
		return newRigWith(t, nil, nil, limits)
	}
	server, client := brokertest.TLS(t)
	return newRigWith(t, server, client, limits)
}

// newRigWith is newRig with configurations, which are nil for TCP.
func newRigWith(t *testing.T, server, client *tls.Config, limits Limits) *rig {
	t.Helper()
	return newRigAt(t, "127.0.0.1:0", server, client, limits)
}

// newRigAt is newRigWith at an address.
func newRigAt(t *testing.T, address string, server, client *tls.Config, limits Limits) *rig {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := newOwner(t, client, limits)
	r.address = l.Addr().String()
	if server != nil {
		if l, err = WithTLS(l, server); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		r.conns.Serve(l, r.take)
	}()
	t.Cleanup(func() {
		close(r.ended)
		r.stop()
		<-served
	})
	return r
}

// newOwner makes a rig that has no connections yet.
func newOwner(t *testing.T, client *tls.Config, limits Limits) *rig {
	r := &rig{
		T: t, client: client, accepted: make(chan Conn, 100), release: make(chan struct{}), book: new(brokertest.LogBook),
		ended: make(chan struct{}),
	}
	r.conns = NewConns[Conn](slog.New(slog.NewTextHandler(r.book, nil)), limits)
	return r
}

// take gives a connection to the test until that ends.
func (r *rig) take(c Conn) {
	err := r.conns.Start(c, c, func() {
		r.accepted <- c
		select {
		case <-r.ended:
		case <-r.release:
		}
		c.Close()
	})
	if err != nil {
		r.conns.Refuse(c, err.Error()+"\n")
	}
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
	switch c := c.(type) {
	case *tcpConn:
		c.tcp.SetWriteBuffer(16 << 10)
	case *tlsConn:
		c.tcp.SetWriteBuffer(16 << 10)
	default:
		(<-r.link.clients).SetWriteBuffer(16 << 10)
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
	select {
	case c := <-r.accepted:
		return c, p
	case <-time.After(bound): // a client is done with a handshake that the server may still refuse
		r.Fatal("the connection is not accepted")
		return nil, nil
	}
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
