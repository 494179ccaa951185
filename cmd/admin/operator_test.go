package main

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"mbus/internal/auth"
	"mbus/internal/client"
	"mbus/test/brokertest"
)

// A falseListener is of another user of the machine: it reads what it gets, and answers so that admin goes on.
type falseListener struct {
	net.Listener
	mu  sync.Mutex
	got strings.Builder
}

func listenFalsely(t *testing.T, address string) *falseListener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &falseListener{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return f
}

func (f *falseListener) serve(conn net.Conn) {
	defer conn.Close()
	p := make([]byte, 64<<10)
	for {
		n, err := conn.Read(p)
		f.mu.Lock()
		f.got.Write(p[:n])
		f.mu.Unlock()
		if err != nil {
			return
		}
		answer := "-DENIED log in first\n"
		if strings.Contains(string(p[:n]), " HTTP/1.1\r\n") {
			answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.(*net.TCPConn).CloseWrite()
	}
}

func (f *falseListener) heard() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got.String()
}

func (f *falseListener) port() string { return portOf(f.Addr().String()) }

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

var looksLikeSecret = regexp.MustCompile(`mbus_[\w-]+`)

// Another user of the machine who listens where the broker is not receives nothing that the broker takes, on any of its
// ports: neither at another address while it runs, nor at its own while it is stopped.
func TestAFalseListenerGetsNothingUsable(t *testing.T) {
	http, lines := brokertest.Reserve(t), brokertest.Reserve(t)
	b := brokertest.Start(t, t.TempDir(), "-hport", portOf(http), "-cport", portOf(lines))
	for _, line := range []string{"user add alice -generate", "user show alice"} {
		if _, said, code := admin(t, append(strings.Fields(line), "-hport", portOf(b.HTTP()), "-data", b.Data)...); code != 0 {
			t.Fatalf("%s: %d, %q", line, code, said)
		}
	}
	if _, said, code := admin(t, "topics", "-port", portOf(b.Consumers()), "-data", b.Data); code != 0 {
		t.Fatalf("topics: %d, %q", code, said)
	}
	token, err := b.OperatorToken()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := listenFalsely(t, "127.0.0.1:0")
	admin(t, "users", "-hport", elsewhere.port(), "-data", b.Data)
	admin(t, "topics", "-port", elsewhere.port(), "-data", b.Data)
	got := mustHear(t, elsewhere, token)
	for _, secret := range got {
		mustNotLogIn(t, secret, b.HTTP(), b.Consumers())
	}

	b.Kill() // which leaves the file
	if _, err := os.Stat(filepath.Join(b.Data, auth.OperatorFile)); err != nil {
		t.Fatal(err)
	}
	inPlace, linesInPlace := listenFalsely(t, http), listenFalsely(t, lines)
	admin(t, "users", "-hport", portOf(http), "-data", b.Data)
	admin(t, "topics", "-port", portOf(lines), "-data", b.Data)
	got = append(mustHear(t, inPlace, token), mustHear(t, linesInPlace, token)...)
	inPlace.Close()
	linesInPlace.Close()
	b.Begin()
	if err := b.Ready(); err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(got, token) {
		mustNotLogIn(t, secret, b.HTTP(), b.Consumers())
	}
}

// mustHear gives what looks like a token of that which a listener has received; it may not be the operator token.
func mustHear(t *testing.T, f *falseListener, token string) []string {
	t.Helper()
	heard := f.heard()
	got := looksLikeSecret.FindAllString(heard, -1)
	if len(got) == 0 || slices.Contains(got, token) || strings.Contains(heard, token) {
		t.Errorf("the listener at %s has received %q", f.Addr(), heard)
	}
	return got
}

func mustNotLogIn(t *testing.T, secret, http, lines string) {
	t.Helper()
	a := api{ways: []client.Broker{{Addr: http, Token: secret}}, timeout: answerTime}
	if err := a.ask("GET", "/users", nil, nil); !isDenied(err) {
		t.Errorf("the broker's port for HTTP clients takes %s: %v", secret, err)
	}
	if _, err := client.Ask(client.Broker{Addr: lines, Token: secret}, "?topics\n", answerTime); !isDenied(err) {
		t.Errorf("the broker's port for consumers takes %s: %v", secret, err)
	}
}

// Over TLS from elsewhere, where no operator token helps, the error names the flags of a log-in.
func TestAdminFromElsewhereIsToldHowToLogIn(t *testing.T) {
	denied := &client.Error{Code: codeDenied, Text: "log in first"}
	refuse := func(client.Broker) error { return denied }
	for want, given := range map[string]client.Broker{
		"log in first; -user logs in, with the password in MBUS_PASSWORD": {Addr: "192.0.2.1:9992"},
		"log in first": {Addr: "192.0.2.1:9992", Token: "mbus_x"},
	} {
		ways, why := logIns(given, t.TempDir())
		err := tryLogIns(ways, why, refuse)
		if !isDenied(err) || !strings.Contains(err.Error(), want) || given.Token != "" && strings.Contains(err.Error(), "-user") {
			t.Errorf("%+v: %v", given, err)
		}
	}
}

// The file stays what curl takes: the operator token itself.
func TestTheOperatorFileIsABearerToken(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	if status, answer, err := b.Operate("GET", "/users", nil); err != nil || status != 200 {
		t.Errorf("%d %s, %v", status, answer, err)
	}
	at := netip.MustParseAddrPort(b.HTTP())
	token, err := b.OperatorToken()
	if err != nil || auth.OperatorTokenAt(token, at) == token || !auth.LooksLikeToken(auth.OperatorTokenAt(token, at)) {
		t.Errorf("at %v it is %q: %v", at, auth.OperatorTokenAt(token, at), err)
	}
}
