package kafka_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/kafka"
	"mbus/internal/tcpserver"
)

// Connections that come one at a time are served until the server has stopped, which leaves them to the next one.
func TestAConnectionThatIsTakenIsServed(t *testing.T) {
	b := start(t, setup{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b.addr, b.tls = l.Addr().String(), nil
	accepts := tcpserver.NewConns[tcpserver.Conn](slog.New(slog.DiscardHandler), tcpserver.Limits{Connections: 1})
	came := make(chan tcpserver.Conn)
	go accepts.Serve(l, func(c tcpserver.Conn) { came <- c })

	c := b.dial()
	if !b.server.Take(<-came) {
		t.Fatal("it is not taken")
	}
	if r := ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest()); r.ErrorCode != 0 {
		t.Fatal(r.ErrorCode)
	}
	stopped := kafka.NewServer(b.broker.Broker, kafka.Options{})
	stopped.Stop(context.Background())
	c = b.dial()
	conn := <-came
	if stopped.Take(conn) {
		t.Fatal("a server that has been stopped takes a connection")
	}
	if !b.server.Take(conn) {
		t.Fatal("the other server does not take it")
	}
	if r := ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest()); r.ErrorCode != 0 {
		t.Fatal(r.ErrorCode)
	}
}
