package client

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// acknowledging connects a client that acknowledges to a broker that the test
// plays itself.
func acknowledging(t *testing.T, r ConsumeRequest) (*Consumer, *net.TCPConn, *bufio.Reader) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r.Topic, r.Ack = "orders", true
	c, err := DialConsumer(Broker{Addr: l.Addr().String()}, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	broker := accepted.(*net.TCPConn)
	t.Cleanup(func() { broker.Close() })
	_ = broker.SetDeadline(time.Now().Add(time.Minute))
	heard := bufio.NewReader(broker)
	if line, err := heard.ReadString('\n'); line != "orders?format=batch&ack\n" {
		t.Fatalf("request %q, %v", line, err)
	}
	return c, broker, heard
}

func send(t *testing.T, broker net.Conn, stream string) {
	t.Helper()
	if _, err := io.WriteString(broker, stream); err != nil {
		t.Fatal(err)
	}
}

func TestAcknowledgementsAndFailures(t *testing.T) {
	c, broker, heard := acknowledging(t, ConsumeRequest{})
	c.Ack(0)
	c.Ack(3)
	c.Ack(3)
	c.Ack(2)
	c.Fail(4, "two\nlines\r of text")
	c.Fail(5, strings.Repeat("x", 5000))
	c.Ack(6)
	committed := make(chan error, 1)
	go func() { committed <- c.Commit() }()
	all, err := io.ReadAll(heard)
	if want := "+3\n-4 two lines  of text\n-5 " + strings.Repeat("x", maxReason) + "\n+6\n"; string(all) != want || err != nil {
		t.Errorf("the broker got %q, %v", all, err)
	}
	select {
	case err := <-committed:
		t.Fatalf("ended without a confirmation: %v", err)
	default:
	}
	broker.Close()
	if err := <-committed; err != nil {
		t.Error(err)
	}
}

