package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
)

// asProgram makes the test binary be the program itself, so that the tests run
// it as a process.
const asProgram = "RUN_AS_PRODUCER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// A fakeBroker serves one connection as PROTOCOL.md says.
type fakeBroker struct {
	t    *testing.T
	port string
	l    net.Listener
	conn net.Conn
	r    *bufio.Reader

	request string
}

func listen(t *testing.T) *fakeBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return &fakeBroker{t: t, port: port, l: l}
}

// accept waits for the producer and its request line.
func (b *fakeBroker) accept() {
	b.t.Helper()
	conn, err := b.l.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	b.conn, b.r = conn, bufio.NewReader(conn)
	if b.request, err = b.r.ReadString('\n'); err != nil {
		b.t.Fatal(err)
	}
}

// read returns the messages of the next batch.
func (b *fakeBroker) read() (messages []string, err error) {
	header, err := b.r.Peek(batch.HeaderSize)
	if err != nil {
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
	var it batch.Iterator
	if err := it.Reset(p); err != nil {
		return nil, err
	}
	for it.Next() {
		messages = append(messages, string(it.Record().Value))
	}
	return messages, it.Err()
}

func (b *fakeBroker) answer(line string) {
	b.t.Helper()
	if _, err := io.WriteString(b.conn, line); err != nil {
		b.t.Fatal(err)
	}
}

// serve accepts, takes everything in, acknowledges it and closes.
func (b *fakeBroker) serve() (all []string) {
	b.t.Helper()
	b.accept()
	for {
		m, err := b.read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, m...)
	}
	b.answer(fmt.Sprintf("+%d\n", len(all)))
	b.conn.Close()
	return all
}

// A process is a running producer.
type process struct {
	*exec.Cmd
	out, stderr bytes.Buffer
}

