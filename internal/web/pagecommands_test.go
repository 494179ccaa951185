package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

// serveTLS serves the rig's broker over TLS, too, with a certificate for bus.example. The client takes any certificate.
func (r *rig) serveTLS() (client *http.Client, port string) {
	r.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	pair := brokertest.NewAuthority(r).Issue(x509.Certificate{DNSNames: []string{"bus.example"}})
	s := NewServer(r.broker, Options{})
	ended := make(chan struct{})
	overTLS, err := tcpserver.WithTLS(l, &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		r.Fatal(err)
	}
	go func() {
		s.Serve(overTLS)
		close(ended)
	}()
	r.Cleanup(func() {
		s.Stop(r.Context())
		<-ended
	})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
	client = &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return client, port
}

// A client may name the broker as its certificate does, and in no other way: a page's name may lead anywhere.
func TestHostOfTheCertificateIsOwn(t *testing.T) {
	r := newRig(t, Options{})
	client, port := r.serveTLS()
	for _, c := range []struct {
		address, host string
		status        int
	}{
		{"https://bus.example", "", 200},
		{"https://bus.example", "BUS.example.:" + port, 200},
		{"https://127.0.0.1", "", 200},
		{"https://attacker.example", "", 421},
		{"https://attacker.example", "bus.example", 421},
		{"https://bus.example", "attacker.example", 421},
		{"http://bus.example", "", 421},
	} {
		for _, method := range []string{"GET", "POST"} { // a plain POST has a way of its own
			path := map[string]string{"GET": "/topics", "POST": "/topics/orders"}[method]
			req, err := http.NewRequest(method, c.address+":"+port+path, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			answer, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Body.Close(); answer.StatusCode != c.status {
				t.Errorf("%s %s, host %q: %s", method, c.address, c.host, answer.Status)
			}
		}
	}
}

// Commands to copy get in as the browser did: over TLS, and as its user, without a password.
func TestCommandsLogIn(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "m")
	r.publish("orders.dlq", "m")
	r.position("orders", "billing")
	alice := r.addUser("alice", "secret", "all topic *", "consume,admin group *")
	client, port := r.serveTLS()
	n := 0
	for _, address := range []string{r.url, "https://bus.example:" + port} {
		isTLS := strings.HasPrefix(address, "https")
		for _, path := range []string{"/", "/ui/topics/orders", "/ui/groups", "/ui/groups/billing", "/ui/dead", "/ui/dead/orders.dlq", "/ui/health", "/ui/users", "/ui/users/alice"} {
			req, err := http.NewRequest("GET", address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+alice.secret)
			answer, err := client.Do(req)
			if !isTLS {
				answer, err = http.DefaultClient.Do(req)
			}
			if err != nil {
				t.Fatal(err)
			}
			page, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != 200 {
				t.Fatalf("%s: %s, %v", path, answer.Status, err)
			}
			all := commands(string(page))
			for _, command := range all {
				n++
				checkCommand(t, path, command, isTLS)
			}
		}
	}
	if n < 60 {
		t.Errorf("%d commands", n)
	}
	if got, want := (ports{Host: "bus.example", User: "al ice", IsTLS: true}).Lines("9990", "orders", "first"),
		`printf 'AUTH %s %s\norders\nfirst\n' 'al ice' "$MBUS_PASSWORD" | openssl s_client -quiet -connect bus.example:9990`; got != want {
		t.Errorf("lines are sent with %s", got)
	}
}

// checkCommand checks that a command logs in as alice.
func checkCommand(t *testing.T, path, command string, isTLS bool) {
	t.Helper()
	var words []string
	switch program, _, _ := strings.Cut(command, " "); {
	case program == "curl":
		words = []string{"curl -u alice ", map[bool]string{true: "https://bus.example:", false: "http://127.0.0.1:"}[isTLS]}
	case program == "admin" || program == "consumer":
		words = append(words, " -user alice")
		if isTLS {
			words = append(words, " -tls ", " -host bus.example ")
		}
	case strings.Contains(command, "kcat"):
		words = append(words, "kcat -F kcat.conf ")
	default:
		words = append(words, `printf 'AUTH %s %s\n`, ` alice "$MBUS_PASSWORD" | `, map[bool]string{true: "openssl s_client -quiet -connect bus.example:", false: "nc "}[isTLS])
	}
	for _, word := range words {
		if !strings.Contains(command, word) {
			t.Errorf("%s: %q does not have %q", path, command, word)
		}
	}
}
