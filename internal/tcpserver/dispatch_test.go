package tcpserver

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A port is that of a Dispatcher, and what has it is a rig.
type port struct {
	*rig
	door  *Dispatcher
	owner chan Conn // of those that Take has had
}

// newPort makes a port whose connections have no target yet.
func newPort(t *testing.T, address string, server, client *tls.Config, o DispatcherOptions) *port {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &port{rig: newOwner(t, client, Limits{Connections: 1000})}
	p.address = l.Addr().String()
	if server != nil {
		var err error
		if l, err = WithTLS(l, server); err != nil {
			t.Fatal(err)
		}
	}
	if o.Refusal == nil {
		o.Refusal = func(err error) string { return err.Error() + "\n" }
	}
	o.Limits.Handshake = bound
	p.door = NewDispatcher(slog.New(slog.NewTextHandler(p.book, nil)), o)
	served := make(chan struct{})
	go func() {
		defer close(served)
		p.door.Serve(l)
	}()
	t.Cleanup(func() {
		close(p.ended)
		p.stop()
		brokertest.Within(t, bound, "the dispatcher stops", p.door.Stop)
		<-served
	})
	return p
}

func (p *port) here(c Conn) bool {
	p.take(c)
	return true
}

// A server of this process has the connection itself, over TCP and TLS.
func TestADispatcherGivesItsOwnServerTheConnectionItself(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		server, client := brokertest.TLS(t)
		if !overTLS {
			server, client = nil, nil
		}
		p := newPort(t, "127.0.0.1:0", server, client, DispatcherOptions{Limits: Limits{Connections: 10}})
		p.door.Set(Target{Take: p.here})
		goroutines := runtime.NumGoroutine()
		for range 3 {
			c, peer := p.connect()
			switch c.(type) {
			case *tcpConn:
			case *tlsConn:
			default:
				t.Errorf("it is a %T", c)
			}
			p.write(c, stream)
			p.mustRead(peer, stream)
		}
		if more := runtime.NumGoroutine() - goroutines; more > 3 {
			t.Errorf("3 connections have %d goroutines", more)
		}
	}
}

// A connection waits for an owner, and is served by the one that comes, or refused.
func TestAConnectionWaitsForAnOwner(t *testing.T) {
	far := newLinkedRig(t, false, Limits{Connections: 10})
	for name, target := range map[string]func(p *port) Target{
		"here":      func(p *port) Target { return Target{Take: p.here} },
		"elsewhere": func(*port) Target { return Target{Owner: far.link.address} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPort(t, "127.0.0.1:0", nil, nil, DispatcherOptions{Limits: Limits{Connections: 10}, Patience: never})
			peer := p.dial(net.Dialer{})
			if _, err := io.WriteString(peer, stream); err != nil {
				t.Fatal(err)
			}
			peer.closeWrite() // as a producer that waits for its answer
			brokertest.Await(t, bound, "it waits", func() bool { return p.places() == 1 })
			p.door.Set(Target{Owner: refusing(t)}) // which does not take it
			p.door.Set(Target{Take: func(Conn) bool { return false }})
			p.door.Set(target(p))
			var c Conn
			select {
			case c = <-p.accepted:
			case c = <-far.accepted:
			case <-time.After(bound):
				t.Fatal("it is not served")
			}
			if text, err := io.ReadAll(c); string(text) != stream || err != nil {
				t.Errorf("%q, %v", text, err)
			}
			p.write(c, "+2\n")
			c.Close()
			if text, err := io.ReadAll(peer); string(text) != "+2\n" || err != nil {
				t.Errorf("%q, %v", text, err)
			}
			brokertest.Await(t, bound, "its place is free", func() bool { return p.places() == 0 })
		})
	}
	t.Run("none comes", func(t *testing.T) {
		p := newPort(t, "127.0.0.1:0", nil, nil, DispatcherOptions{Limits: Limits{Connections: 10}, Patience: 2 * moment})
		p.isRefused(p.dial(net.Dialer{}), ErrNoOwner)
		p.door.Set(Target{Owner: refusing(t)})
		p.isRefused(p.dial(net.Dialer{}), ErrNoOwner)
	})
}