func command(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // what hangs fails
	p := &process{Cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stdout, p.Stderr = &p.out, &p.stderr
	t.Cleanup(func() {
		cancel()
		if p.Process != nil && p.ProcessState == nil {
			_ = p.Wait()
		}
	})
	return p
}

// start runs a producer to b whose input is what is written to stdin.
func start(t *testing.T, b *fakeBroker, args ...string) (p *process, stdin io.WriteCloser) {
	t.Helper()
	p = command(t, append([]string{"-port", b.port, "-topic", "orders", "-retry", "0"}, args...)...)
	stdin, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p, stdin
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// check waits for the process to end, having said want and nothing else.
func (p *process) check(t *testing.T, code int, want string) {
	t.Helper()
	_ = p.Wait() // exit codes are what is looked at
	if got := p.ProcessState.ExitCode(); got != code || p.stderr.String() != want || p.out.Len() > 0 {
		t.Errorf("exit %d, said %q, printed %q; want exit %d, %q", got, p.stderr.String(), p.out.String(), code, want)
	}
}

func TestLinesOfStandardInput(t *testing.T) {
	b := listen(t)
	p, stdin := start(t, b)
	go func() {
		_, _ = io.WriteString(stdin, "first\n\n\xff\x00\r\nlast without LF")
		stdin.Close()
	}()
	if got, want := b.serve(), []string{"first", "", "\xff\x00\r", "last without LF"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.HasPrefix(b.request, "orders?format=batch&producer=") || !strings.HasSuffix(b.request, "&new\n") {
		t.Errorf("request %q", b.request)
	}
	p.check(t, 0, "")
}

func TestDelayAndTimeAreAskedFor(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"-delay", "30s", "orders?format=batch&delay=30s&producer="},
		{"-at", "1795341600000", "orders?format=batch&at=1795341600000&producer="},
	} {
		b := listen(t)
		p, _ := start(t, b, tt.flag, tt.value, "-message", "a")
		b.serve()
		if !strings.HasPrefix(b.request, tt.want) {
			t.Errorf("request %q, want %q", b.request, tt.want)
		}
		p.check(t, 0, "")
	}
}

func TestNoInputIsSuccess(t *testing.T) {
	b := listen(t)
	p, stdin := start(t, b)
	stdin.Close()
	if got := b.serve(); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	p.check(t, 0, "")
}

func TestMessageIsSentAndStandardInputIsNotRead(t *testing.T) {
	for _, message := range []string{"first order", "", "two\nlines\n"} {
		b := listen(t)
		p, _ := start(t, b, "-message", message) // standard input stays open
		if got := b.serve(); !slices.Equal(got, []string{message}) {
			t.Errorf("got %q, want %q", got, message)
		}
		p.check(t, 0, "")
	}
}

func TestLinesAreSentWhileTheInputGoesOn(t *testing.T) {
	b := listen(t)
	p, stdin := start(t, b)
	b.accept()
	for i, line := range []string{"a", "b", "c"} {
		write(t, stdin, line+"\n")
		if got, err := b.read(); !slices.Equal(got, []string{line}) {
			t.Fatalf("got %q, %v", got, err)
		}
		b.answer(fmt.Sprintf("+%d\n", i+1))
	}
	stdin.Close()
	if _, err := b.read(); !errors.Is(err, io.EOF) {
		t.Errorf("it has not closed its side: %v", err)
	}
	b.conn.Close()
	p.check(t, 0, "")
}

func TestBrokerThatDiesEndsItWithoutWaitingForInput(t *testing.T) {
	b := listen(t)
	p, stdin := start(t, b)
	b.accept()
	write(t, stdin, "a\nb\nc\n")
	if got, err := b.read(); len(got) != 3 {
		t.Fatalf("got %q, %v", got, err)
	}
	b.answer("+2\n")
	b.conn.Close()
	p.check(t, 1, "producer: 2 of 3 sent messages acknowledged: connection lost: the broker closed it\n")
}

func TestErrorOfTheBrokerIsSaid(t *testing.T) {
	b := listen(t)
	p, stdin := start(t, b)
	b.accept()
	write(t, stdin, "a\n")
	if _, err := b.read(); err != nil {
		t.Fatal(err)
	}
	b.answer("-FULL no space left\n")
	b.conn.Close()
	p.check(t, 1, "producer: 0 of 1 sent messages acknowledged: the broker answered -FULL no space left\n")
}

func TestBrokerThatDiesAtTheLastAcknowledgement(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-message", "a")
	b.accept()
	for {
		if _, err := b.read(); err != nil {
			break
		}
	}
	b.conn.Close()
	p.check(t, 1, "producer: 0 of 1 sent messages acknowledged: connection lost: the broker closed it\n")
}

func TestInputThatCannotBeRead(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	b := listen(t)
	p := command(t, "-port", b.port, "-topic", "orders")
	p.Stdin = dir
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	b.serve()
	p.check(t, 1, "producer: input can't be read after line 0: read /dev/stdin: is a directory; 0 messages on disk before that\n")
}

func TestNoBroker(t *testing.T) {
	b := listen(t)
	b.l.Close()
	p, _ := start(t, b, "-message", "a")
	_ = p.Wait()
	if code := p.ProcessState.ExitCode(); code != 1 || !strings.HasPrefix(p.stderr.String(), "producer: can't reach the broker: ") {
		t.Errorf("exit %d, said %q", code, p.stderr.String())
	}
}

func TestWrongUse(t *testing.T) {
	const hint = "producer -h shows the flags\n"
	for args, want := range map[string]string{
		"":                         "producer: -topic is missing\n",
		"-topic a -port 0":         "producer: -port is 0, not 1 to 65535\n",
		"-topic a message":         "producer: unexpected argument \"message\"\n",
		"-topic a -key b":          "producer: flag provided but not defined: -key\n",
		"-topic a -delay -1s":      "producer: invalid value \"-1s\" for flag -delay: it takes a duration from 0 up with its unit, such as 500ms, 30s, 1h30m, 7d or 1d12h\n",
		"-topic a -delay 1s -at 1": "producer: -delay and -at exclude each other\n",
		"-topic a -port many":      "producer: invalid value \"many\" for flag -port: it takes a whole number\n",
		"-topic a/b":               "producer: invalid topic name \"a/b\": it takes 1 to 249 of A-Z a-z 0-9 . _ - and not . or ..\n",
	} {
		p := command(t, strings.Fields(args)...)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		p.check(t, 2, want+hint)
	}
}

func TestHelp(t *testing.T) {
	p := command(t, "-h")
	_ = p.Run()
	if got := p.out.String(); p.ProcessState.ExitCode() != 0 || !strings.HasPrefix(got, "Usage: producer -topic TOPIC") || !strings.Contains(got, "[MBUS_HOST]") {
		t.Errorf("exit %d, printed %q", p.ProcessState.ExitCode(), got)
	}
}
