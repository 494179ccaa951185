package fault

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A oneByOne is a consumer that takes and acknowledges a message at a time.
type oneByOne struct {
	t     *testing.T
	conn  net.Conn
	in    *bufio.Reader
	acked int
	ahead bool // the next message has come already
}

func newOneByOne(t *testing.T, b *brokertest.Broker, topic, group string) *oneByOne {
	t.Helper()
	conn := brokertest.Dial(t, b.Consumers(), b.Login()+topic+"?group="+group+"&follow&ack&confirm&window=1&format=json\n")
	return &oneByOne{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// acknowledge takes a message and acknowledges it.
func (w *oneByOne) acknowledge() {
	w.t.Helper()
	if err := w.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		w.t.Fatal(err)
	}
	if !w.ahead {
		if line := brokertest.ReadLine(w.t, w.in); !strings.HasPrefix(line, "{") {
			w.t.Fatalf("the consumer got %q instead of a message", line)
		}
	}
	w.ahead = false
	w.acked++
	if _, err := fmt.Fprintf(w.conn, "+%d\n", w.acked); err != nil {
		w.t.Fatal(err)
	}
}

// next takes a message, acknowledges it and waits until that is on disk.
func (w *oneByOne) next() {
	w.t.Helper()
	w.acknowledge()
	for {
		line := brokertest.ReadLine(w.t, w.in)
		if line == fmt.Sprintf("+%d", w.acked) {
			return
		}
		if !strings.HasPrefix(line, "{") {
			w.t.Fatalf("the consumer got %q instead of +%d", line, w.acked)
		}
		w.ahead = true
	}
}
