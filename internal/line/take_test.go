package line_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

// acceptFor has connections of a new port taken one at a time, by take.
func acceptFor(t testing.TB, config *tls.Config, take func(tcpserver.Conn) bool) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	address = l.Addr().String()
	if config != nil {
		var err error
		if l, err = tcpserver.WithTLS(l, config); err != nil {
			t.Fatal(err)
		}
	}
	accepts := tcpserver.NewConns[tcpserver.Conn](slog.New(slog.DiscardHandler), tcpserver.Limits{Connections: 1, Handshake: patience})
	go accepts.Serve(l, func(c tcpserver.Conn) {
		if accepts.Release(c); !take(c) {
			c.Close()
		}
	})
	return address
}

// Connections that come one at a time are served as those of a listener are, with its limits, over TCP and TLS.
func TestAConnectionThatIsTakenIsServed(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		b := start(t, setup{overTLS: overTLS, limits: func(l *broker.Limits) { l.MaxConnections = 2 }})
		var config *tls.Config
		if b.clientTLS != nil {
			config, b.clientTLS = brokertest.TLS(t)
		}
		b.producers, b.consumers = acceptFor(t, config, b.server.TakeProducer), acceptFor(t, config, b.server.TakeConsumer)
		b.publish("orders", "first", "second")
		b.mustDrain("orders", "first\nsecond\n")
		await(t, "the others have ended", func() bool { return len(b.server.Connections()) == 0 })
		for range 2 {
			c := b.dial(b.producers, "orders\nmore\n")
			c.mustSay("+1")
		}
		b.dial(b.producers, "").mustRefuse("BUSY")
	}
}

// A server that has been stopped leaves a connection as it is, so that the next one in this process can serve it.
func TestAStoppedServerLeavesConnectionsToTheNext(t *testing.T) {
	b := start(t, setup{})
	came := make(chan tcpserver.Conn, 1)
	address := acceptFor(t, nil, func(c tcpserver.Conn) bool { came <- c; return true })
	c := b.dial(address, "orders\nfirst\n")
	conn := <-came
	old := b.server
	b.restart()
	if old.TakeProducer(conn) || old.TakeConsumer(conn) {
		t.Fatal("a server that has been stopped takes connections")
	}
	if !b.server.TakeProducer(conn) {
		t.Fatal("the next server does not take it")
	}
	c.mustSay("+1")
}
