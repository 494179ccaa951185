package cluster

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A producer of plain lines, which is no program of mbus and numbers nothing, keeps its connection while the owner of the topics is
// killed or stopped: it gets all its acknowledgements, and its messages are stored once, in their order.
func TestProducersOfLinesDoNotNoticeAnotherOwner(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3, "-cluster-failover", failover.String())
	for round, end := range []func(*brokertest.Broker){(*brokertest.Broker).Kill, (*brokertest.Broker).Stop} {
		victim := c.Owner()
		topic := fmt.Sprintf("orders%d", round)
		node := c.Nodes[(victim+1)%len(c.Nodes)]
		conn, err := net.Dial("tcp", node.Producers())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		const count = 3000
		var want strings.Builder
		fmt.Fprintf(conn, "%s\n", topic)
		sent := make(chan error, 1)
		go func() {
			for n := range count {
				if n == count/3 {
					end(c.Nodes[victim])
				}
				fmt.Fprintf(&want, "message %d\n", n)
				if _, err := fmt.Fprintf(conn, "message %d\n", n); err != nil {
					sent <- err
					return
				}
				time.Sleep(time.Millisecond) // so that some are on their way at any time
			}
			sent <- conn.(*net.TCPConn).CloseWrite()
		}()
		r, last := bufio.NewReader(conn), ""
		for {
			text, err := r.ReadString('\n')
			if err == io.EOF {
				break
			}
			if err != nil || !strings.HasPrefix(text, "+") {
				t.Fatalf("round %d: after %q it gets %q, %v", round, last, text, err)
			}
			last = text
		}
		if err := <-sent; err != nil || last != fmt.Sprintf("+%d\n", count) {
			t.Fatalf("round %d: %v, the last answer is %q", round, err, last)
		}
		c.Start(victim)
		c.AwaitHealthy()
		if got := node.Drain(topic + "?from=beginning"); got != want.String() {
			t.Errorf("round %d: %d lines are there, of %d, or in another order", round, strings.Count(got, "\n"), count)
		}
	}
}
