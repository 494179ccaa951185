package line_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/line"
	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

// A user logs in with a password or a token, in the line before the request, on both ports.
func TestLogins(t *testing.T) {
	b := start(t, setup{})
	login := b.addUser("älice", everything()...)
	b.auth = login
	b.publish("orders", "first")
	b.mustDrain("orders", "first\n")
	b.auth = ""
	secret := ""
	b.edit("älice", func(u *auth.User) { secret, _ = u.AddToken(time.Hour) })
	b.dial(b.producers, "AUTH "+secret+"\r\norders\nsecond\n").mustSay("+1")
	b.dial(b.consumers, "AUTH "+secret+"\norders\n").mustEnd("second\n")
	const wrong = "the user, the password or the token is wrong"
	for i, try := range []struct {
		line, code, words string
	}{
		{login + login + "orders\n", "BADREQUEST", "first line only"},
		{"AUTH älice " + strings.TrimSuffix(password, " ") + "\norders\n", "DENIED", wrong},
		{"AUTH älice x" + password + "\norders\n", "DENIED", wrong},
		{"AUTH bob " + password + "\norders\n", "DENIED", wrong},
		{"AUTH älice " + strings.Repeat("x", 4000) + "\norders\n", "DENIED", wrong},
		{"AUTH älice HTTP/1.1\norders\n", "DENIED", wrong},
		{"AUTH älice \xff\xfe\norders\n", "DENIED", wrong},
		{"AUTH " + auth.NewToken() + "\norders\n", "DENIED", wrong},
		{"AUTH älice " + strings.Repeat("x", 4096), "BADREQUEST", "longer than 4096 bytes"},
		{"auth älice secret\norders\n", "BADREQUEST", "AUTH USER PASSWORD"},
		{"AUTH älice\norders\n", "BADREQUEST", "AUTH USER PASSWORD"},
		{"AUTH älice \norders\n", "BADREQUEST", "AUTH USER PASSWORD"},
		{"AUTH \norders\n", "BADREQUEST", "AUTH USER PASSWORD"},
		{"AUTH  secret\norders\n", "BADREQUEST", "AUTH USER PASSWORD"},
		{"AUTH\tälice secret\norders\n", "BADREQUEST", "AUTH USER PASSWORD"},
		{"orders\n", "DENIED", "AUTH USER PASSWORD"},
		{"AUTH\n", "DENIED", "AUTH USER PASSWORD"}, // a topic
	} {
		c := b.dial([]string{b.producers, b.consumers}[i%2], try.line).finish()
		defer c.mustRefuse(try.code, try.words) // all at once, because each failure is slower than the one before
	}
	b.dial(b.consumers, login).finish().mustEnd("")
	b.dial(b.consumers, "AUTH älice "+password).finish().mustRefuse("BADREQUEST", "no LF")
}

// No log and no answer has a secret, and no list of connections, however AUTH is written.
func TestSecretsAreNotShown(t *testing.T) {
	b := start(t, setup{debug: true})
	login := b.addUser("alice", everything()...)
	for _, text := range []string{
		login + "orders?follow\n", login + login, "AUTH alice seCret\n", "AUTH seCret\n", "AUTH alice\tseCret\n", "auth alice seCret\n",
		"Auth  seCret\n", "AUTH\tseCret x\n", "AUTH alice seCret GET / HTTP/1.1\n", "AUTH alice seCret" + strings.Repeat("x", 5000),
		login + "orders?seCre=t\n",
	} {
		c := b.dial(b.consumers, text)
		if strings.Contains(text, "follow") {
			await(t, "the user is shown", func() bool {
				all := b.server.Connections()
				return len(all) == 1 && all[0].User == "alice" && all[0].Does == "follow" && all[0].Topic == "orders"
			})
			c.Close()
		} else if got := c.rest(); strings.Contains(got, "seCret") || strings.Contains(got, password) || !strings.HasPrefix(got, "-") {
			t.Errorf("the answer to %s is %s", brief(text), brief(got))
		}
	}
	b.stop()
	for _, secret := range []string{"seCret", "battery"} {
		if lines := b.book.Lines(secret); len(lines) > 0 {
			t.Errorf("the log has a secret: %q", lines)
		}
	}
}

// A stop of the broker does not wait for the slow answer to a wrong password.
func TestAStopEndsAWrongLogin(t *testing.T) {
	b := start(t, setup{})
	b.addUser("alice")
	for range 10 { // each is slower than the one before
		b.dial(b.consumers, "AUTH alice x\n")
	}
	await(t, "all have failed", func() bool { logins, _ := b.broker.Refused(); return logins == 10 })
	b.stop()
}

// As the issue writes it: with openssl, by hand.
func TestLoginWithOpenSSL(t *testing.T) {
	brokertest.NeedTools(t, "openssl")
	b := start(t, setup{overTLS: true})
	b.auth = b.addUser("alice", everything()...)
	cmd := exec.Command("openssl", "s_client", "-quiet", "-connect", b.producers)
	cmd.Stdin = strings.NewReader(b.auth + "orders\nhello\n")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	n, err := io.ReadFull(out, got)
	cmd.Process.Kill() // it goes on reading
	cmd.Wait()
	if string(got) != "+1\n" {
		t.Fatalf("%v: it prints %q", err, got[:n])
	}
	b.mustDrain("orders", "hello\n")
}

