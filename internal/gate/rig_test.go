package gate

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/tcpserver"
	"mbus/internal/web"
	"mbus/test/brokertest"
)

// bound is for what must happen.
const bound = time.Minute

// A setup is how a rig is made; the zero value has an owner in the same process, and clients over TCP.
type setup struct {
	far, overTLS bool
	patience     time.Duration // of the dispatcher; 0 for the usual one
}

// A rig is a node with a gate, and the owner of the topics: in the same process, or on another node. Of the node itself it
// answers /healthz.
type rig struct {
	testing.TB
	setup
	dir     string
	limits  broker.Limits
	lead    *tcpserver.Dispatcher
	gate    *Gate
	address string
	tls     *tls.Config // of clients; nil over TCP
	book    *brokertest.LogBook
	log     *slog.Logger
	owner   *owner
}

// An owner has the topics for a while.
type owner struct {
	store  *storefault.Movable
	broker *broker.Broker
	server *web.Server
	links  *tcpserver.Links
	port   net.Listener // of links; nil in the same process
}

func newRig(t testing.TB, s setup) *rig {
	t.Helper()
	r := &rig{TB: t, setup: s, dir: t.TempDir(), limits: broker.DefaultLimits(), book: new(brokertest.LogBook)}
	r.log = slog.New(slog.NewTextHandler(r.book, nil))
	r.lead = tcpserver.NewDispatcher(r.log, tcpserver.DispatcherOptions{Port: "http", Patience: s.patience})
	r.gate = New(Options{Limits: r.limits, Lead: r.lead.Lead, Refusal: web.Refusal, Log: r.log, Local: func(q *http.Request, _ tcpserver.Conn) http.Handler {
		if q.URL.Path != "/healthz" {
			return nil
		}
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the node is well\n") })
	}})
	door := tcpserver.NewDispatcher(r.log, tcpserver.DispatcherOptions{Port: "http", Limits: tcpserver.Limits{Connections: 1000, Handshake: bound}})
	door.Set(tcpserver.Target{Take: r.gate.Take})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	if s.overTLS {
		var server *tls.Config
		server, r.tls = brokertest.TLS(t)
		if l, err = tcpserver.WithTLS(l, server); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		door.Serve(l)
	}()
	t.Cleanup(func() {
		brokertest.Within(t, bound, "everything ends", func() {
			over, cancel := context.WithCancel(context.Background())
			cancel()
			door.Stop()
			r.lead.Stop()
			r.gate.Stop(over)
			<-served
			if r.owner != nil {
				r.lose()
			}
		})
		if panics := r.book.Lines("panic"); len(panics) > 0 {
			t.Errorf("%q", panics)
		}
	})
	r.own()
	return r
}

// own makes a new owner.
func (r *rig) own() {
	r.Helper()
	files, err := commitlog.Open(r.dir, commitlog.Options{JournalBytes: 1 << 20, Log: r.log})
	if err != nil {
		r.Fatal(err)
	}
	o := &owner{store: storefault.NewMovable(files)}
	if o.broker, err = broker.New(o.store, broker.Options{Limits: r.limits, Log: r.log}); err != nil {
		r.Fatal(err)
	}
	o.server = web.NewServer(o.broker, web.Options{})
	r.owner = o
	if !r.far {
		r.lead.Set(tcpserver.Target{Take: o.server.Take})
		return
	}
	if o.port, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		r.Fatal(err)
	}
	o.links = tcpserver.NewLinks(r.log, nil)
	go o.links.Serve(o.port, func(_ tcpserver.Hello, c tcpserver.Conn) bool { return o.server.Take(c) })
	r.lead.Set(tcpserver.Target{Owner: o.port.Addr().String()})
}

// lose has the owner lose the topics, of which it gets to know first.
func (r *rig) lose() {
	r.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	o := r.owner
	o.store.Move()
	_ = o.broker.Leave(over)
	if o.port != nil {
		o.port.Close()
		o.links.EndAll()
	}
	o.server.Stop(over)
	r.owner = nil
}

// messages are those of a topic.
func (r *rig) messages(topic string) (all []string) {
	r.Helper()
	log, err := r.owner.store.Partition(topic, 0)
	if err != nil {
		r.Fatal(err)
	}
	err = store.Walk(log, 0, func(err error) error { return err }, func(b batch.Batch) (bool, error) {
		return true, broker.Scan(func(it *batch.Iterator) error {
			if err := it.Reset(b); err != nil {
				return err
			}
			for it.Next() {
				all = append(all, string(it.Record().Value))
			}
			return it.Err()
		})
	})
	if err != nil {
		r.Fatal(err)
	}
	return all
}

// A peer is a connection of a client.
type peer struct {
	testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func (r *rig) dial() *peer {
	r.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(bound))
	if r.tls != nil {
		conn = brokertest.TLSClient(conn, r.tls)
	}
	return &peer{r.TB, conn, bufio.NewReader(conn)}
}

func (p *peer) send(text string) {
	p.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.Fatal(err)
	}
}

// request is the text of a request with a body and headers.
func request(method, path, body string, headers ...string) string {
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path)
	if body != "" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	for _, h := range headers {
		text += h + "\r\n"
	}
	return text + "\r\n" + body
}

// answer reads an answer to a method.
func (p *peer) answer(method string) (status int, body string) {
	p.Helper()
	resp, err := http.ReadResponse(p.r, &http.Request{Method: method})
	if err != nil {
		p.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err, string(text))
	}
	return resp.StatusCode, string(text)
}

// must sends a request, and gives the body of the answer, which is to have the status.
func (p *peer) must(want int, method, path, body string, headers ...string) string {
	p.Helper()
	p.send(request(method, path, body, headers...))
	status, text := p.answer(method)
	if status != want {
		p.Fatalf("%s %s: status %d, not %d: %s", method, path, status, want, text)
	}
	return text
}

// mustHave checks the messages of a topic.
func (r *rig) mustHave(topic string, want ...string) {
	r.Helper()
	if got := strings.Join(r.messages(topic), "\n"); got != strings.Join(want, "\n") {
		r.Fatalf("%q has %.300q, not %.300q", topic, got, strings.Join(want, "\n"))
	}
}

// overAll runs a test with the owner in this process and on another node, over TCP and TLS.
func overAll(t *testing.T, test func(t *testing.T, r *rig)) {
	for _, far := range []bool{false, true} {
		for _, overTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("far %v, TLS %v", far, overTLS), func(t *testing.T) { test(t, newRig(t, setup{far: far, overTLS: overTLS})) })
		}
	}
}
