package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/test/brokertest"
)

// asProgram makes the test binary be the program itself, so that the tests run
// it as a process.
const asProgram = "RUN_AS_CONSUMER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	brokertest.Main(m)
}

// A fakeBroker serves connections, one after the other, as PROTOCOL.md says; the
// test sends the stream. What it is asked about its topics and groups it answers by itself.
type fakeBroker struct {
	t       *testing.T
	port    string
	conn    chan *net.TCPConn
	line    chan string // of the connection
	request string

	mu     sync.Mutex
	topics string // the answer to ?topics
	groups string // the answer to ?groups
}

// someTopic is what a broker without ids says of a topic.
const someTopic = `{"topic":"orders","partitions":4}` + "\n"

func listen(t *testing.T) *fakeBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	b := &fakeBroker{t: t, port: port, conn: make(chan *net.TCPConn, 1), line: make(chan string, 1), topics: someTopic}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.take(conn.(*net.TCPConn))
		}
	}()
	return b
}

// take reads the request line of a connection, and leaves to the test what is not about
// topics and groups.
func (b *fakeBroker) take(conn *net.TCPConn) {
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	line := ""
	for !strings.HasSuffix(line, "\n") {
		var c [1]byte // and no byte more than the line
		if _, err := conn.Read(c[:]); err != nil {
			conn.Close()
			return
		}
		line += string(c[:])
	}
	b.mu.Lock()
	answers := map[string]string{"?topics&": b.topics, "?groups&": b.groups}
	b.mu.Unlock()
	for what, answer := range answers {
		if strings.HasPrefix(line, what) {
			_, _ = io.WriteString(conn, answer)
			conn.Close()
			return
		}
	}
	b.conn <- conn
	b.line <- line
}

// setTopic has the broker have a topic with the id, or, without one, no topic.
func (b *fakeBroker) setTopic(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics = "-GONE unknown topic\n"
	if id != "" {
		b.topics = `{"topic":"orders","partitions":4,"id":"` + id + `"}` + "\n"
	}
}

// accept waits for the consumer and its request line.
func (b *fakeBroker) accept() *net.TCPConn {
	b.t.Helper()
	select {
	case conn := <-b.conn:
		b.t.Cleanup(func() { conn.Close() })
		b.request = <-b.line
		return conn
	case <-time.After(time.Minute):
		b.t.Fatal("nobody connects")
		return nil
	}
}

// serve accepts, sends the stream and closes the broker's side.
func (b *fakeBroker) serve(stream string) *net.TCPConn {
	b.t.Helper()
	conn := b.accept()
	send(b.t, conn, stream)
	_ = conn.CloseWrite() // it fails where the consumer has reset the connection
	return conn
}

func send(t *testing.T, conn net.Conn, stream string) {
	t.Helper()
	if _, err := io.WriteString(conn, stream); err != nil {
		t.Fatal(err)
	}
}

// consumed waits for the consumer to end the connection, and reports whether
// the broker takes that for consumed: a close in good order.
func consumed(t *testing.T, conn net.Conn) bool {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("neither closed nor reset: %v", err)
	}
	return err == nil
}

// batchOf makes a batch of the values, all from 2024/06/10 11:00:01 UTC.
func batchOf(base int64, values ...string) string {
	var b batch.Builder
	for _, v := range values {
		b.Add(1718017201000, nil, []byte(v))
	}
	b.Close(base)
	return string(b.Bytes())
}

// A process is a running consumer.
type process struct {
	*exec.Cmd
	stderr bytes.Buffer
}

