package programs

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// brokerOn are the arguments of a broker on free ports, of which that for HTTP is on an address.
func brokerOn(address, data string, more ...string) []string {
	return append([]string{"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-hhost", address, "-data", data}, more...)
}

// mustRefuse has a broker end with 1, and say these words.
func mustRefuse(t *testing.T, words, args []string) {
	t.Helper()
	p, err := brokertest.Launch("", brokertest.Program(t, "broker"), args...)
	if err == nil {
		p.Kill()
		t.Errorf("%q: it starts", args)
		return
	}
	for _, word := range append(words, "exit status 1") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %q does not have %q", args, err, word)
		}
	}
}

// A broker that other machines reach starts with TLS and users only.
func TestBrokerRefusesToBeOpen(t *testing.T) {
	if !brokertest.OwnNetwork(t) {
		return
	}
	data := filepath.Join(t.TempDir(), "data")
	mustRefuse(t, []string{
		"without TLS and without users", "-hhost 0.0.0.0", "admin cert -self-signed -hosts ", "admin user add NAME -data " + data, "-tls-cert cert.pem -tls-key key.pem", "-insecure",
	}, brokerOn("0.0.0.0", data))
	if _, err := os.Stat(data); err == nil {
		t.Error("a broker that was refused has made its directory")
	}
	_, flags := certificate(t)
	mustRefuse(t, []string{
		"without users", "-hhost " + brokertest.Foreign, "-hhost 127.0.0.1\n", "admin user add NAME -data " + data + " -hport 0\n",
		"admin grant NAME all '*' -group '*' -data " + data + " -hport 0\n", "-insecure",
	}, brokerOn(brokertest.Foreign, data, flags...))
}

