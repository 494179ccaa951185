package tcpserver

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"mbus/test/brokertest"
)

// A linked is what a rig has whose clients connect to another node.
type linked struct {
	door    *Dispatcher // of that node
	links   *Links      // of the rig's
	address string      // of links
	config  *tls.Config // nil without TLS
	clients chan *net.TCPConn
}

// newLinkedRig makes a rig whose clients come by way of another node. Links are over TLS where clients are.
func newLinkedRig(t *testing.T, overTLS bool, limits Limits) *rig {
	t.Helper()
	return newLinkedRigWith(t, overTLS, limits, usualTimes, nil)
}

// newLinkedRigWith is newLinkedRig with links that go through a road to the address of the rig's.
func newLinkedRigWith(t *testing.T, overTLS bool, limits Limits, times linkTimes, road func(to string) string) *rig {
	t.Helper()
	var server, client, config *tls.Config
	if overTLS {
		server, client = brokertest.TLS(t)
		config = nodeTLS(t)
	}
	r := newOwner(t, client, limits)
	log := r.conns.log
	r.link = &linked{
		door:  NewDispatcher(log, DispatcherOptions{Port: "test", Limits: Limits{Connections: 10_000, Handshake: bound}, Links: config}),
		links: NewLinks(log, config), config: config, clients: make(chan *net.TCPConn, 10_000),
	}
	r.link.door.times, r.link.links.times = times, times
	ports, clients := listen(t), listen(t)
	r.link.address, r.address = ports.Addr().String(), clients.Addr().String()
	clients = &noting{clients, r.link.clients}
	if server != nil {
		var err error
		if clients, err = WithTLS(clients, server); err != nil {
			t.Fatal(err)
		}
	}
	if road != nil {
		r.link.address = road(r.link.address)
	}
	r.link.door.Set(Target{Owner: r.link.address})
	served := make(chan struct{}, 2)
	go func() {
		r.link.links.Serve(ports, func(_ Hello, c Conn) bool {
			r.take(c)
			return true
		})
		served <- struct{}{}
	}()
	go func() {
		r.link.door.Serve(clients)
		served <- struct{}{}
	}()
	t.Cleanup(func() {
		close(r.ended)
		r.stop()
		brokertest.Within(t, bound, "the dispatcher stops", r.link.door.Stop)
		ports.Close()
		<-served
		<-served
		r.link.links.EndAll()
	})
	return r
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A noting listener notes what it accepts.
type noting struct {
	net.Listener
	accepted chan *net.TCPConn
}

func (n *noting) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		n.accepted <- c.(*net.TCPConn)
	}
	return c, err
}

// nodeTLS is a configuration for all nodes.
func nodeTLS(t testing.TB) *tls.Config {
	t.Helper()
	authority := brokertest.NewAuthority(t)
	pool := authority.Pool()
	return &tls.Config{
		Certificates: []tls.Certificate{authority.Issue(x509.Certificate{})}, RootCAs: pool, ClientCAs: pool, ServerName: "localhost",
	}
}
