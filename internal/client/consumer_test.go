package client

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A consumerPort serves one connection: it reads the request line, sends the
// given bytes, closes its side, and sees how the client ends.
type consumerPort struct {
	addr    string
	request chan string
	ended   chan error // nil if the client closed in good order
}

func serve(t *testing.T, stream string, closeSide bool) *consumerPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &consumerPort{addr: l.Addr().String(), request: make(chan string, 1), ended: make(chan error, 1)}
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		r := bufio.NewReader(conn)
		line, _ := r.ReadString('\n')
		b.request <- line
		_, _ = io.WriteString(conn, stream)
		if closeSide {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		_, err = io.Copy(io.Discard, r)
		b.ended <- err
	}()
	return b
}

// consumeAll reads to the end of the stream.
func consumeAll(t *testing.T, b *consumerPort, r ConsumeRequest) (c *Consumer, got []string, err error) {
	t.Helper()
	c, err = DialConsumer(Broker{Addr: b.addr}, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	got, err = drain(c.stream)
	return c, got, err
}

func TestConsumeRequestLine(t *testing.T) {
	for _, tt := range []struct {
		request ConsumeRequest
		want    string
	}{
		{ConsumeRequest{Topic: "orders", Group: "default"}, "orders?format=batch&group=default\n"},
		{ConsumeRequest{Topic: "a.b", Group: "billing", N: 12}, "a.b?format=batch&group=billing&n=12\n"},
	} {
		b := serve(t, ".\n", true)
		consumeAll(t, b, tt.request)
		if got := <-b.request; got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestCommitClosesInGoodOrder(t *testing.T) {
	b := serve(t, "@0\n"+batchOf(0, "a")+".\n", true)
	c, got, err := consumeAll(t, b, ConsumeRequest{Topic: "orders", Group: "default"})
	if len(got) != 1 || !errors.Is(err, io.EOF) {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := c.Commit(); err != nil {
		t.Error(err)
	}
	c.Close() // as a deferred Close does
	if err := <-b.ended; err != nil {
		t.Errorf("the broker saw %v", err)
	}
}

func TestCloseWithoutCommitResets(t *testing.T) {
	b := serve(t, "@0\n"+batchOf(0, "a")+".\n", true)
	c, _, err := consumeAll(t, b, ConsumeRequest{Topic: "orders", Group: "default"})
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	c.Close()
	if err := <-b.ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the broker saw %v, not a reset", err)
	}
}

func TestCommitFailsWhenSomethingFollowsTheEnd(t *testing.T) {
	for _, rest := range []string{".\n", "more"} {
		b := serve(t, ".\n"+rest, true)
		c, _, _ := consumeAll(t, b, ConsumeRequest{Topic: "orders", Group: "default"})
		if err := c.Commit(); err == nil {
			t.Errorf("%q after the end is taken", rest)
		}
		c.Close()
		if err := <-b.ended; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the broker saw %v, not a reset", err)
		}
	}
}

func TestCommitWaitsForTheBrokerToClose(t *testing.T) {
	b := serve(t, ".\n", false)
	c, _, err := consumeAll(t, b, ConsumeRequest{Topic: "orders", Group: "default"})
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_ = c.conn.tcp.SetReadDeadline(time.Now()) // what would wait fails
	if err := c.Commit(); err == nil || !strings.HasPrefix(err.Error(), "connection lost before the position was moved: ") {
		t.Errorf("got %v", err)
	}
	c.Close()
	if err := <-b.ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the broker saw %v, not a reset", err)
	}
}

func TestDialConsumerSaysThatThereIsNoBroker(t *testing.T) {
	_, err := DialConsumer(Broker{Addr: brokertest.Reserve(t)}, ConsumeRequest{Topic: "orders", Group: "default"})
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.HasPrefix(err.Error(), "can't reach the broker: ") || !strings.Contains(err.Error(), "start one") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkStream(b *testing.B) {
	chunk := []byte(batchOf(0, strings.Repeat("x", 60_000)))
	s := newStream(&repeated{chunk: chunk}, noIdle)
	s.partition = 0
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.next(); err != nil {
			b.Fatal(err)
		}
	}
}
