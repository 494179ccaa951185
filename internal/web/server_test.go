package web

import (
	"encoding/json"
	"net/http"
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