// refusing is the address of a node that owns nothing.
func refusing(t *testing.T) string {
	links, l := NewLinks(slog.New(slog.DiscardHandler), nil), listen(t)
	t.Cleanup(func() { l.Close() })
	go links.Serve(l, func(Hello, Conn) bool { return false })
	return l.Addr().String()
}

// places is how many the door has given.
func (p *port) places() int {
	p.door.conns.mu.Lock()
	defer p.door.conns.mu.Unlock()
	return p.door.conns.places.open
}

// Clients that are carried to one that is not the owner any more see a reset; those of the server here are the server's.
func TestAnotherOwnerCutsCarriedConnectionsOff(t *testing.T) {
	far := newLinkedRig(t, false, Limits{Connections: 10})
	p := newPort(t, "127.0.0.1:0", nil, nil, DispatcherOptions{Limits: Limits{Connections: 10}, Patience: never})
	for name, next := range map[string]Target{"here": {Take: p.here}, "elsewhere": {Owner: "127.0.0.1:1"}, "nobody": {}} {
		p.door.Set(Target{Owner: far.link.address})
		peer := p.dial(net.Dialer{})
		c := <-far.accepted
		far.write(c, stream)
		far.mustRead(peer, stream)
		p.door.Set(Target{Owner: far.link.address}) // again is the same
		far.write(c, stream)
		far.mustRead(peer, stream)
		p.door.Set(next)
		if _, err := io.ReadAll(peer); err == nil || isTimeout(err) {
			t.Errorf("%s: the client is not reset: %v", name, err)
		}
		if _, err := io.ReadAll(c); err == nil {
			t.Errorf("%s: the former owner sees an end in good order", name)
		}
	}
	p.door.Set(Target{Take: p.here})
	c, peer := p.connect()
	p.door.Set(Target{Owner: far.link.address})
	p.write(c, stream)
	p.mustRead(peer, stream)
}

func TestStopEndsADispatcher(t *testing.T) {
	far := newLinkedRig(t, false, Limits{Connections: 10})
	p := newPort(t, "127.0.0.1:0", nil, nil, DispatcherOptions{Limits: Limits{Connections: 10}, Patience: never})
	p.door.Set(Target{Take: p.here})
	own, ownPeer := p.connect()
	p.door.Set(Target{Owner: far.link.address})
	carried := p.dial(net.Dialer{})
	<-far.accepted
	p.door.Set(Target{Owner: far.link.address})
	p.door.mu.Lock()
	p.door.target = Target{} // so that one waits beside one that is carried
	p.door.mu.Unlock()
	waits := p.dial(net.Dialer{})
	brokertest.Await(t, bound, "it waits", func() bool { return p.places() == 3 })
	brokertest.Within(t, bound, "it stops", p.door.Stop)
	if _, err := io.ReadAll(carried); err == nil || isTimeout(err) {
		t.Errorf("the carried one is not reset: %v", err)
	}
	if text, _ := io.ReadAll(waits); string(text) != ErrStopped.Error()+"\n" {
		t.Errorf("the one that waits gets %q", text)
	}
	p.write(own, stream)
	p.mustRead(ownPeer, stream)
	if _, err := net.Dial("tcp", p.address); err == nil {
		t.Error("the port is open")
	}
	p.door.Set(Target{Take: p.here}) // which changes nothing
}

