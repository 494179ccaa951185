package client

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbus/internal/flags"
	"mbus/test/brokertest"
)

// listenTLS is a broker's port over TLS. each gets the connections, one after the other.
func listenTLS(t *testing.T, config *tls.Config, each func(conn net.Conn, r *bufio.Reader)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-served })
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(time.Minute))
			if config != nil {
				conn = tls.Server(conn, config)
			}
			each(conn, bufio.NewReader(conn))
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// Each reason why there is no connection over TLS has words of its own.
func TestErrorsOfTLSTellApart(t *testing.T) {
	authority, other := brokertest.NewAuthority(t), brokertest.NewAuthority(t)
	with := func(template x509.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{authority.Issue(template)}}
	}
	good := with(x509.Certificate{})
	asks := good.Clone()
	asks.ClientAuth, asks.ClientCAs = tls.RequireAndVerifyClientCert, other.Pool()
	for name, tt := range map[string]struct {
		server *tls.Config
		roots  *x509.CertPool
		want   string
	}{
		"plain":     {nil, authority.Pool(), "can't reach the broker: this port does not speak TLS"},
		"authority": {good, other.Pool(), "can't reach the broker: an unknown authority has signed the broker's certificate: -tls-ca"},
		"name":      {with(x509.Certificate{DNSNames: []string{"bus.example"}}), authority.Pool(), `can't reach the broker: the broker's certificate has another name than "127.0.0.1"`},
		"expired": {
			with(x509.Certificate{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}),
			authority.Pool(), "can't reach the broker: the broker's certificate has expired, or is not valid yet",
		},
		"no certificate of the client": {asks, authority.Pool(), "connection lost: the broker has ended TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := listenTLS(t, tt.server, func(conn net.Conn, r *bufio.Reader) {
				r.ReadString('\n')
				if tt.server == nil {
					io.WriteString(conn, "-BADREQUEST this is mbus's line protocol, without TLS\n")
				}
			})
			_, err := Ask(Broker{Addr: addr, TLS: &tls.Config{RootCAs: tt.roots}}, "?topics\n", time.Minute)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%v, not %q", err, tt.want)
			}
		})
	}
}

// A read over TLS costs no memory of its own.
func TestAReadOverTLSAllocatesNothing(t *testing.T) {
	c := &conn{Conn: endless{}, feed: new(feed)}
	p := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Read(p) }); n > 0 {
		t.Errorf("it allocates %v times", n)
	}
}