func command(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // what hangs fails
	p := &process{Cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	p.Env = append(os.Environ(), asProgram+"=1", "TZ=UTC")
	p.Stderr = &p.stderr
	p.WaitDelay = 10 * time.Second // for a command that it has left behind
	t.Cleanup(func() {
		cancel()
		if p.Process != nil && p.ProcessState == nil {
			_ = p.Wait()
		}
	})
	return p
}

// start runs a consumer of b's topic whose output is read from the pipe.
func start(t *testing.T, b *fakeBroker, args ...string) (*process, *bufio.Reader) {
	t.Helper()
	p := command(t, append([]string{"-port", b.port, "-topic", "orders"}, args...)...)
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p, bufio.NewReader(out)
}

// finish waits for the process, whose output is at its end.
func (p *process) finish() (code int) {
	_ = p.Wait() // exit codes are what the tests look at
	return p.ProcessState.ExitCode()
}

// drain serves the stream to a consumer and returns what became of both.
func drain(t *testing.T, stream string, args ...string) (out, stderr string, code int, gone bool) {
	t.Helper()
	b := listen(t)
	p, stdout := start(t, b, args...)
	conn := b.serve(stream)
	all, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	code = p.finish()
	return string(all), p.stderr.String(), code, consumed(t, conn)
}

func TestPrintsToTheEndOfTheTopicAndConsumes(t *testing.T) {
	stream := "@0\n" + batchOf(0, "first order", "second order") + batchOf(2, "third order") + ".\n"
	out, stderr, code, gone := drain(t, stream)
	want := "2024/06/10 11:00:01 [orders] first order\n" +
		"2024/06/10 11:00:01 [orders] second order\n" +
		"2024/06/10 11:00:01 [orders] third order\n"
	if out != want || stderr != "" || code != 0 || !gone {
		t.Errorf("printed %q, said %q, exit %d, consumed %v", out, stderr, code, gone)
	}
}

func TestFormatsOfThePrograms(t *testing.T) {
	stream := "@0\n" + batchOf(5, "a") + "@12\n" + batchOf(0, "b\nc") + ".\n"
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-f", `%p/%o %s\0`}, "0/5 a\x0012/0 b\nc\x00"},
		{
			[]string{"-json"},
			`{"topic":"orders","partition":0,"offset":5,"tstype":"create","ts":1718017201000,"broker":1,"key":null,"payload":"a"}` + "\n" +
				`{"topic":"orders","partition":12,"offset":0,"tstype":"create","ts":1718017201000,"broker":1,"key":null,"payload":"b\nc"}` + "\n",
		},
	} {
		out, stderr, code, gone := drain(t, stream, tt.args...)
		if out != tt.want || stderr != "" || code != 0 || !gone {
			t.Errorf("%q printed %q, said %q, exit %d, consumed %v", tt.args, out, stderr, code, gone)
		}
	}
}

func TestRequestHasTheGroupAndTheCount(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-group", "billing", "-n", "2")
	b.serve(".\n")
	if code := p.finish(); code != 0 || b.request != "orders?format=batch&group=billing&n=2\n" {
		t.Errorf("exit %d, request %q", code, b.request)
	}
}

func TestEmptyTopic(t *testing.T) {
	for args, want := range map[string]int{"": 0, "-fail-empty": 3} {
		out, stderr, code, gone := drain(t, ".\n", strings.Fields(args)...)
		if out != "" || stderr != "" || code != want || !gone {
			t.Errorf("%q: printed %q, said %q, exit %d, consumed %v", args, out, stderr, code, gone)
		}
	}
	if _, _, code, _ := drain(t, "@0\n"+batchOf(0, "")+".\n", "-fail-empty"); code != 0 {
		t.Errorf("-fail-empty with a message: exit %d", code)
	}
}

