package brokertest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// processAuthority is made once, with the broker's certificate and key as files. Certificates of users are made
// when they are asked for.
var processAuthority struct {
	sync.Mutex
	*Authority
	users map[string]tls.Certificate
}

// SecureFlags are those of a broker with TLS, which takes certificates of users.
func SecureFlags(t testing.TB) []string {
	t.Helper()
	if err := buildOnce(); err != nil { // makes the directory
		t.Fatal(err)
	}
	a := &processAuthority
	a.Lock()
	defer a.Unlock()
	file := func(name string) string { return filepath.Join(built, name+".pem") }
	if a.Authority == nil {
		a.Authority, a.users = NewAuthority(t), make(map[string]tls.Certificate)
		a.WritePair(a.Issue(x509.Certificate{Subject: pkix.Name{CommonName: "broker"}}), file("cert"), file("key"))
		a.WriteAuthority(file("ca"))
	}
	return []string{"-tls-cert", file("cert"), "-tls-key", file("key"), "-tls-client-ca", file("ca")}
}

// SecureClient is the configuration of clients of a broker with SecureFlags: with a user's certificate, unless
// that is "".
func SecureClient(t testing.TB, user string) *tls.Config {
	t.Helper()
	SecureFlags(t)
	a := &processAuthority
	a.Lock()
	defer a.Unlock()
	c := &tls.Config{RootCAs: a.Pool(), ServerName: "127.0.0.1"}
	if user == "" {
		return c
	}
	own, found := a.users[user]
	if !found {
		own = a.Issue(x509.Certificate{Subject: pkix.Name{CommonName: user}})
		a.users[user] = own
	}
	c.Certificates = []tls.Certificate{own}
	return c
}

// OperatorToken is that of this run of the broker.
func (b *Broker) OperatorToken() (string, error) {
	token, err := os.ReadFile(filepath.Join(b.Data, "operator-token"))
	return strings.TrimSpace(string(token)), err
}

// Operate sends a request of HTTP as the operator, and returns the answer's status and body. The body of the request is JSON
// of what it is, or none if it is nil. Any goroutine may call it.
func (b *Broker) Operate(method, path string, body any) (status int, answer string, err error) {
	token, err := b.OperatorToken()
	if err != nil {
		return 0, "", err
	}
	var p []byte
	if body != nil {
		if p, err = json.Marshal(body); err != nil {
			return 0, "", err
		}
	}
	req, err := http.NewRequest(method, "http://"+b.HTTP()+path, bytes.NewReader(p))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// Login is the line that comes before each request, with its LF; "" without a user.
func (p *Process) Login() string { return p.login }

// LogIn has Publish, Drain and Read log in as the user from now on.
func (b *Broker) LogIn(user, password string) {
	b.login = fmt.Sprintf("AUTH %s %s\n", user, password)
	b.Process.login = b.login
}
