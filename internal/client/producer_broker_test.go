package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"mbus/internal/batch"
)

// A producerPort serves one connection with what PROTOCOL.md says of port 9990;
// the test says what to answer.
type producerPort struct {
	t       testing.TB
	addr    string
	l       net.Listener
	conn    *net.TCPConn
	r       *bufio.Reader
	it      batch.Iterator
	accepts chan *net.TCPConn
}

func listen(t testing.TB) *producerPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &producerPort{t: t, addr: l.Addr().String(), l: l, accepts: make(chan *net.TCPConn, 100)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.accepts <- conn.(*net.TCPConn)
		}
	}()
	return b
}

// dial connects a producer to a new fake broker and takes its request line.
func dial(t testing.TB) (*Producer, *producerPort) {
	t.Helper()
	c, b := dialWith(t, ProduceRequest{})
	return c, b
}

// dialWith is dial with more in the request than the topic.
func dialWith(t testing.TB, r ProduceRequest) (*Producer, *producerPort) {
	t.Helper()
	b := listen(t)
	r.Topic = "orders"
	c, err := DialProducer(Broker{Addr: b.addr}, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cut() })
	if line := b.accept(); line != fmt.Sprintf("orders?format=batch&producer=%d&new\n", c.id) {
		t.Fatalf("request %q", line)
	}
	return c, b
}

// accept takes the next connection and returns its request line.
func (b *producerPort) accept() string {
	b.t.Helper()
	select {
	case b.conn = <-b.accepts:
	case <-time.After(time.Minute):
		b.t.Fatal("the producer does not come")
	}
	conn := b.conn
	b.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	b.r = bufio.NewReader(conn)
	line, err := b.r.ReadString('\n')
	if err != nil {
		b.t.Fatal(err)
	}
	return line
}

// mustGoOn takes the next connection, which goes on from a message.
func (b *producerPort) mustGoOn(c *Producer, options string) {
	b.t.Helper()
	if line, want := b.accept(), fmt.Sprintf("orders?format=batch&producer=%d&%s\n", c.id, options); line != want {
		b.t.Fatalf("request %q, not %q", line, want)
	}
}

// read returns the messages of the next batch, which must be one that a broker
// takes; at the end of the stream the error is io.EOF.
func (b *producerPort) read() (messages []string, err error) {
	header, err := b.r.Peek(batch.HeaderSize)
	if err != nil {
		if errors.Is(err, io.EOF) && len(header) > 0 {
			err = fmt.Errorf("half a header: %q", header)
		}
		return nil, err
	}
	size, err := batch.Size(header, 1<<30)
	if err != nil {
		return nil, err
	}
	p := make([]byte, size)
	if _, err := io.ReadFull(b.r, p); err != nil {
		return nil, err
	}
	if err := batch.Batch(p).Verify(&b.it); err != nil {
		return nil, err
	}
	if err := b.it.Reset(p); err != nil {
		return nil, err
	}
	for b.it.Next() {
		messages = append(messages, describe(b.it.Record().Value))
	}
	return messages, b.it.Err()
}

// describe keeps null apart from empty.
func describe(value []byte) string {
	if value == nil {
		return "(null)"
	}
	return string(value)
}

// readN reads batches until they hold n messages.
func (b *producerPort) readN(n int) []string {
	b.t.Helper()
	var messages []string
	for len(messages) < n {
		m, err := b.read()
		if err != nil {
			b.t.Fatalf("after %d of %d messages: %v", len(messages), n, err)
		}
		messages = append(messages, m...)
	}
	return messages
}

func (b *producerPort) answer(line string) {
	b.t.Helper()
	if _, err := io.WriteString(b.conn, line); err != nil {
		b.t.Fatal(err)
	}
}

// serve takes everything in, acknowledges each batch, and closes at the end.
func (b *producerPort) serve() <-chan []string {
	result := make(chan []string, 1)
	go func() {
		defer b.conn.Close()
		var all []string
		for {
			m, err := b.read()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					b.t.Errorf("after %d messages: %v", len(all), err)
				}
				break
			}
			all = append(all, m...)
			fmt.Fprintf(b.conn, "+%d\n", len(all))
		}
		if len(all) == 0 {
			_, _ = io.WriteString(b.conn, "+0\n")
		}
		result <- all
	}()
	return result
}

// cut ends a producer's connection.
func (c *Producer) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.link.conn.Close()
	}
}
