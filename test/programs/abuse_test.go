package programs

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

func TestForeignBytesAreRefusedAndTheBrokerGoesOn(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for _, address := range []string{b.Producers(), b.Consumers()} {
		for name, text := range map[string]string{
			"GET":           "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"POST":          "POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nhello\n",
			"HTTP/2":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			"Host":          "Host: localhost\n",
			"SSH":           "SSH-2.0-OpenSSH_9.9\r\n",
			"nothing":       "\n",
			"zeros":         strings.Repeat("\x00", 100_000),
			"an endless":    strings.Repeat("a", 100_000),
			"Kafka":         "\x00\x00\x00\x20\x00\x12\x00\x03\x00\x00\x00\x01\x00\x04test\x00\x04test\x060.0.0\x00\n",
			"TLS cut short": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		} {
			answer := send(t, address, text)
			if !strings.HasPrefix(answer, "-") && !strings.HasPrefix(answer, "HTTP/1.1 400 ") && answer != "reset" {
				t.Errorf("%s was answered %q", name, answer)
			}
		}
		refuseTLS(t, address)
		resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + address + "/orders")
		if err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("HTTP is answered %+v, %v", resp, err)
			continue
		}
		if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), "not HTTP") {
			t.Errorf("HTTP is answered %q, %v", text, err)
		}
		resp.Body.Close()
	}
	b.Publish("orders", "first order")
	mustEqual(t, b.Drain("orders"), "first order\n")
}

// send gives what the broker answers to text, up to its close, "reset" if it
// answers nothing and resets the connection. Any goroutine may call it.
func send(t *testing.T, address, text string) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, text) // fails if the broker has closed already
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no answer to %.40q", text)
	}
	if err != nil && len(answer) == 0 {
		return "reset"
	}
	return string(answer)
}

func refuseTLS(t *testing.T, address string) {
	t.Helper()
	conn := tls.Client(brokertest.Dial(t, address, ""), &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err == nil {
		t.Error("a TLS handshake succeeded")
	}
}

func TestRandomBytesStopNothing(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	concurrently(300, func(i int) {
		r := rand.New(rand.NewPCG(2, uint64(i)))
		text := make([]byte, r.IntN(5000))
		for i := range text {
			text[i] = byte(r.IntN(256))
		}
		request := []string{"", "noise\n", "noise?format=json\n", "noise?format=batch\n", "noise?keyed\n"}[i%5]
		address := b.Producers()
		if i%3 == 0 {
			address = b.Consumers()
		}
		send(t, address, request+string(text))
	})
	b.Publish("orders", "first order")
	mustEqual(t, b.Drain("orders"), "first order\n")
}

func TestConnectionsBeyondTheLimitAreToldAndTheOthersGoOn(t *testing.T) {
	b := brokertest.Start(t, t.TempDir(), "-max-connections", "10")
	var working []*client
	for range 10 {
		c := newClient(t, b.Producers(), "orders")
		c.publish("hello")
		working = append(working, c)
	}
	for range 20 {
		if answer := send(t, b.Producers(), "orders\nhello\n"); !strings.HasPrefix(answer, "-BUSY ") && answer != "reset" {
			t.Errorf("one connection too many was answered %q", answer)
		}
	}
	for _, c := range working {
		c.publish("hello again")
	}
	working[0].conn.Close()
	await(t, "a place is free again", func() bool {
		return strings.HasPrefix(send(t, b.Producers(), "orders\nhello\n"), "+1\n")
	})
}

func TestThousandConnectionsPublishAtOnce(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	clients := make([]*client, 1000)
	for i := range clients {
		clients[i] = newClient(t, b.Producers(), "orders")
	}
	for _, c := range clients {
		c.write("hello")
	}
	for _, c := range clients {
		c.hear("+1")
	}
	mustEqual(t, b.Drain("orders"), strings.Repeat("hello\n", len(clients)))
}

// A client is a producer's connection that is spoken to line by line.
type client struct {
	t      *testing.T
	conn   *net.TCPConn
	reader *bufio.Reader
	sent   int
}

func newClient(t *testing.T, address, request string) *client {
	t.Helper()
	conn := brokertest.Dial(t, address, request+"\n")
	return &client{t: t, conn: conn, reader: bufio.NewReader(conn)}
}

func (c *client) write(message string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, message+"\n"); err != nil {
		c.t.Fatal(err)
	}
	c.sent++
}

func (c *client) hear(want string) {
	c.t.Helper()
	if got := brokertest.ReadLine(c.t, c.reader); got != want {
		c.t.Fatalf("the broker answered %q, not %q", got, want)
	}
}

// publish sends a message and waits for its acknowledgement.
func (c *client) publish(message string) {
	c.t.Helper()
	c.write(message)
	c.hear("+" + itoa(c.sent))
}
