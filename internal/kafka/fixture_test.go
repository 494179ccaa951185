package kafka_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/jetstream/enginetest"
	"mbus/internal/kafka"
	"mbus/internal/store"
	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// A setup is how a test's bus is made; the zero value is a usual one, in a
// directory of its own.
type setup struct {
	dir        string
	log        commitlog.Options
	partitions int
	wrap       func(store.Store) store.Store
	limits     func(*broker.Limits)
	options    func(*broker.Options)
	kafka      kafka.Options
	secure     func(server *tls.Config) // speaks TLS, with this change; nil for what overTLS says
}

// A bus is a broker that serves Kafka's clients.
type bus struct {
	t       testing.TB
	setup   setup
	broker  *inside
	server  *kafka.Server
	addr    string
	tls     *tls.Config // of clients; nil over TCP
	book    *brokertest.LogBook
	serving sync.WaitGroup
	stopped bool
}

// start runs a bus until the test ends.
func start(t testing.TB, s setup) *bus {
	t.Helper()
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	b := &bus{t: t, setup: s, book: new(brokertest.LogBook)}
	b.begin(brokertest.Reserve(t))
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

func (b *bus) begin(address string) {
	b.t.Helper()
	s, log := b.setup, slog.New(slog.NewTextHandler(b.book, &slog.HandlerOptions{Level: slog.LevelDebug}))
	options := s.log
	options.Log = log
	if options.FS == nil { // else a test knows which file is synced
		options.JournalBytes = cmp.Or(options.JournalBytes, 1<<20)
	}
	st, err := openStore(s, options)
	if err != nil {
		b.t.Fatal(err)
	}
	if s.wrap != nil {
		st = s.wrap(st)
	}
	limits := broker.DefaultLimits()
	limits.StopTime = patience
	if s.limits != nil {
		s.limits(&limits)
	}
	told := broker.Options{Limits: limits, Partitions: s.partitions, Log: log}
	if s.options != nil {
		s.options(&told)
	}
	made, err := broker.New(st, told)
	if err != nil {
		b.t.Fatal(err)
	}
	b.broker = insideOf(made)
	b.server = kafka.NewServer(made, s.kafka)
	l, err := net.Listen("tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.addr = l.Addr().String()
	if overTLS(b.t) || s.secure != nil {
		var server *tls.Config
		server, b.tls = brokertest.TLS(b.t)
		if s.secure != nil {
			s.secure(server)
		}
		if l, err = tcpserver.WithTLS(l, server); err != nil {
			b.t.Fatal(err)
		}
	}
	b.serving.Go(func() { b.server.Serve(l) })
	b.stopped = false
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
		b.server.Stop(ctx)
		_ = b.broker.Close() // fails where tests make the disk fail
		b.serving.Wait()
	})
	if panics := b.book.Lines("panic"); len(panics) > 0 {
		b.t.Errorf("%q", panics)
	}
	if b.t.Failed() {
		b.t.Logf("the broker's log:\n%s", b.book.Lines())
	}
}

// restart stops the bus and starts it again at the same address.
func (b *bus) restart() {
	b.t.Helper()
	b.stop()
	b.begin(b.addr)
}

// topic makes a topic with one partition or more.
func (b *bus) topic(name string, partitions int) *broker.Topic {
	b.t.Helper()
	t, err := b.broker.CreateTopic(name, partitions, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return t
}

// A client is a connection on which a test speaks the protocol itself.
type client struct {
	t testing.TB
	net.Conn
	tcp  *net.TCPConn
	sent int32 // the last correlation id
	read int32
}

func (b *bus) dial() *client { return b.dialAt(b.addr) }

// dialAt is dial by another address.
func (b *bus) dialAt(address string) *client {
	b.t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(2 * patience))
	c := &client{t: b.t, Conn: nc, tcp: nc.(*net.TCPConn)}
	if b.tls != nil {
		c.Conn = brokertest.TLSClient(nc, b.tls)
	}
	return c
}

