package line_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/jetstream/enginetest"
	"mbus/internal/line"
	"mbus/internal/store"
	"mbus/internal/tcpserver"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// moment is how long a test watches for what must not happen.
const moment = 50 * time.Millisecond

// A setup is how a test's bus is made; the zero value is a usual one, in a
// directory of its own.
type setup struct {
	dir        string
	disk       *crashfs.FS // instead of dir
	log        commitlog.Options
	partitions int
	noCreate   bool  // topics are made only when that is asked for
	retain     int64 // bytes
	node       int32 // the broker's number; 0 for 1
	wrap       func(store.Store) store.Store
	limits     func(*broker.Limits)
	debug      bool // is logged, too
	overTLS    bool
}

// A bus is a broker that serves both ports.
type bus struct {
	t                    testing.TB
	setup                setup
	store                store.Store
	broker               *inside
	server               *line.Server
	producers, consumers string      // addresses
	clientTLS            *tls.Config // nil over TCP
	auth                 string      // the line of AUTH that begins each connection; "" for none
	book                 *brokertest.LogBook
	panics               bool // are expected
	serving              sync.WaitGroup
	doors                []net.Listener // of another node
	ends                 []func()       // of that node
	stopped              bool
}

// start runs a bus until the test ends.
func start(t testing.TB, s setup) *bus {
	t.Helper()
	if s.disk != nil {
		enginetest.NotHere(t, "calls of the disk are watched, or fail")
	}
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	b := &bus{t: t, setup: s, book: new(brokertest.LogBook)}
	b.begin()
	if overTLS(t) {
		b.auth = b.addUser("tester", everything()...)
	}
	t.Cleanup(b.stop)
	return b
}

// openStore opens a directory, or the same on the engine of a cluster.
func openStore(s setup, options commitlog.Options) (store.Store, error) {
	switch {
	case !enginetest.Wanted():
		return commitlog.Open(s.dir, options)
	case options.FS != nil:
		return enginetest.Open(options.FS, options.SegmentBytes)
	}
	return enginetest.Open(s.dir, options.SegmentBytes)
}

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func (b *bus) begin() {
	b.t.Helper()
	s, log := b.setup, slog.New(slog.NewTextHandler(b.book, b.logged()))
	options := s.log
	options.Log = log
	if s.disk != nil { // without a journal, so that a test knows which file is synced
		options.FS, s.dir = s.disk, "/data"
	} else {
		options.JournalBytes = cmp.Or(options.JournalBytes, 1<<20)
	}
	st, err := openStore(s, options)
	if err != nil {
		b.t.Fatal(err)
	}
	if s.wrap != nil {
		st = s.wrap(st)
	}
	b.store = st
	limits := broker.DefaultLimits()
	limits.SettleTime = 10 * time.Second // for slow machines; it ends earlier
	limits.HalfCloseTime = 0             // a test that is about it sets it
	limits.StopTime = patience
	if s.limits != nil {
		s.limits(&limits)
	}
	made, err := broker.New(st, broker.Options{
		Limits: limits, Partitions: s.partitions, NoAutoCreate: s.noCreate, RetentionBytes: s.retain, Log: log,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.broker = insideOf(made)
	b.server = line.NewServer(made)
	if s.node != 0 {
		b.server.Node = s.node
	}
	b.producers = b.serve(b.server.ServeProducers, b.server.TakeProducer)
	b.consumers = b.serve(b.server.ServeConsumers, b.server.TakeConsumer)
	b.stopped = false
}

// logged says what is in the log.
func (b *bus) logged() *slog.HandlerOptions {
	if b.setup.debug {
		return &slog.HandlerOptions{Level: slog.LevelDebug}
	}
	return nil
}

func (b *bus) serve(on func(net.Listener), take func(tcpserver.Conn) bool) string {
	b.t.Helper()
	l := listen(b.t)
	if b.setup.overTLS || overTLS(b.t) {
		var server *tls.Config
		server, b.clientTLS = brokertest.TLS(b.t)
		var err error
		if l, err = tcpserver.WithTLS(l, server); err != nil {
			b.t.Fatal(err)
		}
	}
	if byLink(b.t) {
		b.serveByLink(l, take)
	} else {
		b.serving.Go(func() { on(l) })
	}
	return l.Addr().String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stop ends the bus as the program does, but with more patience.
func (b *bus) stop() {
	if b.stopped {
		return
	}
	b.stopped = true
	within(b.t, "the bus stops", func() {
		ctx, cancel := context.WithTimeout(context.Background(), b.broker.Limits.StopTime)
		defer cancel()
		for _, l := range b.doors {
			l.Close()
		}
		b.server.Stop(ctx)
		_ = b.broker.Close() // fails where tests make the disk fail
		for _, end := range b.ends {
			end()
		}
		b.ends, b.doors = nil, nil
		b.serving.Wait()
	})
	if panics := b.book.Lines("panic"); len(panics) > 0 && !b.panics {
		b.t.Errorf("%q", panics)
	}
	if b.t.Failed() {
		b.t.Logf("the broker's log:\n%s", b.book.Lines())
	}
}

// restart stops the bus and starts it again; its ports change.
func (b *bus) restart() {
	b.t.Helper()
	b.stop()
	b.begin()
}

// write appends a batch to the log of a partition, whatever it is like, and returns the
// offset that it begins with.
func (b *bus) write(topic string, partition int, batch []byte) (int64, error) {
	log, err := b.store.Partition(topic, partition)
	if err != nil {
		return 0, err
	}
	return store.AppendAndWait(log, batch)
}

func within(t testing.TB, what string, f func()) {
	t.Helper()
	brokertest.Within(t, 2*patience, what, f)
}

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	brokertest.Await(t, patience, what, condition)
}

// openFiles counts this process's file descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// position is how far a group has come in a partition of a topic that exists.
func (b *bus) position(groupName, topic string, partition int) *group.Position {
	b.t.Helper()
	found, err := b.broker.Topic(topic)
	if err != nil {
		b.t.Fatal(err)
	}
	p, err := b.broker.Position(groupName, found, partition)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}
