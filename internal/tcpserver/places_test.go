package tcpserver

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"mbus/test/brokertest"
)

// from is a dialer with an address of its own.
func from(address string) net.Dialer {
	return net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
}

// mustRefuse connects, and demands that it is refused because of err.
func (r *rig) mustRefuse(d net.Dialer, err error) {
	r.Helper()
	p := r.dial(d)
	defer p.Close()
	r.isRefused(p, err)
}

// isRefused demands that a connection is refused because of err. One that is served fails the test at once.
func (r *rig) isRefused(conn net.Conn, err error) {
	r.Helper()
	text := make(chan string, 1)
	go func() {
		p, _ := io.ReadAll(conn)
		text <- string(p)
	}()
	select {
	case got := <-text:
		if got != err.Error()+"\n" {
			r.Fatalf("%q comes, not %q", got, err)
		}
	case <-r.accepted:
		r.Fatalf("it is served; it should get %q", err)
	}
}

// One address has so many connections off loopback, and no more until one has ended; others have theirs.
func TestConnectionsOfOneAddressAreLimited(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		server, client := brokertest.TLS(t)
		if !overTLS {
			server, client = nil, nil
		}
		r := newRigWith(t, server, client, Limits{Connections: 20, PerAddress: 3, Handshake: bound})
		for range 3 {
			r.connectWith(from(far))
		}
		r.mustRefuse(from(far), ErrFullAddress)
		r.mustRefuse(from(far), ErrFullAddress)
		r.release <- struct{}{}
		brokertest.Await(t, bound, "one has ended", func() bool { return r.uses(far).open == 2 })
		r.connectWith(from(far))
		for range 5 {
			r.connect()
		}
		c, p := r.connectWith(from(farther))
		r.write(c, stream)
		r.mustRead(p, stream)
		if n := len(r.book.Lines("level=WARN", "from one address", "limit=3", "refused=1")); n != 1 || len(r.book.Lines("level=WARN")) != 1 {
			t.Errorf("over TLS: %v: the log says %q", overTLS, r.book.Lines("level=WARN"))
		}
	}
}

// So many connections of one address may be without a log-in; on loopback any number may.
func TestConnectionsWithoutALogInAreLimited(t *testing.T) {
	r := newRig(t, false, 10*maxWaiting, bound)
	var conns []Conn
	for range maxWaiting {
		c, _ := r.connectWith(from(far))
		conns = append(conns, c)
	}
	r.mustRefuse(from(far), ErrWaiting)
	for range 2 {
		r.conns.Admitted(conns[0]) // again is the same
	}
	last, _ := r.connectWith(from(far))
	r.mustRefuse(from(far), ErrWaiting)
	r.connectWith(from(farther))
	for range maxWaiting + 1 {
		r.connect()
	}
	for _, c := range append(conns, last) {
		r.conns.Admitted(c)
	}
	r.connectWith(from(far))
	if of := r.uses(far); of != (uses{maxWaiting + 2, 1}) {
		t.Errorf("%+v", of)
	}
}

// uses are those of an address.
func (r *rig) uses(address string) uses {
	r.conns.mu.Lock()
	defer r.conns.mu.Unlock()
	a := netip.MustParseAddr(address)
	return r.conns.places.addresses[netip.PrefixFrom(a, a.BitLen())]
}

// open is the number of places that are taken.
func (r *rig) open() int {
	r.conns.mu.Lock()
	defer r.conns.mu.Unlock()
	return r.conns.places.open
}

// Connections that ended, in whatever way, hold no place.
func TestPlacesAreGivenBack(t *testing.T) {
	server, client := brokertest.TLS(t)
	r := newRigAt(t, far+":0", server, client, Limits{Connections: 8, PerAddress: 7, Handshake: 4 * moment})
	hello := r.clientHello()
	for i := range 8 {
		c, _ := r.connectWith(from([]string{far, farther}[i%2]))
		if i < 5 {
			r.conns.Admitted(c)
		}
	}
	r.mustRefuse(from(farther), ErrFull)
	r.release <- struct{}{}
	brokertest.Await(t, bound, "one has ended", func() bool { return r.open() == 7 })
	for _, text := range []string{"", "\x16garbage, and more of it", hello[:20], "orders\n"} {
		for _, d := range []net.Dialer{from(farther), from(far)} {
			conn, err := d.Dial("tcp", r.address)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, text)
			io.Copy(io.Discard, conn) // until it is refused, or its time is over
			conn.Close()
		}
	}
	for range 7 {
		r.release <- struct{}{}
	}
	brokertest.Await(t, bound, "all places are free", func() bool {
		return r.open() == 0 && r.uses(far) == (uses{}) && r.uses(farther) == (uses{})
	})
}

func TestAnAddressOfIPv6IsANetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1/32", "[::ffff:192.0.2.1]:5": "192.0.2.1/32", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5": "fe80::/64", "127.0.0.1:5": "invalid Prefix", "[::1]:5": "invalid Prefix", "[::ffff:127.0.0.1]:5": "invalid Prefix",
	} {
		a := netip.MustParseAddrPort(address)
		if got := networkOf(a.Addr()).String(); got != want {
			t.Errorf("%s: %s, not %s", address, got, want)
		}
	}
}
