package docs

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// The transcripts of PROTOCOL.md build on one another, so one broker serves
// them all, in their order.
func TestProtocolTranscriptsAreTrue(t *testing.T) {
	fenced, _ := blocks(document(t, "PROTOCOL.md"))
	b := brokertest.Start(t, t.TempDir())
	ports := map[string]string{"9990": b.Producers(), "9991": b.Consumers()}
	n := 0
	for _, block := range fenced {
		if block.language != "transcript" {
			continue
		}
		n++
		address, known := ports[block.lines[0]]
		if !known {
			t.Fatalf("line %d: no port of the broker: %q", block.line, block.lines[0])
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c := &conversation{conn: conn.(*net.TCPConn), reader: bufio.NewReader(conn)}
		if err := c.run(block); err != nil {
			t.Fatal(err)
		}
	}
	if n < 10 {
		t.Errorf("%d transcripts found in PROTOCOL.md", n)
	}
}

// The runner itself must not take just anything for the truth.
func TestTranscriptThatIsFalseIsFoundOut(t *testing.T) {
	for name, lines := range map[string]string{
		"another answer":        "> orders\n< -BADREQUEST no\n< EOF",
		"an answer too many":    "> orders\n< hello\n< hello\n< EOF",
		"an answer left out":    "> orders\n< EOF",
		"the client at the end": "> orders\n< hello\n> more",
		"a line of neither":     "> orders\nhello\n< EOF",
		"an escape mistyped":    "> orders\\q\n< hello\n< EOF",
		"a count that is less":  "> orders\n< hello\n< +1\n< EOF",
	} {
		t.Run(name, func(t *testing.T) {
			c := &conversation{conn: liar(t)}
			c.reader = bufio.NewReader(c.conn)
			if err := c.run(block{lines: strings.Split("9991\n"+lines, "\n")}); err == nil {
				t.Error("taken for true")
			}
		})
	}
}

// liar is a connection to a server that reads a line, says hello, and closes.
func liar(t *testing.T) *net.TCPConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		bufio.NewReader(conn).ReadString('\n')
		io.WriteString(conn, "hello\n")
	}()
	return brokertest.Dial(t, listener.Addr().String(), "")
}