type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A producer logs in on each of its connections, and takes an end without TLS's close for a loss.
func TestReconnectsLogInAgain(t *testing.T) {
	server, config := brokertest.TLS(t)
	logins := make(chan string, 10)
	addr := listenTLS(t, server, func(conn net.Conn, r *bufio.Reader) {
		login, _ := r.ReadString('\n')
		request, _ := r.ReadString('\n')
		logins <- login
		if len(logins) == 1 {
			conn.(*tls.Conn).NetConn().Close()
			return
		}
		io.WriteString(conn, "+1\n")
		if !strings.HasPrefix(request, "orders?") {
			t.Errorf("request %q", request)
		}
		io.Copy(io.Discard, r)
	})
	c, err := DialProducer(Broker{Addr: addr, TLS: config, User: "alice", Password: "a  b "}, ProduceRequest{Topic: "orders", Retry: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SendMessage([]byte("m")); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := <-logins; got != "AUTH alice a  b \n" {
			t.Errorf("log-in %q", got)
		}
	}
}

// What lies in the buffers of package tls has come, as what lies in the system's.
func TestQuietSeesWhatTLSHolds(t *testing.T) {
	server, config := brokertest.TLS(t)
	goOn := make(chan struct{})
	addr := listenTLS(t, server, func(conn net.Conn, r *bufio.Reader) {
		r.ReadString('\n')
		io.WriteString(conn, "@0\n"+batchOf(0, "a")) // two records, which one read may get
		io.WriteString(conn, batchOf(1, "b"))
		<-goOn
		io.WriteString(conn, ".\n")
	})
	quiet := 0
	var c *Consumer
	c, err := DialConsumer(Broker{Addr: addr, TLS: config}, ConsumeRequest{Topic: "orders", Idle: func() error {
		if c.Quiet() {
			quiet++
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
	}
	brokertest.Await(t, time.Minute, "nothing more comes", c.Quiet)
	close(goOn)
	if _, err := c.Next(); err != io.EOF {
		t.Fatal(err)
	}
	if err := c.Commit(); err != nil {
		t.Fatal(err)
	}
}

// An abandoned consumer's connection is reset and says no close, as when its program dies; one that has committed says it.
func TestAConsumerOverTLSIsResetUntilItCommits(t *testing.T) {
	server, config := brokertest.TLS(t)
	ends := make(chan error, 1)
	addr := listenTLS(t, server, func(conn net.Conn, r *bufio.Reader) {
		r.ReadString('\n')
		io.WriteString(conn, "@0\n"+batchOf(0, "a")+".\n")
		err := conn.(*tls.Conn).CloseWrite() // which may meet the reset
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		ends <- err
	})
	for _, commits := range []bool{false, true} {
		c, err := DialConsumer(Broker{Addr: addr, TLS: config}, ConsumeRequest{Topic: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = c.Next()
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		if commits {
			err = c.Commit()
		} else {
			c.Close()
		}
		if end := <-ends; commits != (end == nil) || commits && err != nil {
			t.Errorf("commits %v: %v, and the broker sees the end %v", commits, err, end)
		}
	}
}

// The flags read files and the environment, and refuse what can't be meant.
func TestFlagsSayHowToGetIn(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	authority := brokertest.NewAuthority(t)
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority.WriteAuthority(ca)
	authority.WritePair(authority.Issue(x509.Certificate{}), cert, key)
	secret, lines := write("secret", "of a  file \r\n"), write("lines", "a\nb\n")
	env := func(pairs ...string) map[string]string {
		m := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		args  string
		env   map[string]string
		login string
		tls   bool
		err   string
	}{
		{"", nil, "", false, ""},
		{"-tls", nil, "", true, ""},
		{"", env("MBUS_TLS", "true", "MBUS_USER", "alice", "MBUS_PASSWORD", "a b"), "AUTH alice a b\n", true, ""},
		{"-tls-ca=" + ca + " -tls-cert=" + cert + " -tls-key=" + key, nil, "", true, ""},
		{"", env("MBUS_TLS_CERT", "broker.pem", "MBUS_TLS_KEY", "broker.key"), "", false, ""},
		{"-tls -user=alice -tls-cert=" + cert + " -tls-key=" + key, nil, "", true, ""},
		{"-user=alice -password-file=" + secret, env("MBUS_PASSWORD", "x"), "AUTH alice of a  file \n", false, ""},
		{"", env("MBUS_TOKEN", "t", "MBUS_PASSWORD", "x"), "AUTH t\n", false, ""},
		{"", env("MBUS_PROGRAM_TOKEN", "own", "MBUS_TOKEN", "t"), "AUTH own\n", false, ""},
		{"-user=alice", env("MBUS_TOKEN", "t"), "", false, "-user needs a password"},
		{"-password-file=" + lines, nil, "", false, "control characters"},
		{"-password-file=" + filepath.Join(dir, "none"), nil, "", false, "-password-file: "},
		{"-password-file=" + write("empty", "\n"), nil, "", false, "is empty"},
		{"-password-file=" + write("long", strings.Repeat("x", 3000)), nil, "", false, "more than 2048 bytes"},
		{"-user=alice", env("MBUS_PASSWORD", "x\norders"), "", false, "control characters"},
		{"-tls-ca=" + secret, nil, "", false, "no certificate in PEM"},
		{"-tls -tls-key=" + key, nil, "", false, "-tls-key goes with -tls-cert"},
		{"-tls -tls-cert=" + ca, nil, "", false, "-tls-cert: "},
	} {
		s := flags.New("program", "")
		s.LookupEnv = func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok }
		var f Flags
		f.Define(s)
		if code, ok := s.Parse(strings.Fields(tt.args)); !ok {
			t.Fatalf("%q: exit %d", tt.args, code)
		}
		b, err := f.Broker(s, "127.0.0.1:1")
		if got := fmt.Sprint(err); tt.err == "" && err != nil || !strings.Contains(got, tt.err) {
			t.Errorf("%q, %v: %v, not %q", tt.args, tt.env, err, tt.err)
		}
		if err == nil && (b.login(nil) != tt.login || (b.TLS != nil) != tt.tls) {
			t.Errorf("%q, %v: log-in %q, TLS %v", tt.args, tt.env, b.login(nil), b.TLS != nil)
		}
	}
}

func TestNoUserNameHasSpaces(t *testing.T) {
	for _, name := range []string{"a b", "a\u00a0b", "a\nb"} {
		if checkSecret(name, "x") == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

// A secret is sent neither to another machine without TLS nor, with it, to one that is not the broker.
func TestSecretsAreNotSentWhereOthersRead(t *testing.T) {
	local, remote := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	if !isLoopback(local) || !isLoopback(&net.TCPAddr{IP: net.IPv6loopback, Port: 1}) || isLoopback(remote) {
		t.Error("which addresses are loopback is wrong")
	}
	config := &tls.Config{Certificates: []tls.Certificate{brokertest.NewAuthority(t).Issue(x509.Certificate{})}}
	got := make(chan []byte, 1)
	addr := listenTLS(t, config, func(_ net.Conn, r *bufio.Reader) {
		all, _ := io.ReadAll(r)
		got <- all
	})
	_, err := Ask(Broker{Addr: addr, TLS: new(tls.Config), User: "alice", Password: "secret"}, "?topics\n", time.Minute)
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("an impostor: %v", err)
	}
	if p := <-got; len(p) > 0 {
		t.Errorf("an impostor gets %q", p)
	}
}
