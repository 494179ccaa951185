package broker_test

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"os"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/jetstream/enginetest"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// A setup is how a broker of a test is made; the zero value is a usual one.
type setup struct {
	disk    *crashfs.FS // nil for the system's
	dir     string
	wrap    func(store.Store) store.Store
	options broker.Options
	log     commitlog.Options
}

// A bus is a broker, with its topics and groups as it sees them itself.
type bus struct {
	*broker.Broker
	*broker.View
}

func newBus(b *broker.Broker) *bus { return &bus{b, b.As(broker.Self)} }

func (b *bus) Topic(name string) (*broker.Topic, error) { return b.View.Topic(name, broker.Describe) }

func (b *bus) TopicByID(id [16]byte) (*broker.Topic, error) {
	return b.View.TopicByID(id, broker.Describe)
}

func (b *bus) CommitOffsets(groupName string, commits []group.Commit, done func([]error)) {
	_ = b.View.CommitOffsets(groupName, commits, func(queue func()) error { queue(); return nil }, done)
}

func open(s setup) (*bus, error) {
	if s.disk != nil {
		s.log.FS, s.dir = s.disk, "/data"
	}
	if s.options.Limits == (broker.Limits{}) {
		s.options.Limits = broker.DefaultLimits()
		s.options.Limits.PositionsPause = 0
	}
	if s.disk == nil { // else a test knows which file is synced
		s.log.JournalBytes = cmp.Or(s.log.JournalBytes, 1<<20)
	}
	st, err := s.openStore()
	if err != nil {
		return nil, err
	}
	over := st
	if s.wrap != nil {
		over = s.wrap(st)
	}
	b, err := broker.New(over, s.options)
	if err != nil {
		st.Close()
		return nil, err
	}
	return newBus(b), nil
}

// openStore opens the directory, or the same on the engine of a cluster.
func (s *setup) openStore() (store.Store, error) {
	switch {
	case !enginetest.Wanted():
		return commitlog.Open(s.dir, s.log)
	case s.disk != nil:
		return enginetest.Open(s.disk, s.log.SegmentBytes)
	}
	return enginetest.Open(s.dir, s.log.SegmentBytes)
}

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func mustOpen(t testing.TB, s setup) *bus {
	t.Helper()
	b, err := open(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustClose(t testing.TB, b *bus) {
	t.Helper()
	within(t, "the broker closes", func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func within(t testing.TB, what string, f func()) {
	t.Helper()
	brokertest.Within(t, patience, what, f)
}

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	brokertest.Await(t, patience, what, condition)
}

func mustMake(t testing.TB, b *bus, name string) *broker.Topic {
	t.Helper()
	topic, err := b.MakeTopic(name)
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

// mustFill is mustMake for a topic that has messages, as far as the offsets go.
func mustFill(t testing.TB, b *bus, name string) *broker.Topic {
	t.Helper()
	topic := mustMake(t, b, name)
	for _, p := range topic.Partitions() {
		lengthen(t, p)
	}
	return topic
}

// lengthen appends a long batch.
func lengthen(t testing.TB, p *broker.Partition) {
	t.Helper()
	if _, err := p.AppendAndWait(longBatch()); err != nil {
		t.Fatal(err)
	}
}

// longBatch is one that takes filled offsets and has one record.
func longBatch() []byte {
	var b batch.Builder
	b.Add(1000, nil, nil)
	b.Close(0)
	binary.BigEndian.PutUint32(b.Bytes()[23:], filled-1)
	binary.BigEndian.PutUint32(b.Bytes()[17:], crc32.Checksum(b.Bytes()[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.Bytes()
}

const filled = 10_000_000

// publish appends one batch of n messages, size bytes each, of the time given,
// and waits until it is durable.
func publish(t testing.TB, p *broker.Partition, at time.Time, n, size int) {
	t.Helper()
	var b batch.Builder
	for range n {
		b.Add(at.UnixMilli(), nil, make([]byte, size))
	}
	b.Close(0)
	appended := make(chan error, 1)
	if err := p.Append(b.Bytes(), broker.AppendOptions{Checked: true}, func(_ int64, err error) { appended <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
}

// position is how far a group has come in a partition of a topic that exists.
func position(t testing.TB, b *bus, groupName, topic string, partition int) *group.Position {
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
func groupNames(b *bus) (names []string) {
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
func mustSync(t testing.TB, b *bus) {
	t.Helper()
	done := make(chan error, 1)
	b.SyncPositions(func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Errorf("positions are not durable: %v", err)
	}
}

func newLog() (*brokertest.LogBook, *slog.Logger) {
	book := new(brokertest.LogBook)
	return book, slog.New(slog.NewTextHandler(book, nil))
}
