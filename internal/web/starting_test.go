package web

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

func TestHealthDuringRecovery(t *testing.T) {
	r := newRig(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := ServeStarting(l, broker.DefaultLimits(), "1.2.3")
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

// Health checks during recovery may come over TLS or not, as requests afterwards.
func TestHealthDuringRecoveryOverTLS(t *testing.T) {
	r := newRig(t, Options{})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config, trusting := brokertest.TLS(t)
	l, err := tcpserver.WithTLS(tcp, config)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting, DisableKeepAlives: true}}
	livez := func() {
		t.Helper()
		for _, scheme := range []string{"https", "http"} {
			answer, err := client.Get(scheme + "://" + tcp.Addr().String() + "/livez")
			if err != nil {
				t.Fatal(err)
			}
			if answer.Body.Close(); answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", scheme, answer.Status)
			}
		}
	}
	stop := ServeStarting(l, broker.DefaultLimits(), "1.2.3")
	livez()
	silent, err := net.Dial("tcp", tcp.Addr().String()) // it is not waited for
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	livez()
	stop()
	other := NewServer(r.broker, Options{})
	ended := make(chan struct{})
	go func() {
		other.Serve(l)
		close(ended)
	}()
	livez()
	other.Stop(t.Context())
	<-ended
}
