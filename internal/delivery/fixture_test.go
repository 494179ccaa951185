package delivery

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// A bus is a broker, on a disk in memory, whose messages are delivered.
type bus struct {
	t          testing.TB
	disk       *crashfs.FS
	partitions int
	broker     *inside
	hub        *Hub
	wrap       func(store.Store) store.Store // nil for none
}

func start(t testing.TB, partitions int) *bus {
	b := &bus{t: t, disk: crashfs.New(), partitions: partitions}
	b.begin()
	t.Cleanup(func() { b.broker.Close() })
	return b
}

func (b *bus) begin() {
	b.t.Helper()
	log, err := commitlog.Open("/data", commitlog.Options{FS: b.disk})
	if err != nil {
		b.t.Fatal(err)
	}
	var s store.Store = log
	if b.wrap != nil {
		s = b.wrap(s)
	}
	limits := broker.DefaultLimits()
	limits.SettleTime, limits.PositionsPause = patience, 0
	made, err := broker.New(s, broker.Options{Limits: limits, Partitions: b.partitions})
	if err != nil {
		b.t.Fatal(err)
	}
	b.broker = insideOf(made)
	b.hub = NewHub(made)
}

// restart closes the broker and opens it again; its sessions have been closed.
func (b *bus) restart() {
	b.t.Helper()
	if err := b.broker.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.begin()
}

// publish appends messages, in a batch of each partition: "key=value", or a value.
func (b *bus) publish(topic string, messages ...string) {
	b.t.Helper()
	t, err := b.broker.MakeTopic(topic)
	if err != nil {
		b.t.Fatal(err)
	}
	batches := make(map[*broker.Partition]*batch.Builder)
	for _, m := range messages {
		key, value, isKeyed := strings.Cut(m, "=")
		p := t.Partitions()[0]
		if isKeyed {
			p = t.For([]byte(key))
		}
		if batches[p] == nil {
			batches[p] = new(batch.Builder)
		}
		if isKeyed {
			batches[p].Add(1, []byte(key), []byte(value))
		} else {
			batches[p].Add(1, nil, []byte(m))
		}
	}
	for p, builder := range batches {
		builder.Close(0)
		done := make(chan error, 1)
		p.AppendDurably(builder.Bytes(), func(err error) { done <- err })
		if err := <-done; err != nil {
			b.t.Fatal(err)
		}
	}
}

// A reader is a session with a Sink in memory.
type reader struct {
	*Session
	sink *memory
	t    testing.TB
	seen int // lines
	ends chan struct{}
}

// reader makes a session, of the group "default" unless o says otherwise.
func (b *bus) reader(topic string, o Options) *reader {
	r := &reader{sink: new(memory), t: b.t, ends: make(chan struct{}, 1)}
	o.View, o.Topic, o.Find = b.broker.View, topic, func() (*broker.Topic, error) { return b.broker.Topic(topic) }
	if o.Group == "" {
		o.Group = group.Default
	}
	if o.Retry == (group.Retry{}) {
		o.Retry = group.Retry{Backoff: time.Hour, Bound: time.Hour, Attempts: 5}
	}
	o.OnEnd = func() {
		select {
		case r.ends <- struct{}{}:
		default:
		}
	}
	r.Session = b.hub.NewSession(o, r.sink)
	b.t.Cleanup(func() { r.Close(Stopping) })
	return r
}

// worker is a reader that acknowledges, and has been started.
func (b *bus) worker(topic string, o Options) *reader {
	b.t.Helper()
	o.Ack, o.Follow = true, true
	return b.reader(topic, o).started()
}

func (r *reader) started() *reader {
	r.t.Helper()
	if err := r.Start(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// got is how many lines have come.
func (r *reader) got() int {
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	return len(r.sink.lines)
}

// mustGet waits for the next lines.
func (r *reader) mustGet(lines ...string) {
	r.t.Helper()
	var got []string
	r.sink.await(r.t, func() bool {
		got = r.sink.lines[r.seen:]
		return len(got) >= len(lines)
	})
	if got = got[:len(lines)]; !slices.Equal(got, lines) {
		r.t.Fatalf("got %q, not %q", got, lines)
	}
	r.seen += len(lines)
}

// mustGetNothing waits until there is nothing to send.
func (r *reader) mustGetNothing() {
	r.t.Helper()
	awaitIdle(&r.pump)
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	if got := r.sink.lines[r.seen:]; len(got) > 0 {
		r.t.Fatalf("got %q", got)
	}
}

// mustEnd waits until the session ends by itself, for a reason.
func (r *reader) mustEnd(reason error) {
	r.t.Helper()
	brokertest.Within(r.t, patience, "the session ends", func() { <-r.ends })
	if err := r.Stop(); !errors.Is(err, reason) {
		r.t.Fatalf("it ended with %v, not %v", err, reason)
	}
}

func (r *reader) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// mustDrain has a group drain a topic: it gets these lines, which count as consumed.
func (b *bus) mustDrain(topic string, lines ...string) {
	b.t.Helper()
	r := b.reader(topic, Options{})
	if err := r.Drain(); err != nil && err != io.EOF {
		b.t.Fatal(err)
	}
	r.must(r.Flush())
	if got := r.sink.lines; !slices.Equal(got, lines) {
		b.t.Fatalf("drained %q, not %q", got, lines)
	}
	r.must(r.Close(Complete))
}

// committed is the offset of a group in partition 0 of a topic.
func (b *bus) committed(groupName, topic string) int64 {
	for _, n := range b.broker.Positions(groupName) {
		if n.Topic == topic && n.Partition == 0 {
			return n.Committed
		}
	}
	return -1
}
