package tcpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// begun is the number of links that there are.
func (l *Links) begun() (all, greeting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.links), l.greeting
}

// What is no link ends at once, costs nothing, and does not reach the server.
func TestGarbageOnThePortOfLinksEnds(t *testing.T) {
	body, _ := someHello.append(nil)
	text := func(k kind, body []byte) string { return string(frame(k, body...)) }
	garbage := []string{
		"GET / HTTP/1.1\r\n\r\n", "orders\n", "\x16\x03\x01\x02\x00", "\x00\x00\x00\x00", "\xff\xff\xff\xff",
		"\x01\xff\xff\xff", "\x04\x01\x00\x00" + strings.Repeat("x", 1<<16), // data before a hello
		text(frameHello, body[:len(greeting)]), text(frameHello, body[:len(body)-1]), text(frameHello, []byte("mbus link 2\n")),
		text(frameHello, append([]byte(greeting), make([]byte, 20)...)), text(frameClose, nil), text(frameBeat, nil),
		text(frameHello, body) + text(frameWelcome, nil), text(frameHello, body) + text(frameHello, body),
		text(frameHello, body) + text(frameState, make([]byte, 16)) + text(frameGrant, []byte("12345678")),
		text(frameHello, body) + strings.Repeat(text(frameData, make([]byte, 1000)), 9), // more than is granted
	}
	r := newLinkedRig(t, false, Limits{Connections: 1000})
	c, p := r.connect()
	for i, text := range garbage {
		conn, err := net.Dial("tcp", r.link.address)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(bound))
		go io.WriteString(conn, text) // fails where the owner has seen enough
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("%d does not end", i)
		}
		conn.Close()
	}
	brokertest.Await(t, bound, "only one is left", func() bool { all, greeting := r.link.links.begun(); return all == 1 && greeting == 0 })
	for len(r.accepted) > 0 { // those that had said hello
		if _, err := io.ReadAll(<-r.accepted); err == nil {
			t.Error("garbage is an end in good order")
		}
	}
	r.write(c, stream)
	r.mustRead(p, stream)
	if lines := r.book.Lines("level=WARN"); len(lines) > 0 {
		t.Errorf("it warns: %q", lines)
	}
}

// Links that say nothing hold up no other, cost little, and end by their time. There are so many of them at most.
func TestSilentLinksHoldUpNobody(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", overTLS), func(t *testing.T) {
			times := usualTimes
			times.greet = never
			r := newLinkedRigWith(t, overTLS, Limits{Connections: 10}, times, nil)
			before := inUse()
			var silent []net.Conn
			for i := range maxGreeting - 10 {
				conn, err := net.Dial("tcp", r.link.address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if i%2 == 0 {
					io.WriteString(conn, "\x16\x03\x01"[:1+i%3]) // the begin of a handshake, or of nothing known
				}
				silent = append(silent, conn)
			}
			c, p := r.connect()
			r.write(c, stream)
			r.mustRead(p, stream)
			if each := (inUse() - before) / len(silent); each > 20<<10 && !brokertest.Race {
				t.Errorf("each takes %d bytes", each)
			}
			for range 20 {
				if conn, err := net.Dial("tcp", r.link.address); err == nil { // or it was reset at once
					defer conn.Close()
				}
			}
			brokertest.Await(t, bound, "one more is reset", func() bool {
				conn, err := net.Dial("tcp", r.link.address)
				if err != nil {
					return true
				}
				defer conn.Close()
				conn.SetReadDeadline(time.Now().Add(bound))
				_, err = conn.Read(make([]byte, 1))
				return !isTimeout(err)
			})
			if _, greeting := r.link.links.begun(); greeting != maxGreeting {
				t.Errorf("%d have said nothing, the limit is %d", greeting, maxGreeting)
			}
			r.write(c, stream)
			r.mustRead(p, stream)
		})
	}
}

func TestASilentLinkEndsByItsTime(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		times := usualTimes
		times.greet = 4 * moment
		r := newLinkedRigWith(t, overTLS, Limits{Connections: 10}, times, nil)
		for _, text := range []string{"", "\x16\x03", "\x01\x00\x00\x40mbus"} {
			conn, err := net.Dial("tcp", r.link.address)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, text)
			conn.SetDeadline(time.Now().Add(bound))
			if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
				t.Errorf("%q does not end", text)
			}
			conn.Close()
		}
	}
}

