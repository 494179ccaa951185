package relay

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/line"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

// bound is for what must happen.
const bound = time.Minute

// A rig is a node with a relay, and the owner of the topics: in the same process, or on another node.
type rig struct {
	testing.TB
	dir     string
	far     bool // the owner is on another node
	limits  broker.Limits
	door    *tcpserver.Dispatcher
	relay   *Relay
	address string
	tls     *tls.Config // of clients; nil over TCP
	book    *brokertest.LogBook
	owner   *owner
}

// An owner has the topics for a while.
type owner struct {
	store  *storefault.Movable
	broker *broker.Broker
	server *line.Server
	links  *tcpserver.Links
	port   net.Listener // of links; nil in the same process
}

// A setup is how a rig is made; the zero value has an owner in the same process, and clients over TCP.
type setup struct {
	far, overTLS bool
	limits       func(*broker.Limits)
	times        times         // zero for the usual ones
	patience     time.Duration // of the dispatcher; 0 for the usual one
}

func newRig(t testing.TB, s setup) *rig {
	t.Helper()
	r := &rig{TB: t, dir: t.TempDir(), far: s.far, limits: broker.DefaultLimits(), book: new(brokertest.LogBook)}
	r.limits.StopTime = bound
	if s.limits != nil {
		s.limits(&r.limits)
	}
	if s.times == (times{}) {
		s.times = usualTimes
	}
	log := slog.New(slog.NewTextHandler(r.book, nil))
	r.door = tcpserver.NewDispatcher(log, tcpserver.DispatcherOptions{
		Port: "producers", Limits: tcpserver.Limits{Connections: r.limits.MaxConnections}, Patience: s.patience,
	})
	r.relay = newRelay(Options{Limits: r.limits, Lead: r.door.Lead, Refusal: line.Refusal, Log: log}, s.times)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	if s.overTLS {
		var server *tls.Config
		server, r.tls = brokertest.TLS(t)
		var err error
		if l, err = tcpserver.WithTLS(l, server); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		r.relay.Serve(l)
	}()
	t.Cleanup(func() {
		brokertest.Within(t, bound, "everything ends", func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				r.relay.Stop(ctx)
			}()
			r.door.Stop()
			<-stopped
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
	log := slog.New(slog.NewTextHandler(r.book, nil))
	files, err := commitlog.Open(r.dir, commitlog.Options{JournalBytes: 1 << 20, Log: log})
	if err != nil {
		r.Fatal(err)
	}
	o := &owner{store: storefault.NewMovable(files)}
	if o.broker, err = broker.New(o.store, broker.Options{Limits: r.limits, Log: log}); err != nil {
		r.Fatal(err)
	}
	o.server = line.NewServer(o.broker)
	r.owner = o
	if !r.far {
		r.door.Set(tcpserver.Target{Take: o.server.TakeProducer})
		return
	}
	if o.port, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		r.Fatal(err)
	}
	o.links = tcpserver.NewLinks(log, nil)
	go o.links.Serve(o.port, func(_ tcpserver.Hello, c tcpserver.Conn) bool { return o.server.TakeProducer(c) })
	r.door.Set(tcpserver.Target{Owner: o.port.Addr().String()})
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

// leave has the owner leave the topics in good order.
func (r *rig) leave() {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	o := r.owner
	o.server.Stop(ctx)
	if err := o.broker.Leave(ctx); err != nil {
		r.Error(err)
	}
	if o.port != nil {
		o.port.Close()
		o.links.EndAll()
	}
	r.owner = nil
}

// messages are those of all partitions of a topic, in their order.
func (r *rig) messages(topic string) (all []string) {
	r.Helper()
	t, err := r.owner.broker.As(broker.Self).Topic(topic, broker.Describe)
	if err != nil {
		r.Fatal(err)
	}
	for i := range t.Partitions() {
		log, err := r.owner.store.Partition(topic, i)
		if err != nil {
			r.Fatal(err)
		}
		start, _ := log.Offsets()
		err = store.Walk(log, start, func(err error) error { return err }, func(b batch.Batch) (bool, error) {
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
	}
	return all
}

// A peer is a client of the relay.
type peer struct {
	testing.TB
	conn net.Conn
	raw  *net.TCPConn
	r    *bufio.Reader
}

func (r *rig) dial(text string) *peer {
	r.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * bound))
	p := &peer{TB: r.TB, conn: conn, raw: conn.(*net.TCPConn)}
	if r.tls != nil {
		p.conn = brokertest.TLSClient(conn, r.tls)
	}
	p.r = bufio.NewReader(p.conn)
	p.send(text)
	return p
}

func (p *peer) send(text string) {
	p.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.Fatal(err)
	}
}

// finish closes the sending side.
func (p *peer) finish() {
	p.Helper()
	if err := p.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		p.Fatal(err)
	}
}

func (p *peer) line() string {
	p.Helper()
	text, err := p.r.ReadString('\n')
	if err != nil {
		p.Fatalf("%v after %q", err, text)
	}
	return text
}

// mustAck reads counts, which grow, until one is n.
func (p *peer) mustAck(n int) {
	p.Helper()
	for last := -1; last < n; {
		text := strings.TrimSpace(p.line())
		got, err := strconv.Atoi(strings.TrimPrefix(text, "+"))
		if err != nil || !strings.HasPrefix(text, "+") || got <= last || got > n {
			p.Fatalf("it gets %q after %d, not up to +%d", text, last, n)
		}
		last = got
	}
}

// mustEnd reads the rest, up to an end in good order.
func (p *peer) mustEnd(want string) {
	p.Helper()
	rest, err := io.ReadAll(p.r)
	if err != nil || string(rest) != want {
		p.Fatalf("it gets %q, %v, not %q", rest, err, want)
	}
}

// mustRefuse reads the rest, which is to be one line with a code.
func (p *peer) mustRefuse(code string) {
	p.Helper()
	rest, err := io.ReadAll(p.r)
	if err != nil || !strings.HasPrefix(string(rest), "-"+code+" ") || strings.Count(string(rest), "\n") != 1 {
		p.Fatalf("it gets %q, %v, not -%s", rest, err, code)
	}
}

// numbered are lines from first to last.
func numbered(first, last int) string {
	var text strings.Builder
	for n := first; n <= last; n++ {
		fmt.Fprintf(&text, "message %d\n", n)
	}
	return text.String()
}

// mustHave checks that a topic has so many numbered messages, each once and in their order.
func (r *rig) mustHave(topic string, n int) {
	r.Helper()
	got := strings.Join(r.messages(topic), "\n") + "\n"
	if want := numbered(1, n); got != want {
		r.Fatalf("%q has %d messages that differ from the %d that were sent: %.300q", topic, strings.Count(got, "\n"), n, got)
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