// The limits hold at the door, wherever connections are served.
func TestALimitHoldsWhereverConnectionsAreServed(t *testing.T) {
	owner := newLinkedRig(t, false, Limits{Connections: 1000})
	for name, target := range map[string]func(p *port) Target{
		"here":      func(p *port) Target { return Target{Take: p.here} },
		"elsewhere": func(*port) Target { return Target{Owner: owner.link.address} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPort(t, "127.0.0.1:0", nil, nil, DispatcherOptions{Limits: Limits{Connections: maxWaiting + 10, PerAddress: maxWaiting + 5}})
			p.door.Set(target(p))
			server := p.rig
			if name == "elsewhere" {
				server = owner
			}
			var conns []Conn
			next := func() {
				t.Helper()
				p.dial(from(far))
				select {
				case c := <-server.accepted:
					conns = append(conns, c)
				case <-time.After(bound):
					t.Fatal("it is not served")
				}
			}
			for range maxWaiting {
				next()
			}
			p.mustRefuse(from(far), ErrWaiting)
			server.conns.Admitted(conns[0]) // the owner says so, and the door hears it
			brokertest.Await(t, bound, "there is a place", func() bool {
				p.door.conns.mu.Lock()
				defer p.door.conns.mu.Unlock()
				for _, of := range p.door.conns.places.addresses {
					return of == uses{maxWaiting, maxWaiting - 1}
				}
				return false
			})
			next()
			for _, c := range conns {
				server.conns.Admitted(c)
			}
			for len(conns) < maxWaiting+5 {
				next()
			}
			p.mustRefuse(from(far), ErrFullAddress)
			for range 5 {
				p.dial(from(farther))
				<-server.accepted
			}
			p.mustRefuse(from(farther), ErrFull)
			server.release <- struct{}{}
			brokertest.Await(t, bound, "a place is free", func() bool { return p.places() == maxWaiting+9 })
			for range maxWaiting + 9 {
				server.release <- struct{}{}
			}
			brokertest.Await(t, bound, "all places are free", func() bool { return p.places() == 0 })
		})
	}
}

// Off loopback a connection without TLS is refused at the door.
func TestADispatcherRefusesPlainConnectionsOffLoopback(t *testing.T) {
	server, client := brokertest.TLS(t)
	p := newPort(t, far+":0", server, client, DispatcherOptions{Limits: Limits{Connections: 10}})
	p.door.Set(Target{Take: p.here})
	p.isRefused(p.plain("orders\n"), ErrPlain)
	c, peer := p.connect()
	p.write(c, stream)
	p.mustRead(peer, stream)
}

// A client whose bytes came long before anybody looked at them has sent them elsewhere since: this process was frozen.
func TestBytesThatNobodyLookedAtForLongAreNotCarried(t *testing.T) {
	before := staleTime
	t.Cleanup(func() { staleTime = before })
	staleTime = 4 * moment
	owner := newLinkedRig(t, false, Limits{Connections: 10})
	l := listen(t)
	old, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	io.WriteString(old, stream)
	since := time.Now()
	brokertest.Await(t, bound, "they get old", func() bool { return time.Since(since) > 5*moment })
	door := NewDispatcher(owner.conns.log, DispatcherOptions{Limits: Limits{Connections: 10}})
	door.Set(Target{Owner: owner.link.address})
	go door.Serve(l)
	defer door.Stop()
	old.SetDeadline(time.Now().Add(bound))
	if _, err := io.ReadAll(old); err == nil || isTimeout(err) {
		t.Errorf("the client is not reset: %v", err)
	}
	c := <-owner.accepted // the one that has sent nothing yet
	io.WriteString(silent, "first")
	owner.mustRead(c, "first")
	if len(owner.accepted) > 0 {
		t.Error("old bytes reach the owner")
	}
}

// net/http serves connections of a Feed, those of this node and those that are carried, over TCP and TLS.
func TestAFeedServesHTTP(t *testing.T) {
	overBoth(t, func(r *rig) {
		f := NewFeed(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		s := &http.Server{
			ReadHeaderTimeout: bound, WriteTimeout: bound,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				fmt.Fprintf(w, "%s from %s", q.URL.Path, q.RemoteAddr)
			}),
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(f) }()
		c, p := r.connect()
		f.Take(c)
		answers := bufio.NewReader(p)
		for i := range 3 {
			fmt.Fprintf(p, "GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i)
			want := fmt.Sprintf("/%d from %s", i, p.LocalAddr())
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				r.Fatal(err)
			}
			if got, err := io.ReadAll(answer.Body); string(got) != want || err != nil {
				r.Errorf("%q, %v, not %q", got, err, want)
			}
		}
		s.Close()
		if err := r.within(ended); !errors.Is(err, http.ErrServerClosed) {
			r.Error(err)
		}
		late, p := r.connect()
		f.Take(late)
		if _, err := io.ReadAll(p); isTimeout(err) {
			r.Error("a connection that comes late stays open")
		}
	})
}