func TestErrorsAfterWhichNothingIsConsumed(t *testing.T) {
	damaged := []byte(batchOf(1, "second order"))
	damaged[len(damaged)-2] ^= 1
	first := "@0\n" + batchOf(0, "a")
	tests := []struct{ name, stream, want string }{
		{"the broker stops", first + "-SHUTDOWN the broker is stopping\n", "consumer: the broker answered -SHUTDOWN the broker is stopping\n"},
		{"no end of the stream", first, "consumer: connection lost before the end of the topic\n"},
		{"the end in the middle of a batch", first + string(damaged[:70]), "consumer: connection lost before the end of the topic\n"},
		{"a damaged batch", first + string(damaged) + ".\n", "consumer: partition 0: corrupt record batch: CRC-32C is "},
		{"more after the end", first + ".\nx", "consumer: connection lost before the position was moved: unexpected answer \"x\", which is not a broker's\n"},
		{"not a broker", "220 mail.example ESMTP ready, and many more words so that a header is complete\r\n", "consumer: unexpected answer \"220 mail"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code, gone := drain(t, tt.stream, "-f", `%s\n`)
			if !strings.HasPrefix(stderr, tt.want) || strings.Count(stderr, "\n") != 1 || code != 1 || gone {
				t.Errorf("said %q, exit %d, consumed %v", stderr, code, gone)
			}
		})
	}
}

const wentOn = "; going on behind that\nconsumer: some messages are missing: each place is named above\n"

func TestDrainGoesOnBehindWhatIsMissing(t *testing.T) {
	for _, line := range []string{"-GAP first=120", "-DAMAGED orders/0: offsets 5 to 9 can't be read"} {
		b := listen(t)
		p, out := start(t, b, "-f", `%s\n`)
		first := b.serve("@0\n" + batchOf(0, "a") + line + "\n")
		printed(t, out, "a")
		if !consumed(t, first) {
			t.Errorf("%s: the position does not move", line)
		}
		second := b.serve("@0\n" + batchOf(130, "b") + ".\n")
		all, err := io.ReadAll(out)
		if err != nil || string(all) != "b\n" {
			t.Errorf("%s: printed %q, %v", line, all, err)
		}
		p.check(t, 1, "consumer: the broker answered "+line+wentOn)
		if !consumed(t, second) || b.request != "orders?format=batch&group=default\n" {
			t.Errorf("%s: the second request was %q, or is not consumed", line, b.request)
		}
	}
}

func TestReplayGoesOnBehindWhatIsMissing(t *testing.T) {
	const line = "-DAMAGED orders/0: offsets 5 to 9 can't be read"
	b := listen(t)
	p, _ := start(t, b, "-from", "-10", "-f", `%s\n`)
	b.serve("@0\n" + batchOf(0, "a", "b", "c", "d", "e") + line + "\n")
	b.resolve("-10", 2, 7)
	b.serve("@0\n" + batchOf(10, "f") + ".\n")
	if b.request != "orders?format=batch&from=0%3A10%2C1%3A7\n" {
		t.Errorf("the second request was %q", b.request)
	}
	p.check(t, 1, "consumer: the broker answered "+line+wentOn)
}

// With the same place named again it would go on for ever.
func TestDrainEndsWhereThePositionDoesNotMove(t *testing.T) {
	const line = "-DAMAGED orders/0: offsets 5 to 9 can't be read"
	b := listen(t)
	p, _ := start(t, b)
	b.serve(line + "\n")
	b.serve(line + "\n")
	p.check(t, 1, "consumer: the broker answered "+line+"; going on behind that\n"+
		"consumer: some messages are missing: each place is named above\nthe broker answered "+line+"\n")
}

func TestMessagesArePrintedAsTheyCome(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-f", `%s\n`)
	conn := b.accept()
	send(t, conn, "@0\n")
	for i, want := range []string{"a\n", "b\n", "c\n"} {
		send(t, conn, batchOf(int64(i), want[:1]))
		if got, err := out.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	send(t, conn, ".\n")
	_ = conn.CloseWrite()
	if code := p.finish(); code != 0 || !consumed(t, conn) {
		t.Errorf("exit %d", code)
	}
}

// unread is a stream of n messages that are lines of 100 bytes: more than 700
// are more than a pipe holds.
func unread(n int) string {
	line := strings.Repeat("x", 99)
	values := make([]string, n)
	for i := range values {
		values[i] = line
	}
	return "@0\n" + batchOf(0, values...) + ".\n"
}

func TestNothingIsConsumedWhenKilledBeforeAllIsWrittenOut(t *testing.T) {
	tests := []struct {
		name     string
		messages int
		signal   syscall.Signal
	}{
		{"kill -9 in the middle", 10_000, syscall.SIGKILL},
		{"kill -9 in the last write", 1500, syscall.SIGKILL},
		{"SIGINT", 1500, syscall.SIGINT},
		{"SIGTERM", 1500, syscall.SIGTERM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := listen(t)
			p, out := start(t, b, "-f", `%s\n`)
			conn := b.serve(unread(tt.messages)) // with its end: the consumer has only to write
			if _, err := out.ReadByte(); err != nil {
				t.Fatal(err)
			}
			if err := p.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			if consumed(t, conn) {
				t.Error("the connection was closed in good order")
			}
			_ = p.Wait()
			if ws := p.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != tt.signal {
				t.Errorf("ended with %v, not by the signal", p.ProcessState)
			}
			if p.stderr.Len() > 0 {
				t.Errorf("said %q", p.stderr.String())
			}
		})
	}
}

