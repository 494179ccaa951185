package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

// overTLS starts a broker with a certificate. The environment has its operator token, with which the programs log in, and the
// authority.
func overTLS(t *testing.T) *brokertest.Broker {
	t.Helper()
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority := brokertest.NewAuthority(t)
	authority.WriteAuthority(ca)
	authority.WritePair(authority.Issue(x509.Certificate{}), cert, key)
	b := realBroker(t, "-tls-cert", cert, "-tls-key", key)
	token, err := b.OperatorToken()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("MBUS_TLS_CA", ca)
	t.Setenv("MBUS_TOKEN", token)
	return b
}

// Over TLS, too, a program that is killed has consumed no message that it has not written, and one that ends in good order
// all that it has.
func TestOverTLSNothingIsLost(t *testing.T) {
	b := overTLS(t)
	const n = 4000
	messages := make([]string, n)
	for i := range messages {
		messages[i] = fmt.Sprintf("message %05d %s", i, strings.Repeat("x", 100))
	}
	all := strings.Join(messages, "\n") + "\n"
	b.Publish("orders", messages...)
	p, out := begin(t, b, "-f", `%s\n`)
	if _, err := out.ReadByte(); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGKILL)
	p.finish()
	if got := result(t, b, "-f", `%s\n`); got != all {
		t.Errorf("after kill -9 of a drain it gives %d bytes of %d", len(got), len(all))
	}
	if got := result(t, b, "-f", `%s\n`); got != "" {
		t.Errorf("what was drained comes again: %d bytes", len(got))
	}
	p, out = begin(t, b, "-group", "followers", "-follow", "-f", `%s\n`)
	last := -1
	for last < n/2 {
		if _, err := fmt.Sscanf(brokertest.ReadLine(t, out), "message %d", &last); err != nil {
			t.Fatal(err)
		}
	}
	p.signal(t, syscall.SIGKILL)
	p.finish()
	rest := result(t, b, "-group", "followers", "-follow", "-n", fmt.Sprint(n-1-last), "-f", `%s\n`)
	var first int
	if _, err := fmt.Sscanf(rest, "message %d", &first); err != nil || first > last+1 || first == 0 {
		t.Errorf("after kill -9 of a follower that has printed message %d it goes on at %d, %v", last, first, err)
	}
	file := filepath.Join(t.TempDir(), "out")
	p, _ = begin(t, b, "-follow", "-out", file, "-f", `%s\n`)
	await(t, func() bool { written, _ := os.ReadFile(file); return len(written) > 0 })
	p.signal(t, syscall.SIGKILL)
	p.finish()
	result(t, b, "-out", file, "-f", `%s\n`)
	if got, err := os.ReadFile(file); err != nil || string(got) != all {
		t.Errorf("the file has %d bytes of %d, %v", len(got), len(all), err)
	}
}

// A log-in that is wrong, and a port without TLS, end the program at once with the reason.
func TestErrorsOfGettingIn(t *testing.T) {
	b, plain := overTLS(t), realBroker(t)
	b.Publish("orders", "first")
	t.Setenv("MBUS_PASSWORD", "wrong")
	for _, tt := range []struct {
		b    *brokertest.Broker
		args []string
		want string
	}{
		{b, []string{"-follow", "-user", "alice"}, "consumer: the broker answered -DENIED the user, the password or the token is wrong\n"},
		{plain, []string{"-follow"}, "consumer: can't reach the broker: this port does not speak TLS: connect without -tls"},
	} {
		p, _ := begin(t, tt.b, tt.args...)
		if code := p.finish(); code != 1 || !strings.HasPrefix(p.stderr.String(), tt.want) || strings.Count(p.stderr.String(), "\n") != 1 {
			t.Errorf("%q: exit %d, said %q", tt.args, code, p.stderr.String())
		}
	}
}
