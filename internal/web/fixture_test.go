package web

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// A rig is a broker with a server for HTTP, on real files and a real port.
type rig struct {
	testing.TB
	broker *broker.Broker
	server *Server
	url    string
	host   string
	dir    string
	opts   Options
	wrap   func(store.Store) store.Store // puts something between the broker and its store; nil for nothing
	limits broker.Limits
	config broker.Options // beside limits and log
	secret string         // the token that each request is sent with; "" for none
	stop   func()
}

func newRig(t testing.TB, opts Options) *rig {
	t.Helper()
	return newRigOver(t, opts, nil)
}

func newRigOver(t testing.TB, opts Options, wrap func(store.Store) store.Store) *rig {
	t.Helper()
	r := &rig{TB: t, dir: t.TempDir(), opts: opts, wrap: wrap, limits: broker.DefaultLimits()}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// start opens the data directory and serves.
func (r *rig) start() {
	r.Helper()
	log, err := commitlog.Open(r.dir, commitlog.Options{JournalBytes: 1 << 20})
	if err != nil {
		r.Fatal(err)
	}
	var over store.Store = log
	if r.wrap != nil {
		over = r.wrap(log)
	}
	if r.broker, err = broker.New(over, r.options()); err != nil {
		r.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	r.server = NewServer(r.broker, r.opts)
	served := make(chan struct{})
	go func() {
		r.server.Serve(l)
		close(served)
	}()
	r.host = l.Addr().String()
	r.url = "http://" + r.host
	r.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r.server.Stop(ctx)
		<-served
		if err := r.broker.Close(); err != nil {
			r.Error(err)
		}
		r.stop = func() {}
	}
}

func (r *rig) options() broker.Options {
	o := r.config
	if o.Limits = r.limits; o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// reopen starts again with other options.
func (r *rig) reopen(change func(*broker.Options)) {
	r.Helper()
	change(&r.config)
	r.restart()
}

// restart stops in good order and starts again, on another port.
func (r *rig) restart() {
	r.Helper()
	r.stop()
	r.start()
}

// limit starts again with other limits.
func (r *rig) limit(change func(*broker.Limits)) {
	r.Helper()
	change(&r.limits)
	r.restart()
}

// do sends a request and returns its status and body. Headers are pairs of name and value.
func (r *rig) do(method, path, body string, headers ...string) (status int, answer string, h http.Header) {
	r.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	if r.secret != "" {
		req.Header.Set("Authorization", "Bearer "+r.secret)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, string(p), resp.Header
}

// must is do, and fails the test with another status.
func (r *rig) must(status int, method, path, body string, headers ...string) string {
	r.Helper()
	got, answer, _ := r.do(method, path, body, headers...)
	if got != status {
		r.Fatalf("%s %s: status %d, not %d: %s", method, path, got, status, answer)
	}
	return answer
}
