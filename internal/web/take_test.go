package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"mbus/internal/tcpserver"
)

// Connections that come one at a time are served until the server has stopped, which leaves them to the next one.
func TestAConnectionThatIsTakenIsServed(t *testing.T) {
	r := newRig(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r.host = l.Addr().String()
	r.url = "http://" + r.host
	stopped, server := NewServer(r.broker, Options{}), NewServer(r.broker, Options{})
	stopped.Stop(context.Background())
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		server.Stop(context.Background())
	})
	accepts := tcpserver.NewConns[tcpserver.Conn](slog.New(slog.DiscardHandler), tcpserver.Limits{Connections: 1})
	go accepts.Serve(l, func(c tcpserver.Conn) {
		if stopped.Take(c) {
			t.Error("a server that has been stopped takes a connection")
		}
		if !server.Take(c) {
			t.Error("the other server does not take it")
		}
	})
	r.must(200, "POST", "/topics/orders", "first")
	r.must(200, "GET", "/topics/orders", "")
}
