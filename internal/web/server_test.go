package web

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"testing"
)

func TestVersion(t *testing.T) {
	r := newRig(t, Options{Version: "1.2.3"})
	if got := r.must(http.StatusOK, "GET", "/version", ""); got != `{"version":"1.2.3"}`+"\n" {
		t.Errorf("got %q", got)
	}
	if status, _, h := r.do("HEAD", "/version", ""); status != http.StatusOK || h.Get("Content-Length") != "20" {
		t.Errorf("HEAD: %d, %v", status, h)
	}
}

func TestErrorsAreProblemDocuments(t *testing.T) {
	r := newRig(t, Options{})
	for _, c := range []struct {
		method, path, host string
		status             int
		code               string
	}{
		{"GET", "/nothing/here", "", http.StatusNotFound, "NOTFOUND"},
		{"DELETE", "/version", "", http.StatusMethodNotAllowed, "BADREQUEST"},
		{"GET", "/version?x=1", "", http.StatusBadRequest, "BADREQUEST"},
		{"GET", "/version", "attacker.example", http.StatusMisdirectedRequest, "DENIED"},
		{"GET", "/version", "192.0.2.1", http.StatusMisdirectedRequest, "DENIED"},
	} {
		headers := []string{}
		if c.host != "" {
			headers = append(headers, "Host", c.host)
		}
		status, answer, h := r.do(c.method, c.path, "", headers...)
		var p problem
		if err := json.Unmarshal([]byte(answer), &p); err != nil {
			t.Errorf("%+v: %v in %q", c, err, answer)
			continue
		}
		if status != c.status || p.Status != c.status || p.Code != c.code || p.Type == "" || p.Title == "" || p.Detail == "" {
			t.Errorf("%+v: status %d, %+v", c, status, p)
		}
		if got := h.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%+v: Content-Type %q", c, got)
		}
		if status == http.StatusMethodNotAllowed && h.Get("Allow") != "GET" {
			t.Errorf("%+v: Allow is %q", c, h.Get("Allow"))
		}
	}
}

func TestHostsOfThisBroker(t *testing.T) {
	r := newRig(t, Options{Hosts: []string{"bus.example"}})
	for _, host := range []string{"localhost", "localhost:1", "127.0.0.1", "127.0.0.1:9", "[::1]:1", "BUS.example", "bus.example.:80"} {
		r.must(http.StatusOK, "GET", "/version", "", "Host", host)
	}
}

// A connection that has ended leaves no goroutine, whatever it did. That those of the server have had their turn
// is known by the requests of another one that were answered since.
func TestNoGoroutineIsLeftOfAConnection(t *testing.T) {
	const each, turns = 5, 1000
	r := newRig(t, Options{})
	r.publish("orders", "first")
	begin := " HTTP/1.1\r\nHost: " + r.host + "\r\n"
	plain := "POST /topics/orders" + begin + "Content-Length: 1\r\n\r\nm"
	stays := r.raw("")
	in := bufio.NewReader(stays)
	turn := func() {
		t.Helper()
		if _, err := io.WriteString(stays, plain); err != nil {
			t.Fatal(err)
		}
		if status, answer := r.answer(in); status != http.StatusOK {
			t.Fatal(status, answer)
		}
	}
	turn()
	goroutines := runtime.NumGoroutine()
	for _, c := range []struct {
		request string
		answers bool
	}{
		{"", false},
		{"GET /mess", false},
		{"GET /version" + begin, false},
		{"GET /version" + begin + "\r\n", true},
		{plain, true},
		{plain + "GET /version" + begin + "\r\n", true},
		{"GET /topics/orders/messages?from=0&follow" + begin + "\r\n", true},
		{"GET /topics/orders/messages?group=g&follow&format=sse" + begin + "\r\n", true},
		{"POST /topics/orders/groups/leases/lease?max=1&wait=5m" + begin + "Content-Length: 0\r\n\r\n", false},
	} {
		for i := range each {
			conn := r.raw(c.request)
			if c.answers {
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					t.Fatalf("%q: %v", c.request, err)
				}
			}
			if i%2 == 0 {
				conn.SetLinger(0)
			}
			conn.Close()
		}
	}
	for n := 0; runtime.NumGoroutine() > goroutines; n++ {
		if n == turns {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines are left after %d requests, and %d were there before:\n%s",
				runtime.NumGoroutine(), turns, goroutines, stacks[:runtime.Stack(stacks, true)])
		}
		turn()
	}
}
