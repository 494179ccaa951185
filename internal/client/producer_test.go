package client

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// add adds and sends messages.
func add(t *testing.T, c *Producer, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := c.Add(1, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesArriveInOrderAndAreAcknowledged(t *testing.T) {
	c, b := dial(t)
	result := b.serve()
	add(t, c, "first", "", "with\nLF")
	if err := c.Add(1, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := <-result, []string{"first", "", "with\nLF", "(null)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if c.Sent() != 4 || c.Acked() != 4 {
		t.Errorf("sent %d, acknowledged %d", c.Sent(), c.Acked())
	}
}

func TestProduceRequestLine(t *testing.T) {
	for _, tt := range []struct {
		request ProduceRequest
		want    string
	}{
		{ProduceRequest{Topic: "orders"}, "orders?format=batch&producer=7&new\n"},
		{ProduceRequest{Topic: "orders", Delay: 90 * time.Second}, "orders?format=batch&delay=1m30s&producer=7&new\n"},
		{
			ProduceRequest{Topic: "orders", At: "2026-11-22T10:00:00+01:00"},
			"orders?format=batch&at=2026-11-22T10%3A00%3A00%2B01%3A00&producer=7&new\n",
		},
	} {
		if got := tt.request.line(7, 1, true); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestCloseWithoutMessages(t *testing.T) {
	c, b := dial(t)
	b.serve()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseWaitsForTheLastAcknowledgement(t *testing.T) {
	c, b := dial(t)
	add(t, c, "a", "b")
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	b.readN(2)
	if _, err := b.read(); !errors.Is(err, io.EOF) {
		t.Fatalf("the producer has not closed its side: %v", err)
	}
	b.answer("+1\n")
	select {
	case err := <-closed:
		t.Fatalf("ended with 1 of 2 messages acknowledged: %v", err)
	default:
	}
	b.answer("+2\n")
	b.conn.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestCloseFailsWhereNotAllIsAcknowledged(t *testing.T) {
	for answers, want := range map[string]string{
		"":                    "0 of 2 sent messages acknowledged: connection lost: the broker closed it",
		"+1\n":                "1 of 2 sent messages acknowledged: connection lost: the broker closed it",
		"+2":                  "0 of 2 sent messages acknowledged: connection lost: the broker closed it",
		"+2\n-INCOMPLETE x\n": "2 of 2 sent messages acknowledged: the broker answered -INCOMPLETE x",
	} {
		c, b := dial(t)
		add(t, c, "a", "b")
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		b.readN(2)
		if _, err := b.read(); !errors.Is(err, io.EOF) {
			t.Fatalf("the producer has not closed its side: %v", err)
		}
		b.answer(answers)
		b.conn.Close()
		if err := <-closed; err == nil || err.Error() != want {
			t.Errorf("answers %q: got %v, want %s", answers, err, want)
		}
	}
}

func TestWhatEndsAConnectionBeforeItsTime(t *testing.T) {
	tests := []struct {
		name, answers string
		acked         int64
		want          string
	}{
		{"an error", "+1\n-FULL no space left\n", 1, "the broker answered -FULL no space left"},
		{"an error at once", "-BUSY too many connections\n", 0, "the broker answered -BUSY too many connections"},
		{"a close", "+2\n", 2, "connection lost: the broker closed it"},
		{"a close with all acknowledged", "+3\n", 3, "connection lost: the broker closed it"},
		{"a close in the middle of an answer", "+1\n+2", 1, "connection lost: the broker closed it"},
		{"more acknowledged than sent", "+2\n+4\n", 2, `unexpected answer "+4": HOST is not mbus's port for producers`},
		{"a count that shrinks", "+2\n+1\n", 2, `unexpected answer "+1": HOST is not mbus's port for producers`},
		{"no count", "+\n", 0, `unexpected answer "+": HOST is not mbus's port for producers`},
		{"a negative count", "+-1\n", 0, `unexpected answer "+-1": HOST is not mbus's port for producers`},
		{"no answer of a broker", "HTTP/1.1 400 Bad ProduceRequest\r\n", 0, `unexpected answer "HTTP/1.1 400 Bad ProduceRequest\r": HOST is not mbus's port for producers`},
		{"a count without plus", "3\n", 0, `unexpected answer "3": HOST is not mbus's port for producers`},
		{"an empty line", "\n", 0, `unexpected answer "": HOST is not mbus's port for producers`},
		{"an endless line", strings.Repeat("x", maxLine), 0, `unexpected answer "` + strings.Repeat("x", 64) + `": HOST is not mbus's port for producers`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, b := dial(t)
			add(t, c, "a", "b", "c")
			b.readN(3)
			b.answer(tt.answers)
			_ = b.conn.CloseWrite()
			var got *UnacknowledgedError
			if err := c.Wait(); !errors.As(err, &got) || got.Acked != tt.acked || got.Sent != 3 || got.Err.Error() != strings.ReplaceAll(tt.want, "HOST", c.broker.Addr) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestTheErrorSaysHowManyWereAcknowledged(t *testing.T) {
	err := &UnacknowledgedError{Sent: 5000, Acked: 1234, Err: errors.New("connection lost: reset")}
	if got := err.Error(); got != "1234 of 5000 sent messages acknowledged: connection lost: reset" {
		t.Error(got)
	}
}

func TestBrokerThatNeverAcknowledgedIsNotTakenForSuccess(t *testing.T) {
	c, b := dial(t)
	b.conn.Close()
	if err := c.Close(); err == nil {
		t.Error("nothing sent and nothing answered is taken for success")
	}
}

func TestWriteThatFailsReportsTheBrokersAnswer(t *testing.T) {
	c, b := dial(t)
	// The broker refuses and closes with most of our bytes unread, so that its
	// system resets the connection while we write.
	b.answer("-TOOLARGE the message is larger than 1048576 bytes\n")
	var err error
	for err == nil {
		if err = c.Add(1, make([]byte, batchSize)); err == nil && c.Sent() > 0 {
			b.conn.Close()
		}
	}
	if want := "the broker answered -TOOLARGE the message is larger than 1048576 bytes"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if again := c.Close(); again == nil || again.Error() != err.Error() {
		t.Errorf("Close says %v after %v", again, err)
	}
}

func TestResetIsReportedWithTheCount(t *testing.T) {
	c, b := dial(t)
	add(t, c, "a", "b")
	b.readN(2)
	b.answer("+1\n")
	for c.Acked() < 1 {
		select {
		case <-c.Done():
			t.Fatal(c.Wait())
		default:
		}
	}
	_ = b.conn.SetLinger(0)
	b.conn.Close()
	var got *UnacknowledgedError
	if err := c.Wait(); !errors.As(err, &got) || got.Acked != 1 || !errors.Is(got.Err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestMessageTooLongIsRefusedByNumberAndTheOthersGo(t *testing.T) {
	c, b := dial(t)
	result := b.serve()
	if err := c.Add(1, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(1, make([]byte, MaxMessage+1)); err == nil || err.Error() != "message 2 is longer than 67108864 bytes" {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := <-result; !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q", got)
	}
}

func TestBatchesAreOfABoundedSizeAndALargeMessageHasItsOwn(t *testing.T) {
	c, b := dial(t)
	large := strings.Repeat("l", 3*batchSize)
	small := strings.Repeat("s", batchSize/4)
	go func() {
		add(t, c, small, small, small, small, small, large, small)
		_ = c.Close()
	}()
	var sizes []int
	for {
		m, err := b.read()
		if err != nil {
			break
		}
		n := 0
		for _, v := range m {
			n += len(v)
		}
		sizes = append(sizes, n)
	}
	if want := []int{3 * len(small), 2 * len(small), len(large), len(small)}; !slices.Equal(sizes, want) {
		t.Errorf("batches hold %d bytes, want %d", sizes, want)
	}
}

func TestDialProducerSaysThatThereIsNoBroker(t *testing.T) {
	_, err := DialProducer(Broker{Addr: brokertest.Reserve(t)}, ProduceRequest{Topic: "orders"})
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.HasPrefix(err.Error(), "can't reach the broker: ") {
		t.Errorf("got %v", err)
	}
}