// frame is a request as it is on the wire.
func frame(req kmsg.Request, correlation int32) []byte {
	p := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(req.Key()))
	p = binary.BigEndian.AppendUint16(p, uint16(req.GetVersion()))
	p = binary.BigEndian.AppendUint32(p, uint32(correlation))
	p = append(p, 0, 4, 't', 'e', 's', 't')
	if req.IsFlexible() {
		p = append(p, 0)
	}
	p = req.AppendTo(p)
	binary.BigEndian.PutUint32(p, uint32(len(p)-4))
	return p
}

func (c *client) send(req kmsg.Request) {
	c.t.Helper()
	c.sent++
	if _, err := c.Write(frame(req, c.sent)); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads the answer to the next of the requests that were sent.
func (c *client) receive(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	resp, err := c.tryReceive(req)
	if err != nil {
		c.t.Fatalf("answer to %T: %v", req, err)
	}
	return resp
}

func (c *client) tryReceive(req kmsg.Request) (kmsg.Response, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, p); err != nil {
		return nil, err
	}
	c.read++
	r := kbin.Reader{Src: p}
	if got := r.Int32(); got != c.read {
		return nil, fmt.Errorf("correlation id %d, want %d", got, c.read)
	}
	if req.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		kmsg.SkipTags(&r)
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(r.Src); err != nil {
		return nil, err
	}
	return resp, nil
}

// ask sends a request and reads its answer.
func ask[R kmsg.Response](c *client, req kmsg.Request) R {
	c.t.Helper()
	c.send(req)
	return c.receive(req).(R)
}

// mustBeClosed fails the test unless the server closes the connection without a
// further answer.
func (c *client) mustBeClosed() {
	c.t.Helper()
	var p [1]byte
	if n, err := c.Read(p[:]); n > 0 || err == nil {
		c.t.Fatalf("the connection is open: %q", p[:n])
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection is not closed")
	}
}

// A write is what a test produces.
type write struct {
	topic     string
	partition int32
	records   []byte
}

// request makes a request to produce, of version 9 and with acks=all.
func produceRequest(writes ...write) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, 1000
	for _, w := range writes {
		t := kmsg.NewProduceRequestTopic()
		t.Topic = w.topic
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = w.partition, w.records
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// messages is a batch of so many records with values "0", "1" and so on, and times
// 1000, 1001 and so on.
func messages(n int) batch.Batch {
	var b batch.Builder
	for i := range n {
		b.Add(1000+int64(i), nil, fmt.Append(nil, i))
	}
	b.Close(0)
	return bytes.Clone(b.Bytes())
}

// produced is the only partition of an answer.
func produced(resp *kmsg.ProduceResponse) kmsg.ProduceResponseTopicPartition {
	return resp.Topics[0].Partitions[0]
}

// publish appends and fails the test unless that works.
func (c *client) publish(topic string, partition int32, b batch.Batch) (base int64) {
	c.t.Helper()
	out := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{topic, partition, b})))
	if out.ErrorCode != 0 {
		c.t.Fatalf("produce to %q: code %d", topic, out.ErrorCode)
	}
	return out.BaseOffset
}

// A read is what a test fetches.
type read struct {
	topic     string
	partition int32
	offset    int64
}

// fetchRequest asks for 1 MiB, without waiting.
func fetchRequest(version int16, reads ...read) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.MinBytes = version, 1<<20, 1
	for _, r := range reads {
		t := kmsg.NewFetchRequestTopic()
		t.Topic = r.topic
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = r.partition, r.offset, 1<<20
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// values are the records' values in stored batches.
func values(t testing.TB, p []byte) (all []string) {
	t.Helper()
	var it batch.Iterator
	for len(p) > 0 {
		b, rest, err := batch.Next(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(&it); err != nil {
			t.Fatal(err)
		}
		it.Reset(b)
		for it.Next() {
			all = append(all, string(it.Record().Value))
		}
		p = rest
	}
	return all
}

func within(t testing.TB, what string, f func()) {
	t.Helper()
	brokertest.Within(t, 2*patience, what, f)
}

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	brokertest.Await(t, patience, what, condition)
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
