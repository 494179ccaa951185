package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// sendAll sends the lines of r and returns what the broker has at the end.
func sendAll(t testing.TB, r io.Reader) (got []string, err error) {
	t.Helper()
	c, b := dial(t)
	result := b.serve()
	err = c.SendLines(r)
	if closeErr := c.Close(); closeErr != nil {
		t.Fatal(closeErr)
	}
	return <-result, err
}

func TestLines(t *testing.T) {
	long := strings.Repeat("long", readSize)
	for in, want := range map[string][]string{
		"":                    nil,
		"\n":                  {""},
		"a\nb\n":              {"a", "b"},
		"a\nb":                {"a", "b"}, // a last line without LF is a message
		"a\n\n\nb\n\n":        {"a", "", "", "b", ""},
		"cr\r\n\x00\xff\t \n": {"cr\r", "\x00\xff\t "},
		"a\n" + long + "\nb":  {"a", long, "b"},
		"a\n" + long:          {"a", long},
		long[:readSize] + "\n" + long[:readSize-1] + "\nx": {long[:readSize], long[:readSize-1], "x"},
	} {
		for name, r := range map[string]io.Reader{
			"at once":              strings.NewReader(in),
			"with the end":         iotest.DataErrReader(strings.NewReader(in)),
			"in halves":            iotest.HalfReader(strings.NewReader(in)),
			"with reads of no use": &stutterer{r: strings.NewReader(in)},
		} {
			got, err := sendAll(t, r)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%.20q %s: got %.60q, %v", in, name, got, err)
			}
		}
	}
}

// A stutterer returns nothing every other time.
type stutterer struct {
	r     io.Reader
	quiet bool
}

func (s *stutterer) Read(p []byte) (int, error) {
	if s.quiet = !s.quiet; s.quiet {
		return 0, nil
	}
	return s.r.Read(p)
}

func TestLinesOfAllLengthsInPiecesOfAllSizes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var in bytes.Buffer
	var want []string
	for range 5000 {
		line := make([]byte, int(random.ExpFloat64()*500))
		for i := range line {
			line[i] = byte(11 + random.IntN(245))
		}
		want = append(want, string(line))
		in.Write(line)
		in.WriteByte('\n')
	}
	r := inputFunc(func(p []byte) (int, error) { return in.Read(p[:min(len(p), 1+random.IntN(20_000))]) })
	got, err := sendAll(t, r)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d messages of %d, %v", len(got), len(want), err)
	}
}

type inputFunc func(p []byte) (int, error)

func (f inputFunc) Read(p []byte) (int, error) { return f(p) }

func TestLinesThatTrickleAreSentAtOnce(t *testing.T) {
	c, b := dial(t)
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(c.SendLines(r), c.Close()) }()
	for i, piece := range []struct{ in, want string }{{"a\n", "a"}, {"b\nc\nhal", "b c"}, {"f\n", "half"}} {
		if _, err := io.WriteString(w, piece.in); err != nil {
			t.Fatal(err)
		}
		got, err := b.read() // comes although the input goes on
		if strings.Join(got, " ") != piece.want {
			t.Fatalf("piece %d: got %q, %v", i, got, err)
		}
	}
	w.Close()
	if _, err := b.read(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end", err)
	}
	b.answer("+4\n")
	b.conn.Close()
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestInputThatFailsIsReportedAndTheLinesBeforeItGo(t *testing.T) {
	got, err := sendAll(t, io.MultiReader(strings.NewReader("a\nb\nhalf"), iotest.ErrReader(errors.New("disk gone"))))
	if err == nil || err.Error() != "input can't be read after line 2: disk gone" || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEndlessLineIsRefusedByNumberInBoundedMemory(t *testing.T) {
	largest := 0
	x := inputFunc(func(p []byte) (int, error) {
		largest = max(largest, len(p))
		for i := range p {
			p[i] = 'x'
		}
		return len(p), nil
	})
	got, err := sendAll(t, io.MultiReader(strings.NewReader("a\n"), x))
	if err == nil || err.Error() != "line 2 is longer than 67108864 bytes" || !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if largest > 2*MaxMessage {
		t.Errorf("a buffer of %d bytes", largest)
	}
}

func TestSendLinesReturnsTheBrokersError(t *testing.T) {
	c, b := dial(t)
	lines := repeatedLines(1000)
	b.answer("-FULL no space left\n")
	b.conn.Close()
	var got *UnacknowledgedError
	if err := c.SendLines(lines); !errors.As(err, &got) || !strings.HasSuffix(err.Error(), "the broker answered -FULL no space left") {
		t.Errorf("got %v", err)
	}
}

func TestSendMessageIsOneMessageWhateverItsBytes(t *testing.T) {
	for _, value := range []string{"", "a\nb\n"} {
		c, b := dial(t)
		result := b.serve()
		if err := errors.Join(c.SendMessage([]byte(value)), c.Close()); err != nil {
			t.Error(err)
		}
		if got := <-result; !slices.Equal(got, []string{value}) {
			t.Errorf("got %q", got)
		}
	}
}

func TestMessagesHaveTheTimeTheyWereRead(t *testing.T) {
	c, b := dial(t)
	before := time.Now().UnixMilli()
	if err := c.SendLines(strings.NewReader("a\n")); err != nil {
		t.Fatal(err)
	}
	after := time.Now().UnixMilli()
	b.readN(1)
	if ts := b.it.Record().Timestamp; ts < before || ts > after {
		t.Errorf("time %d is not between %d and %d", ts, before, after)
	}
}

// repeatedLines is an endless input of lines with so many bytes and LF.
func repeatedLines(n int) io.Reader {
	block := bytes.Repeat(append(bytes.Repeat([]byte{'x'}, n), '\n'), 1000)
	pos := 0
	return inputFunc(func(p []byte) (int, error) {
		copied := copy(p, block[pos:])
		pos = (pos + copied) % len(block)
		return copied, nil
	})
}

func TestNoAllocationForALine(t *testing.T) {
	c, b := dial(t)
	go func() { _, _ = io.Copy(io.Discard, b.r) }()
	block := bytes.Repeat([]byte("first order\n"), 10_000)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := c.addLines(block, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 25 { // a buffer grows, which is kept until it is acknowledged
		t.Errorf("%v allocations for 10,000 lines", n)
	}
}

func BenchmarkSendLines(b *testing.B) {
	for _, length := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(length), func(b *testing.B) {
			c, broker := dial(b)
			go func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }(broker.conn)
			in := io.LimitReader(repeatedLines(length), int64(b.N)*int64(length+1))
			b.SetBytes(int64(length + 1))
			b.ReportAllocs()
			b.ResetTimer()
			if err := c.SendLines(in); err != nil {
				b.Fatal(err)
			}
		})
	}
}
