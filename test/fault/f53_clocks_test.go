package fault

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Injected: a client's certificate that has expired, or is not valid yet, and such a one in place of the broker's, while it
// serves and at a start. Expected: that client gets nowhere; the broker goes on with the certificate that it
// had; what it started with is said in the log, and replaced by a good one without a restart.
func TestF53CertificatesOutOfTheirTime(t *testing.T) {
	a, dir, files := brokertest.NewAuthority(t), t.TempDir(), t.TempDir()
	file := func(name string) string { return filepath.Join(files, name+".pem") }
	issue := func(user string, valid [2]time.Duration) tls.Certificate {
		now := time.Now()
		return a.Issue(x509.Certificate{Subject: pkix.Name{CommonName: user}, NotBefore: now.Add(valid[0]), NotAfter: now.Add(valid[1])})
	}
	renew := func(valid [2]time.Duration) { a.WritePair(issue("broker", valid), file("cert"), file("key")) }
	current := [2]time.Duration{-24 * time.Hour, 24 * time.Hour}
	renew(current)
	a.WriteAuthority(file("ca"))
	makeUsers(t, dir)
	b := brokertest.Start(t, dir, "-tls-cert", file("cert"), "-tls-key", file("key"), "-tls-client-ca", file("ca"))
	b.LogIn(friend, friendPassword)
	acked := 0
	publishes := func(valid [2]time.Duration) bool {
		tcp, err := net.Dial("tcp", b.Producers())
		conn, err := secured(tcp, err, &tls.Config{RootCAs: a.Pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{issue(insider.user, valid)}})
		if err != nil {
			return false
		}
		defer conn.Close()
		c, err := newLineConn(conn, "clocks\nmessage")
		if err != nil {
			return false
		}
		if answer, _ := c.line(); answer != "+1" {
			return false
		}
		acked++
		return true
	}
	renewed := func(valid [2]time.Duration, says string) {
		t.Helper()
		renew(valid)
		if err := syscall.Kill(b.Pid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		brokertest.Await(t, signalled, says, func() bool { return strings.Contains(b.Output(), says) })
	}
	for says, valid := range map[string][2]time.Duration{
		"the TLS certificate has expired":      {-48 * time.Hour, -time.Minute},
		"the TLS certificate is not valid yet": {time.Minute, 48 * time.Hour},
	} {
		if !publishes(current) || publishes(valid) {
			t.Errorf("%s: a client whose certificate is valid, or one whose is not", says)
		}
		renewed(valid, "the new TLS certificate can't be used")
		if !publishes(current) {
			t.Errorf("%s: it is in use", says)
		}
		b.Restart()
		if !strings.Contains(b.Output(), says) || publishes(current) {
			t.Errorf("the broker starts with it: %s", b.Output())
		}
		renewed(current, "the TLS certificate is loaded")
		if !publishes(current) {
			t.Errorf("%s: a good one is not used instead", says)
		}
	}
	got := len(lines(b.Drain("clocks?from=beginning")))
	report(t, tally{Runs: 2, Acked: acked, Read: got})
	if got != acked {
		t.Errorf("%d messages are there, and %d were acknowledged", got, acked)
	}
}

// signalled is the time in which a broker does what takes a moment, or a second, on a machine that rests.
const signalled = 20 * time.Second

// Injected: for log-ins the clock jumps two hours ahead, and back, under followers of lines and of HTTP. Expected: with a
// token that has expired nobody goes on or gets in; with another token, or a password, everybody does. By the
// clock of before the token is valid again.
func TestF53TokensExpireWhenTheClockJumps(t *testing.T) {
	program, jump := jumping(t)
	dir := t.TempDir()
	makeUsers(t, dir)
	b := brokertest.StartProgram(t, program, dir)
	b.LogIn(friend, friendPassword)
	b.Publish("clocks", "before")
	expiring, lasting := tokenOf(t, b, map[string]string{"expires": "1h"}), tokenOf(t, b, map[string]string{})
	follow := func(login string) *bufio.Reader {
		return bufio.NewReader(brokertest.Dial(t, b.Consumers(), login+"clocks?follow&from=beginning\n"))
	}
	followHTTP := func(token string) *bufio.Reader {
		return bufio.NewReader(brokertest.Dial(t, b.HTTP(), "GET /topics/clocks/messages?follow&from=beginning HTTP/1.0\r\nAuthorization: Bearer "+token+"\r\n\r\n"))
	}
	leave := []*bufio.Reader{follow("AUTH " + expiring + "\n"), followHTTP(expiring)}
	stay := []*bufio.Reader{follow("AUTH " + lasting + "\n"), followHTTP(lasting), follow(b.Login())}
	for _, r := range append(leave, stay...) {
		mustBring(t, r, "before")
	}
	jump(2 * time.Hour)
	left := make(chan error, len(leave))
	for _, r := range leave {
		go func() {
			_, err := r.ReadString('\n')
			left <- err
		}()
	}
	for range leave {
		select {
		case err := <-left:
			if err == nil {
				t.Error("a follower whose token has expired gets more")
			}
		case <-time.After(signalled):
			t.Fatal("a follower whose token has expired goes on")
		}
	}
	b.Publish("clocks", "behind")
	for _, r := range stay {
		mustBring(t, r, "behind")
	}
	mustLogIn(t, b, expiring, false)
	mustLogIn(t, b, lasting, true)
	jump(0)
	mustLogIn(t, b, expiring, true)
	report(t, tally{Runs: 1, Acked: 2, Read: len(lines(b.Drain("clocks?from=beginning")))})
}

// jumping makes a broker in which the clock of log-ins is ahead of the system's.
func jumping(t *testing.T) (program string, jump func(ahead time.Duration)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ahead")
	const valid, imports = "IsValid(id Identity, now time.Time) bool {\n", "import (\n\t\"net/netip\"\n"
	const documented = "// Attempts counts failed log-ins"
	ahead := fmt.Sprintf("func ahead() time.Duration {\n\ttext, _ := os.ReadFile(%q)\n\tby, _ := time.ParseDuration(string(text))\n\treturn by\n}\n\n", file)
	program = brokertest.Variant(t,
		brokertest.Change{File: "internal/auth/users.go", Old: valid, New: valid + "\tnow = now.Add(ahead())\n"},
		brokertest.Change{File: "internal/auth/attempts.go", Old: imports, New: imports + "\t\"os\"\n"},
		brokertest.Change{File: "internal/auth/attempts.go", Old: documented, New: ahead + documented})
	return program, func(ahead time.Duration) {
		t.Helper()
		if err := os.WriteFile(file, []byte(ahead.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// tokenOf makes a token of the friend.
func tokenOf(t *testing.T, b *brokertest.Broker, want map[string]string) string {
	t.Helper()
	status, answer, err := b.Operate(http.MethodPost, "/users/"+friend+"/tokens", want)
	var made struct{ Token string }
	if err != nil || status != http.StatusCreated || json.Unmarshal([]byte(answer), &made) != nil {
		t.Fatalf("a token: %d %q, %v", status, answer, err)
	}
	return made.Token
}

// mustBring reads until a line has a message.
func mustBring(t *testing.T, r *bufio.Reader, message string) {
	t.Helper()
	for line := ""; !strings.Contains(line, message); {
		line = brokertest.ReadLine(t, r)
	}
}

// mustLogIn tries a token on a line port and over HTTP.
func mustLogIn(t *testing.T, b *brokertest.Broker, token string, may bool) {
	t.Helper()
	line := brokertest.ReadLine(t, bufio.NewReader(brokertest.Dial(t, b.Consumers(), "AUTH "+token+"\n?topics\n")))
	status := brokertest.ReadLine(t, bufio.NewReader(brokertest.Dial(t, b.HTTP(), "GET /topics HTTP/1.0\r\nAuthorization: Bearer "+token+"\r\n\r\n")))
	if strings.HasPrefix(line, "-DENIED ") == may || strings.Contains(status, " 401 ") == may || strings.Contains(status, " 200 ") != may {
		t.Errorf("a token that is valid (%v) is answered %q and %q", may, line, status)
	}
}