func TestReaderThatLeavesEndsItQuietlyAndNothingIsConsumed(t *testing.T) {
	b := listen(t)
	p := command(t, "-port", b.port, "-topic", "orders", "-f", `%s\n`)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout = w
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	conn := b.serve(unread(10_000))
	line, err := bufio.NewReader(r).ReadString('\n') // as head -1 does
	if len(line) != 100 {
		t.Errorf("got %q, %v", line, err)
	}
	r.Close()
	_ = p.Wait()
	if ws := p.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGPIPE {
		t.Errorf("ended with %v, not by SIGPIPE", p.ProcessState)
	}
	if p.stderr.Len() > 0 || consumed(t, conn) {
		t.Errorf("said %q, or consumed", p.stderr.String())
	}
}

func TestNothingIsConsumedWhenOutputFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	b := listen(t)
	p := command(t, "-port", b.port, "-topic", "orders")
	p.Stdout = full
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	conn := b.serve("@0\n" + batchOf(0, "a") + ".\n")
	code, gone := p.finish(), consumed(t, conn)
	if want := "consumer: standard output: write /dev/stdout: no space left on device\n"; p.stderr.String() != want || code != 1 || gone {
		t.Errorf("said %q, exit %d, consumed %v", p.stderr.String(), code, gone)
	}
}

func TestNoBroker(t *testing.T) {
	p := command(t, "-port", brokertest.Port(brokertest.Reserve(t)), "-topic", "orders")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	code := p.finish()
	if !strings.HasPrefix(p.stderr.String(), "consumer: can't reach the broker: ") || code != 1 {
		t.Errorf("said %q, exit %d", p.stderr.String(), code)
	}
}

func TestWrongUse(t *testing.T) {
	for args, want := range map[string]string{
		"":                     "consumer: -topic is missing\n",
		"-topic a/b":           `consumer: invalid topic name "a/b": `,
		"-topic a -group .":    `consumer: invalid group name ".": `,
		"-topic a -n -1":       "consumer: -n is -1, less than 0\n",
		"-topic a -port 0":     "consumer: -port is 0, not 1 to 65535\n",
		"-topic a -f %z":       "consumer: -f: unknown token \"%z\"\n",
		"-topic a -f %s -json": "consumer: -f and -json exclude each other\n",
		"-topic a b":           "consumer: unexpected argument \"b\"\n",
	} {
		p := command(t, strings.Fields(args)...)
		var out bytes.Buffer
		p.Stdout = &out
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		code := p.finish()
		if !strings.HasPrefix(p.stderr.String(), want) || code != 2 || out.Len() > 0 {
			t.Errorf("%s: said %q, exit %d, printed %q", args, p.stderr.String(), code, out.String())
		}
	}
}

func TestHelp(t *testing.T) {
	p := command(t, "-h")
	out, err := p.Output()
	if err != nil || !strings.HasPrefix(string(out), "Usage: consumer -topic TOPIC") || !strings.Contains(string(out), "[MBUS_HOST]") {
		t.Errorf("got %q, %v", out, err)
	}
}