// EndAll resets clients, and ends those links that have only been accepted.
func TestEndAllMissesNoLink(t *testing.T) {
	times := usualTimes
	times.greet = never
	r := newLinkedRigWith(t, false, Limits{Connections: 10}, times, nil)
	c, p := r.connect()
	silent, err := net.Dial("tcp", r.link.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	silent.SetDeadline(time.Now().Add(bound))
	brokertest.Await(t, bound, "it is accepted", func() bool { all, _ := r.link.links.begun(); return all == 2 })
	r.link.links.EndAll()
	if _, err := io.Copy(io.Discard, silent); isTimeout(err) {
		t.Error("the silent one does not end")
	}
	if _, err := io.Copy(io.Discard, p); err == nil || isTimeout(err) {
		t.Errorf("the client is not reset: %v", err)
	}
	if _, err := io.ReadAll(c); err == nil {
		t.Error("the owner has an end in good order")
	}
	brokertest.Await(t, bound, "none is left", func() bool { all, greeting := r.link.links.begun(); return all == 0 && greeting == 0 })
	next, p := r.connect() // others come as before
	r.write(next, stream)
	r.mustRead(p, stream)
}

// Only who has a certificate of the nodes' authority gets a link, and only such a one gets a client.
func TestLinksAreForNodesOnly(t *testing.T) {
	r := newLinkedRig(t, true, Limits{Connections: 10})
	_, others := brokertest.TLS(t)
	none := r.link.config.Clone()
	none.Certificates = nil
	old := r.link.config.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	foreign := nodeTLS(t)
	foreign.RootCAs = r.link.config.RootCAs // it believes this node
	for name, config := range map[string]*tls.Config{"no certificate": none, "another authority": foreign, "TLS 1.2": old, "a client's": others, "no TLS": nil} {
		if err := r.carryNobody(config); !errors.Is(err, ErrNotTaken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.accepted) > 0 {
		t.Error("a client of a stranger is served")
	}
	// A stranger at the address of the owner gets no client.
	_, server := foreign, nodeTLS(t)
	strange := NewLinks(r.conns.log, server)
	l := listen(t)
	defer l.Close()
	go strange.Serve(l, func(Hello, Conn) bool { t.Error("a stranger has a client"); return false })
	r.link.address = l.Addr().String()
	if err := r.carryNobody(r.link.config); !errors.Is(err, ErrNotTaken) {
		t.Errorf("a stranger's links: %v", err)
	}
}

// carryNobody tries to carry a client with a configuration.
func (r *rig) carryNobody(config *tls.Config) error {
	r.Helper()
	client, _ := newPair(r)
	link, err := DialLink(r.Context(), r.link.address, config)
	if err != nil {
		return errors.Join(ErrNotTaken, err)
	}
	return Carry(client, link, HelloOf("test", client))
}

// newPair gives both ends of a connection.
func newPair(t testing.TB) (Conn, net.Conn) {
	t.Helper()
	l := listen(t)
	defer l.Close()
	p, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(nc.(*net.TCPConn))
	t.Cleanup(func() { p.Close(); c.Close() })
	return c, p
}

// The owner knows of a client what its node knows.
func TestAHelloSaysWhatIsKnownOfAClient(t *testing.T) {
	overBoth(t, func(r *rig) {
		c, p := r.connect()
		name, isTLS := c.ServerName()
		if got, want := c.RemoteAddrPort().String(), p.LocalAddr().String(); got != want || c.RemoteAddr().String() != want {
			r.Errorf("the client is %s, %s, not %s", got, c.RemoteAddr(), want)
		}
		if got := c.LocalAddrPort().String(); got != r.address || c.LocalAddr().String() != r.address {
			r.Errorf("the server is %s, %s, not %s", got, c.LocalAddr(), r.address)
		}
		if want := r.client != nil; isTLS != want || !c.IsPrivate() {
			r.Errorf("TLS: %v, not %v; private: %v; name %q", isTLS, want, c.IsPrivate(), name)
		}
	})
}

// A node that does not own the topics leaves the client as it was.
func TestANodeThatIsNotTheOwnerTakesNothing(t *testing.T) {
	links := NewLinks(slog.New(slog.DiscardHandler), nil)
	l := listen(t)
	defer l.Close()
	go links.Serve(l, func(Hello, Conn) bool { return false })
	client, _ := newPair(t)
	for range 3 {
		link, err := DialLink(t.Context(), l.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := Carry(client, link, HelloOf("test", client)); !errors.Is(err, ErrNotTaken) {
			t.Fatal(err)
		}
	}
	if closed, err := client.PeerClosed(); closed || err != nil {
		t.Errorf("closed: %v, %v", closed, err)
	}
	goroutines := runtime.NumGoroutine()
	brokertest.Await(t, bound, "no link is left", func() bool { all, _ := links.begun(); return all == 0 && runtime.NumGoroutine() <= goroutines })
}