// -insecure starts it anyway, and the log warns.
func TestInsecureBrokerStartsAndWarns(t *testing.T) {
	if !brokertest.OwnNetwork(t) {
		return
	}
	p, err := brokertest.Launch("", brokertest.Program(t, "broker"), brokerOn("0.0.0.0", t.TempDir(), "-insecure")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	await(t, "it warns", func() bool {
		return strings.Contains(p.Output(), `level=WARN msg="others reach this broker unprotected`) && strings.Contains(p.Output(), `lacks="TLS and users"`)
	})
	p.Kill()
	if p, err = brokertest.Launch("", brokertest.Program(t, "broker"), brokerOn("127.0.0.2", t.TempDir(), "-insecure")...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.Terminate(); err != nil || p.Wait() != nil || strings.Contains(p.Output(), "unprotected") {
		t.Errorf("on loopback: %v, %s", err, p.Output())
	}
}

// The token is readable by the broker's user only, new with each start, and gone after the end.
func TestOperatorTokenIsForItsUserAndItsRunOnly(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	name := filepath.Join(b.Data, "operator-token")
	first, err := os.ReadFile(name)
	if err != nil || !strings.HasPrefix(string(first), "mbus_") {
		t.Fatalf("%q, %v", first, err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("its mode is %v: %v", info.Mode(), err)
	}
	b.Restart()
	second, err := os.ReadFile(name)
	if err != nil || bytes.Equal(first, second) {
		t.Errorf("after kill -9: the same token, or %v", err)
	}
	verify := func(when string) {
		t.Helper()
		if r := run(t, nil, brokertest.Program(t, "broker"), "-verify", b.Data); r.code != 0 || r.stderr != "" {
			t.Errorf("%s: -verify: %d, %q, %q", when, r.code, r.stdout, r.stderr)
		}
	}
	b.Kill()
	verify("killed")
	b.Begin()
	if err := b.Ready(); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	if _, err := os.Stat(name); err == nil {
		t.Error("after a clean end the file is there")
	}
	verify("stopped")
}

func TestFlagsOfTLSThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		words []string
		flags []string
	}{
		{[]string{"-tls-cert needs -tls-key"}, []string{"-tls-cert", "cert.pem"}},
		{[]string{"-tls-key needs -tls-cert"}, []string{"-tls-key", "key.pem"}},
		{[]string{"-tls-client-ca needs -tls-cert"}, []string{"-tls-client-ca", "ca.pem"}},
	} {
		r := run(t, nil, brokertest.Program(t, "broker"), brokerOn("127.0.0.1", t.TempDir(), c.flags...)...)
		if r.code != 2 || !strings.Contains(r.stderr, c.words[0]) {
			t.Errorf("%q: %d, %q", c.flags, r.code, r.stderr)
		}
	}
	mustRefuse(t, []string{"missing.pem"}, brokerOn("127.0.0.1", t.TempDir(), "-tls-cert", "missing.pem", "-tls-key", "missing.pem"))
}

// certificate has admin make a development authority and a certificate.
func certificate(t *testing.T) (dir string, flags []string) {
	t.Helper()
	dir = t.TempDir()
	run(t, nil, brokertest.Program(t, "admin"), "cert", "-self-signed", "-hosts", "bus.example,192.0.2.1", "-out", dir).mustWork(t)
	return dir, []string{"-tls-cert", dir + "/cert.pem", "-tls-key", dir + "/key.pem"}
}

// All ports speak TLS beside plain on loopback, and a new certificate is used from SIGHUP on.
func TestAllPortsSpeakTLS(t *testing.T) {
	dir, flags := certificate(t)
	b := brokertest.Start(t, t.TempDir(), flags...)
	ports := map[string]string{"producers": b.Producers(), "consumers": b.Consumers(), "Kafka": b.Kafka(), "HTTP": b.HTTP()}
	for protocol, address := range ports {
		if serial(t, address, dir+"/ca.pem") == "" {
			t.Errorf("the port for %s speaks no TLS", protocol)
		}
	}
	b.Publish("orders", "plain") // beside TLS
	before := serial(t, b.Producers(), dir+"/ca.pem")
	next, _ := certificate(t)
	for _, name := range []string{"cert.pem", "key.pem", "ca.pem"} {
		if err := os.Rename(filepath.Join(next, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(b.Pid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, "the new certificate is used", func() bool {
		now := serial(t, b.Producers(), dir+"/ca.pem")
		return now != "" && now != before
	})
}

// serial is the number of the certificate that a port shows; "" if an authority has not signed it, or without TLS.
func serial(t *testing.T, address, authority string) string {
	t.Helper()
	text, err := os.ReadFile(authority)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		t.Logf("%s: %v", address, err)
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// inShell runs a command of a shell in a directory.
func inShell(t *testing.T, dir, command string) result {
	t.Helper()
	return run(t, nil, "/bin/sh", "-c", "cd "+dir+" && export MBUS_PASSWORD=secret && "+command)
}

// proposed are the commands that a refusal names.
func proposed(t *testing.T, r result, n int) (commands []string) {
	t.Helper()
	for line := range strings.Lines(r.stderr) {
		if command, is := strings.CutPrefix(line, "  "); is {
			commands = append(commands, strings.TrimSpace(command))
		} else if len(line) > 81 && !strings.HasPrefix(line, "time=") {
			t.Errorf("more than 80 columns: %q", line)
		}
	}
	if r.code != 1 || len(commands) != n {
		t.Fatalf("%d, %q", r.code, r.stderr)
	}
	return commands
}

// begin starts a broker by a command of a shell.
func begin(t *testing.T, dir, command string) *brokertest.Process {
	t.Helper()
	p, err := brokertest.Launch(dir, "/bin/sh", "-c", "exec "+command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// What a broker says when it refuses to be open can be typed, and leads to one that is not. Its users then end with
// their connections, but for the last one.
func TestWhatTheBrokerSaysMakesItSecure(t *testing.T) {
	if !brokertest.OwnNetwork(t) {
		return
	}
	dir := t.TempDir()
	open := brokertest.Program(t, "broker") + " -phost 0.0.0.0 -chost 0.0.0.0 -khost :: -hhost 0.0.0.0"
	all := proposed(t, inShell(t, dir, open), 5)
	inShell(t, dir, all[0]).mustWork(t)
	withUser := proposed(t, inShell(t, dir, all[4]), 4) // with a certificate, users are still missing
	if withUser[1] != all[2] || withUser[2] != all[3] || withUser[3] != all[4] {
		t.Errorf("%q, then %q", all, withUser)
	}
	begin(t, dir, withUser[0]).Kill()
	p := begin(t, dir, all[1])
	inShell(t, dir, all[2]).mustWork(t)
	inShell(t, dir, all[3]).mustWork(t)
	if err := p.Terminate(); err != nil || p.Wait() != nil {
		t.Fatal(err)
	}
	if withTLS := proposed(t, inShell(t, dir, open), 2); withTLS[0] != all[0] || withTLS[1] != all[4] { // with users
		t.Errorf("%q, then %q", all, withTLS)
	}
	p = begin(t, dir, all[4])
	if strings.Contains(p.Output(), "unprotected") {
		t.Error(p.Output())
	}
	program := func(name string) string { return brokertest.Program(t, name) }
	inShell(t, dir, program("producer")+" -host localhost -tls -tls-ca ca.pem -user NAME -topic orders -message hello").mustWork(t)
	if r := inShell(t, dir, "unset MBUS_PASSWORD; "+program("producer")+" -host "+brokertest.Foreign+" -topic orders -message hello"); r.code != 1 || !strings.Contains(r.stderr, "this port speaks TLS") {
		t.Errorf("plain from another address: %d, %q", r.code, r.stderr)
	}
	admin := program("admin") + " "
	if r := inShell(t, dir, admin+"user delete NAME -execute"); r.code != 1 || !strings.Contains(r.stderr, "the last user can't be deleted") {
		t.Errorf("the last user: %d, %q", r.code, r.stderr)
	}
	inShell(t, dir, admin+"user add bob && "+admin+"grant bob consume orders").mustWork(t)
	follower := brokertest.Dial(t, p.Consumers(), "AUTH bob secret\norders?follow\n")
	line, err := bufio.NewReader(follower).ReadString('\n')
	if err != nil || line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	inShell(t, dir, admin+"user delete bob -execute").mustWork(t)
	if err := follower.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // a second suffices on a machine that rests
		t.Fatal(err)
	}
	if _, err := follower.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection of a user who was deleted: %v", err)
	}
	inShell(t, dir, admin+"topics").mustWork(t)
}
