package line_test

import (
	"net"
	"strings"
	"testing"

	"mbus/internal/tcpserver"
)

const linkTest = "TestByLink"

// byLink says whether a test is one of those of TestByLink.
func byLink(t testing.TB) bool {
	return strings.HasPrefix(t.Name(), linkTest+"/")
}

// What is promised of clients holds for those that have connected to another node, which carries them to this one.
func TestByLink(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time; make test runs it")
	}
	for name, test := range clientTests {
		t.Run(name, test)
	}
}

// serveByLink has another node accept the clients of l, and carry them to this one.
func (b *bus) serveByLink(l net.Listener, take func(tcpserver.Conn) bool) {
	ports := listen(b.t)
	links := tcpserver.NewLinks(b.broker.Log, nil)
	door := tcpserver.NewDispatcher(b.broker.Log, tcpserver.DispatcherOptions{Port: "lines", Limits: tcpserver.Limits{Connections: 1 << 20, Handshake: patience}})
	door.Set(tcpserver.Target{Owner: ports.Addr().String()})
	b.serving.Go(func() {
		links.Serve(ports, func(_ tcpserver.Hello, c tcpserver.Conn) bool { return take(c) })
	})
	b.serving.Go(func() { door.Serve(l) })
	b.doors = append(b.doors, l)
	b.ends = append(b.ends, func() {
		door.Stop()
		ports.Close()
		links.EndAll()
	})
}
