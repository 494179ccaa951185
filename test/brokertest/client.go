package brokertest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Dial connects to address and sends text. The connection is closed with the
// test, if not before, and gives up after a minute.
func Dial(t testing.TB, address, text string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// Publish sends messages, none with an LF, with the request and fails the test
// unless all are acknowledged.
func (b *Broker) Publish(request string, messages ...string) {
	b.t.Helper()
	conn := Dial(b.t, b.Producers(), b.Login()+request+"\n")
	defer conn.Close()
	go func() {
		io.WriteString(conn, strings.Join(messages, "\n")+"\n") // a failure shows in the answer
		conn.CloseWrite()
	}()
	answers, err := io.ReadAll(conn)
	if err != nil {
		b.t.Fatalf("publishing to %q: %v after %q", request, err, answers)
	}
	if want := "+" + strconv.Itoa(len(messages)); LastLine(string(answers)) != want {
		b.t.Fatalf("publishing to %q: answered %q, not %s", request, answers, want)
	}
}

// Drain reads the answer to a consumer's request to its end and closes the
// connection in good order, so that the broker takes it as consumed.
func (b *Broker) Drain(request string) string {
	b.t.Helper()
	answer, err := b.Read(request)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer
}

// Read is Drain for any goroutine.
func (p *Process) Read(request string) (string, error) {
	conn, err := p.Dial(p.Consumers())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, p.Login()+request+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		err = fmt.Errorf("draining %q: %w after %d bytes", request, err, len(answer))
	}
	return string(answer), err
}

// ReadLine reads a line and gives it without its LF; it fails the test where
// there is none.
func ReadLine(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("reading a line: %v after %q", err, line)
	}
	return strings.TrimSuffix(line, "\n")
}

// LastLine is the last line of text, without its LF.
func LastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}