func TestHowAnAcknowledgedConnectionEnds(t *testing.T) {
	tests := []struct {
		name, stream string
		reset        bool
		want         string
	}{
		{"with a confirmation", "+1\n", false, ""},
		{"with a close", "", false, ""},
		{"with messages and a close in the middle", "@0\n" + batchOf(0, "a", "b")[:70], false, ""},
		{"confirmed, and then an error", "+1\n-SHUTDOWN the broker is stopping\n", false, ""},
		{"with an end of the topic", "+0\n.\n", false, ""},
		{"with a confirmation after the end of the topic", ".\n+1\n", false, ""},
		{"after an error that skips", "-GAP first=12\n", false, ""},
		{"with an error", "+0\n-FAILED an I/O error\n", false, "the broker answered -FAILED an I/O error"},
		{"with what is no stream", "+one\n", false, `unexpected answer "+one", which is not a broker's`},
		{"with a reset", "", true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, broker, heard := acknowledging(t, ConsumeRequest{})
			c.Ack(1)
			if line, err := heard.ReadString('\n'); line != "+1\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			send(t, broker, tt.stream)
			if tt.reset {
				_ = broker.SetLinger(0)
			}
			broker.Close()
			err := c.Commit()
			if tt.reset && err != nil {
				return // in the words of the system
			}
			if prefix := "connection lost before the position was moved: " + tt.want; tt.reset || tt.want == "" && err != nil ||
				tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), prefix)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestInterruptEndsAWaitAndCommitStillHearsTheBroker(t *testing.T) {
	c, broker, heard := acknowledging(t, ConsumeRequest{})
	send(t, broker, "@0\n"+batchOf(0, "a", "b")+batchOf(2, "c")[:20])
	if b, err := c.Next(); err != nil || b.Count() != 2 {
		t.Fatalf("%v", err)
	}
	next := make(chan error, 1)
	go func() {
		_, err := c.Next()
		next <- err
	}()
	c.Interrupt()
	if err := <-next; !errors.Is(err, ErrInterrupted) {
		t.Fatalf("got %v", err)
	}
	c.Ack(2)
	committed := make(chan error, 1)
	go func() { committed <- c.Commit() }()
	if all, err := io.ReadAll(heard); string(all) != "+2\n" || err != nil {
		t.Errorf("the broker got %q, %v", all, err)
	}
	c.Interrupt() // no harm in a second one
	send(t, broker, batchOf(2, "c")[20:]+"+2\n")
	broker.Close()
	if err := <-committed; err != nil {
		t.Error(err)
	}
}

func TestWorkingRepeatsWhatWasAcknowledged(t *testing.T) {
	c, broker, heard := acknowledging(t, ConsumeRequest{})
	c.Working()
	c.Ack(2)
	c.Working()
	c.Fail(3, "no")
	c.Working()
	if err := c.conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(heard); string(all) != "+0\n+2\n+2\n-3 no\n+2\n" || err != nil {
		t.Errorf("the broker got %q, %v", all, err)
	}
	broker.Close()
}

func TestWakeHasIdleCalledAndNothingElse(t *testing.T) {
	idle := make(chan struct{})
	c, broker, _ := acknowledging(t, ConsumeRequest{Idle: func() error { idle <- struct{}{}; return nil }})
	got := make(chan error, 1)
	go func() {
		_, err := c.Next()
		got <- err
	}()
	<-idle
	for range 3 {
		c.Wake() // before it waits, or while it does
		<-idle
	}
	send(t, broker, "@0\n"+batchOf(0, "a"))
	go func() {
		for range idle {
		}
	}()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestLookTellsATopicThatIsGoneFromABrokerThatIs(t *testing.T) {
	for _, tt := range []struct {
		answer, id string
		exists     bool
		lost       bool
	}{
		{`{"topic":"orders","partitions":1,"id":"x"}` + "\n", "x", true, false},
		{`{"topic":"orders","partitions":1}` + "\n", "", true, false},
		{"-GONE unknown topic\n", "", false, false},
		{"", "", false, true},
		{`{"topic":"or`, "", false, true},
	} {
		b := serve(t, tt.answer, true)
		id, exists, err := Look(Broker{Addr: b.addr}, "orders", time.Minute)
		if id != tt.id || exists != tt.exists || errors.Is(err, ErrLost) != tt.lost {
			t.Errorf("%q: id %q, exists %v, %v", tt.answer, id, exists, err)
		}
	}
}

func TestQuietTellsWhetherSomethingHasCome(t *testing.T) {
	c, broker, _ := acknowledging(t, ConsumeRequest{})
	if !c.Quiet() {
		t.Error("there is something before anything was sent")
	}
	send(t, broker, "@0\n"+batchOf(0, "a")+batchOf(1, "b")[:1])
	brokertest.Await(t, time.Minute, "what has come is seen", func() bool { return !c.Quiet() })
	if _, err := c.Next(); err != nil {
		t.Fatal(err)
	}
	if c.Quiet() {
		t.Error("the beginning of a batch is not seen")
	}
	send(t, broker, batchOf(1, "b")[1:])
	if _, err := c.Next(); err != nil {
		t.Fatal(err)
	}
	if !c.Quiet() {
		t.Error("there is something after everything was taken")
	}
}

func TestWithoutAckNothingIsSent(t *testing.T) {
	b := serve(t, "@0\n"+batchOf(0, "a")+".\n", true)
	c, _, _ := consumeAll(t, b, ConsumeRequest{Topic: "orders", Group: "default"})
	c.Ack(1)
	if c.acked != 0 {
		t.Error("acknowledged without having asked for it")
	}
}

func TestStreamTakesConfirmations(t *testing.T) {
	in := "+0\n@0\n" + batchOf(0, "a") + "+1\n+1\n" + batchOf(1, "b") + "+9\n.\n"
	s := newStream(strings.NewReader(in), noIdle)
	got, err := drain(s)
	if len(got) != 2 || !errors.Is(err, io.EOF) || s.confirmed != 9 {
		t.Errorf("got %q, %v, confirmed %d", got, err, s.confirmed)
	}
	for _, in := range []string{"+\n", "+x\n", "+-1\n", "+2\n+1\n", "+9223372036854775808\n"} {
		if _, err := drain(newStream(strings.NewReader(in), noIdle)); err == nil || errors.Is(err, ErrLost) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestOffsetsAsAPosition(t *testing.T) {
	for want, next := range map[string]map[int]int64{
		"beginning": nil,
		"2:17,10:4": {10: 4, 2: 17},
	} {
		if got := Offsets(next); got != want {
			t.Errorf("%v is %q, want %q", next, got, want)
		}
	}
}

func TestRedriveGivesUpABrokerThatSaysNothing(t *testing.T) {
	b := serve(t, "+2\n", false)
	done, err := Redrive(Broker{Addr: b.addr}, "orders.dlq", "a group", "all", time.Second) // which loopback does not need
	if err == nil || !strings.Contains(err.Error(), "the broker has said nothing for 1s") || done.Moved > 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if got := <-b.request; got != "orders.dlq?redrive&group=a%20group&to=all\n" {
		t.Errorf("request %q", got)
	}
}

func TestRedriveCountsWhatWasMoved(t *testing.T) {
	for _, tt := range []struct {
		answer string
		moved  int64
		want   string
	}{
		{"+0\n", 0, ""},
		{"+2\n+2\n+7\n", 7, ""},
		{"+2\n-NOTFOUND no such topic\n", 2, "the broker answered -NOTFOUND no such topic"},
		{"", 0, "connection lost: EOF"},
		{"+2", 0, "connection lost: EOF"},
		{"+2\n# 1 letter stays\n+3\n# why\n", 3, "1 letter stays, why"},
		{"+2\n+1\n", 2, `unexpected answer "+1", which is not a broker's`},
		{"+2\nHTTP\n", 2, `unexpected answer "HTTP", which is not a broker's`},
		{strings.Repeat("x", maxLine), 0, `unexpected answer "` + strings.Repeat("x", 64) + `", which is not a broker's`},
	} {
		b := serve(t, tt.answer, true)
		done, err := Redrive(Broker{Addr: b.addr}, "orders.dlq", "", "", time.Minute)
		moved, said := done.Moved, strings.Join(done.Stay, ", ")
		if err != nil {
			said = err.Error()
		}
		if moved != tt.moved || said != tt.want {
			t.Errorf("%.40q: %d, %q, want %d, %q", tt.answer, moved, said, tt.moved, tt.want)
		}
		if got := <-b.request; got != "orders.dlq?redrive\n" {
			t.Errorf("request %q", got)
		}
	}
}
