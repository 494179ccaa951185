package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/test/brokertest"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// publishTo publishes messages of one time to a partition of a topic, which is made if it does not
// exist.
func (r *rig) publishTo(topic string, partition int, messages ...string) {
	r.Helper()
	var b batch.Builder
	for _, m := range messages {
		b.Add(1718017201000, nil, []byte(m))
	}
	r.append(topic, partition, &b)
}

// append publishes what a builder has.
func (r *rig) append(topic string, partition int, b *batch.Builder) {
	r.Helper()
	t, err := r.broker.As(broker.Self).MakeTopic(topic)
	if err != nil {
		r.Fatal(err)
	}
	b.Close(0)
	if _, err := t.Partitions()[partition].AppendAndWait(b.Bytes()); err != nil {
		r.Fatal(err)
	}
}

// partitions makes a topic.
func (r *rig) partitions(topic string, n int) {
	r.Helper()
	if _, err := r.broker.As(broker.Self).CreateTopic(topic, n, nil); err != nil {
		r.Fatal(err)
	}
}

// drain is the body of a GET of a topic's messages, which are consumed then.
func (r *rig) drain(query string, headers ...string) string {
	r.Helper()
	topic, _, _ := strings.Cut(query, "?")
	return r.must(http.StatusOK, "GET", "/topics/"+strings.Replace(query, topic, topic+"/messages", 1), "", headers...)
}

// awaitAlone waits until a group has no member: what one held is free.
func (r *rig) awaitAlone(groupName string) {
	r.Helper()
	brokertest.Await(r, patience, "the group has no member", func() bool {
		return len(r.broker.As(broker.Self).Members(groupName)) == 0
	})
}

// committed is how far a group has come in partition 0.
func (r *rig) committed(groupName, topic string) int64 {
	r.Helper()
	v := r.broker.As(broker.Self)
	t, err := v.Topic(topic, broker.Describe)
	if err != nil {
		r.Fatal(err)
	}
	var p *group.Position
	if p, err = v.Position(groupName, t, 0); err != nil {
		r.Fatal(err)
	}
	defer p.Close()
	return p.Committed()
}

// A client is a connection that sends one request.
type client struct {
	testing.TB
	*net.TCPConn
	r *bufio.Reader
}

// get sends a GET for messages, with lines of the header.
func (r *rig) get(path string, header ...string) *client {
	r.Helper()
	return r.send(fmt.Sprintf("GET /topics/%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, lines(header)))
}

func lines(header []string) (text string) {
	for _, h := range header {
		text += h + "\r\n"
	}
	return text
}

func (r *rig) send(text string) *client {
	r.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, text); err != nil {
		r.Fatal(err)
	}
	return c
}

// dial connects with a small receive buffer, so that a client that does not read stalls soon.
func (r *rig) dial() *client {
	r.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10) })
	}}
	conn, err := d.Dial("tcp", r.host)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.Fatal(err)
	}
	return &client{r.TB, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// response reads the header of the answer.
func (c *client) response(status int) *http.Response {
	c.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.Fatal(err)
	}
	if resp.StatusCode != status {
		p, _ := io.ReadAll(resp.Body)
		c.Fatalf("status %d, not %d: %s", resp.StatusCode, status, p)
	}
	return resp
}

// body reads the answer to its end.
func (c *client) body() string {
	c.Helper()
	p, err := io.ReadAll(c.response(http.StatusOK).Body)
	if err != nil {
		c.Fatalf("%v after %q", err, p)
	}
	return string(p)
}

// reset closes with a reset.
func (c *client) reset() {
	c.Helper()
	if err := c.SetLinger(0); err != nil {
		c.Fatal(err)
	}
	c.Close()
}

// numbered are n messages of some size.
func numbered(n, size int) []string {
	messages := make([]string, n)
	for i := range messages {
		messages[i] = fmt.Sprintf("%0*d", size, i)
	}
	return messages
}

func join(messages []string) string { return strings.Join(messages, "\n") + "\n" }
