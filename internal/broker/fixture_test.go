package broker_test

import (
	"bytes"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/commitlog/crashfs"
	"mbus/internal/group"
	"mbus/internal/store"
)

// patience bounds waits for what must happen.
const patience = 30 * time.Second

// A logBook collects what is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines are those lines that hold all words.
func (l *logBook) lines(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

// A setup is how a broker of a test is made; the zero value is a usual one.
type setup struct {
	disk    *crashfs.FS // nil for the system's
	dir     string
	wrap    func(store.Store) store.Store
	options broker.Options
	log     commitlog.Options
}

func open(s setup) (*broker.Broker, error) {
	if s.disk != nil {
		s.log.FS, s.dir = s.disk, "/data"
	}
	if s.options.Limits == (broker.Limits{}) {
		s.options.Limits = broker.DefaultLimits()
		s.options.Limits.JournalPause = 0
	}
	st, err := commitlog.Open(s.dir, s.log)
	if err != nil {
		return nil, err
	}
	var over store.Store = st
	if s.wrap != nil {
		over = s.wrap(st)
	}
	b, err := broker.New(over, s.options)
	if err != nil {
		st.Close()
	}
	return b, err
}

func mustOpen(t testing.TB, s setup) *broker.Broker {
	t.Helper()
	b, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustClose(t testing.TB, b *broker.Broker) {
	t.Helper()
	within(t, "the broker closes", func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// within fails the test, and says where everything stands, if f hangs.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		t.Fatalf("this does not happen: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
	}
}

// await polls a condition for which there is no event.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("this does not happen: %s", what)
		}
	}
}

func mustMake(t testing.TB, b *broker.Broker, name string) *broker.Topic {
	t.Helper()
	topic, err := b.MakeTopic(name)
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

// publish appends one batch of n messages, size bytes each, of the time given,
// and waits until it is durable.
func publish(t testing.TB, p store.Partition, at time.Time, n, size int) {
	t.Helper()
	var b batch.Builder
	for range n {
		b.Add(at.UnixMilli(), nil, make([]byte, size))
	}
	b.Close(0)
	appended := make(chan error, 1)
	if err := p.Append(b.Bytes(), func(_ int64, err error) { appended <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
}

// position is how far a group has come in a partition of a topic that exists.
func position(t testing.TB, b *broker.Broker, groupName, topic string, partition int) *group.Position {
	t.Helper()
	found, err := b.Topic(topic)
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Position(groupName, found, partition)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// groupNames are the groups of which something is kept.
func groupNames(b *broker.Broker) (names []string) {
	for _, g := range b.Groups() {
		if g.Kept {
			names = append(names, g.Name)
		}
	}
	return names
}

// consume acknowledges the offsets of a span.
func consume(t testing.TB, p *group.Position, from, to int64) {
	t.Helper()
	var m group.Member
	if !m.Lease(p, group.Span{From: from, To: to}, 0) {
		t.Fatalf("%d to %d are not free", from, to)
	}
	m.AckAll()
}

// mustSync waits until all positions are durable as they are. It may be called
// by any goroutine.
func mustSync(t testing.TB, b *broker.Broker) {
	t.Helper()
	done := make(chan error, 1)
	b.SyncPositions(func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Errorf("positions are not durable: %v", err)
	}
}

// A wrapped store is one whose calls tests can stand in for.
type wrapped struct {
	store.Store
	create func(inner store.Store, name string, partitions int, config string) (store.Topic, error)
	append func(inner store.Partition, topic string, p []byte, done func(int64, error)) error
	read   func(inner store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error
}

func (w *wrapped) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	if w.create == nil {
		return w.Store.CreateTopic(name, partitions, config)
	}
	return w.create(w.Store, name, partitions, config)
}

func (w *wrapped) Partition(topic string, number int) (store.Partition, error) {
	p, err := w.Store.Partition(topic, number)
	if err != nil {
		return p, err
	}
	return &wrappedPartition{p, topic, w}, nil
}

type wrappedPartition struct {
	store.Partition
	topic string
	store *wrapped
}

func (p *wrappedPartition) Append(batches []byte, done func(int64, error)) error {
	if p.store.append == nil {
		return p.Partition.Append(batches, done)
	}
	return p.store.append(p.Partition, p.topic, batches, done)
}

func (p *wrappedPartition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	if p.store.read == nil {
		return p.Partition.Read(offset, maxBytes, c)
	}
	return p.store.read(p.Partition, p.topic, offset, maxBytes, c)
}

func newLog() (*logBook, *slog.Logger) {
	book := new(logBook)
	return book, slog.New(slog.NewTextHandler(book, nil))
}
