package web

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

func TestHealthDuringRecovery(t *testing.T) {
	r := newRig(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := ServeStarting(l, nil, broker.DefaultLimits(), "1.2.3")
	served := r.url
	r.url = "http://" + l.Addr().String()
	r.must(http.StatusOK, "GET", "/livez", "")
	for _, path := range []string{"/readyz", "/version", "/topics/orders/messages"} {
		if got := r.must(http.StatusServiceUnavailable, "GET", path, ""); !strings.Contains(got, recovering) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if h := r.report(http.StatusServiceUnavailable); h.Status != statusFailed || len(h.Checks) != 1 || h.Checks[0].Name != broker.CheckRecovery || h.Version != "1.2.3" {
		t.Errorf("got %+v", h)
	}
	silent, err := net.Dial("tcp", l.Addr().String()) // it is not waited for
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r.must(http.StatusOK, "GET", "/livez", "")
	stop()

	other := NewServer(r.broker, Options{Version: "1.2.3"})
	ended := make(chan struct{})
	go func() {
		other.Serve(l)
		close(ended)
	}()
	r.must(http.StatusOK, "GET", "/readyz", "")
	var v version
	if err := json.Unmarshal([]byte(r.must(http.StatusOK, "GET", "/version", "")), &v); err != nil || v.Version != "1.2.3" {
		t.Errorf("got %+v, %v", v, err)
	}
	r.url = served
	other.Stop(t.Context())
	<-ended
}

// During recovery, health checks are answered over TLS, too.
func TestHealthDuringRecoveryOverTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server, trusting := brokertest.TLS(t)
	defer ServeStarting(l, server, broker.DefaultLimits(), "1.2.3")()
	over := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting}}
	for url, c := range map[string]*http.Client{"https://": over, "http://": http.DefaultClient} {
		answer, err := c.Get(url + l.Addr().String() + "/livez")
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, answer.Status)
		}
	}
}