// When a user loses something its connections are reset, whatever they do; those of others go on. What a follower held is not
// failed by that.
func TestRevocationEndsConnections(t *testing.T) {
	b := start(t, setup{})
	anonymous := b.dial(b.consumers, "orders?follow\n")
	b.server.EndInvalid()
	anonymous.mustBeSilent()
	alice, bob := b.addUser("alice", everything()...), b.addUser("bob", everything()...)
	idle := b.dial(b.consumers, "")
	b.server.EndInvalid()
	publish := func(topic, message string) {
		t.Helper()
		b.auth = bob
		b.publish(topic, message)
		b.auth = ""
	}
	publish("orders", "first")
	anonymous.mustBeResetBefore("first")
	stays := b.dial(b.consumers, bob+"orders?follow&group=others\n")
	stays.mustSay("first")
	worker := b.dial(b.consumers, alice+"orders?follow&ack&group=workers&format=json\n")
	if got := worker.line(); !strings.Contains(got, `"attempt":1`) {
		t.Fatal(got)
	}
	producer := b.dial(b.producers, alice+"orders\nsecond\n")
	producer.mustSay("+1")
	stays.mustSay("second")
	ended := map[string]*client{
		"a worker":        worker,
		"a producer":      producer,
		"a replay":        b.dial(b.consumers, alice+"orders?follow&from=end\n"),
		"a follower":      b.dial(b.consumers, alice+"empty?follow&group=new\n"),
		"before requests": b.dial(b.consumers, alice),
	}
	await(t, "all are logged in", func() bool {
		n := 0
		for _, c := range b.server.Connections() {
			if c.User == "alice" {
				n++
			}
		}
		return n == len(ended)
	})
	b.server.EndInvalid() // nothing has changed
	b.edit("alice", func(u *auth.User) { u.Revoke(topicMay(auth.Admin, "*")) })
	b.server.EndInvalid()
	for _, topic := range []string{"orders", "empty"} {
		publish(topic, "behind")
	}
	stays.mustSay("behind")
	for what, c := range ended {
		t.Log("the end of", what)
		c.mustBeResetBefore("behind")
	}
	awaitMembers(b, "workers", 0)
	again := b.dial(b.consumers, bob+"orders?follow&ack&group=workers&format=json\n")
	if got := again.line(); !strings.Contains(got, `"attempt":1`) || !strings.Contains(got, "first") {
		t.Errorf("what a revoked worker held comes as %s", got)
	}
	producer = b.dial(b.producers, bob+"orders\nthird\n")
	producer.mustSay("+1")
	stays.mustSay("third")
	idle.send(bob + "orders?from=-1\n")
	idle.mustEnd("third\n")
}

// mustBeResetBefore fails the test unless the connection is reset, and at once if something comes that was published
// when it was to have ended.
func (c *client) mustBeResetBefore(behind string) {
	c.t.Helper()
	line, err := "", error(nil)
	for err == nil && !strings.Contains(line, behind) {
		line, err = c.r.ReadString('\n')
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("the connection ended with %v, not a reset, behind %q", err, line)
	}
}

// A line of AUTH is a user and a password, or a token, or an error that has nothing of it.
func FuzzLogin(f *testing.F) {
	for _, seed := range []string{"AUTH alice secret", "AUTH alice a b  c ", "AUTH " + auth.NewToken(), "AUTH ", "auth x y", "AUTH  x", "AUTH alice \xff\r", "AUTH\tx y"} {
		f.Add([]byte(seed))
	}
	b := auth.New(func(string, []byte) error { return nil })
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) >= broker.RequestLine || bytes.IndexByte(p, '\n') >= 0 {
			return
		}
		user, secret, err := line.ParseLogin(p)
		if err != nil {
			if rest := bytes.TrimPrefix(p, []byte("AUTH ")); len(rest) > 8 && strings.Contains(err.Error(), string(rest)) {
				t.Fatalf("%q: the error is %q", p, err)
			}
			return
		}
		again := "AUTH " + user + " " + secret
		if user == "" {
			again = "AUTH " + secret
		}
		if again != strings.TrimSuffix(string(p), "\r") {
			t.Fatalf("%q is user %q with %q", p, user, secret)
		}
		if user == "" {
			if _, err := b.Token(secret, netip.AddrPort{}); err == nil {
				t.Fatalf("%q is a token", p)
			}
		}
	})
}

// The name in a client's certificate is its user, unless it logs in as another one.
func TestCertificateIsALogin(t *testing.T) {
	b := start(t, setup{overTLS: true})
	b.publish("orders", "first")
	authority := brokertest.NewAuthority(t)
	config, clients := brokertest.TLS(t)
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, authority.Pool()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	overTLS, err := tcpserver.WithTLS(l, config)
	if err != nil {
		t.Fatal(err)
	}
	b.serving.Go(func() { b.server.ServeConsumers(overTLS) })
	as := func(name, text string) *client {
		b.clientTLS = clients.Clone()
		if name != "" {
			b.clientTLS.Certificates = []tls.Certificate{authority.Issue(x509.Certificate{Subject: pkix.Name{CommonName: name}})}
		}
		return b.dial(l.Addr().String(), text)
	}
	as("alice", "orders?from=0\n").mustEnd("first\n") // there are no users
	b.addUser("alice", everything()...)
	bob := b.addUser("bob")
	follower := as("alice", "orders?follow&from=0\n")
	follower.mustSay("first")
	as("alice", "orders?from=0\n").mustEnd("first\n")
	as("alice", bob+"orders?from=0\n").mustRefuse("DENIED", `user "bob" may not read topic "orders"`)
	as("eve", "orders?from=0\n").mustRefuse("DENIED", `no user has the name in the certificate, "eve"`)
	as("", "orders?from=0\n").mustRefuse("DENIED", "log in first")
	users, err := b.broker.UserEditor()
	if err != nil {
		t.Fatal(err)
	}
	if err := users.Delete("alice"); err != nil {
		t.Fatal(err)
	}
	b.server.EndInvalid()
	follower.mustBeReset()
	as("alice", "orders?from=0\n").mustRefuse("DENIED", "alice")
}
