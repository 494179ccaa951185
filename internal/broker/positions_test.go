package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/vfs/crashfs"
)

// within this time nothing is synced, for tests that write much and cut no power
var lazily = commitlog.Options{SyncEvery: time.Hour}

// positionsLogSize is the number of records that the positions' topic has.
func positionsLogSize(t testing.TB, b *bus) int64 {
	t.Helper()
	topic, err := b.Topic(broker.PositionsTopic)
	if err != nil {
		t.Fatal(err)
	}
	start, high := topic.Partitions()[0].Offsets()
	return high - start
}

func TestPositionsAreKeptWhenTheBrokerEnds(t *testing.T) {
	dir := t.TempDir()
	b := mustOpen(t, setup{dir: dir, options: broker.Options{Partitions: 2}})
	mustFill(t, b, "orders")
	consume(t, position(t, b, "default", "orders", 0), 0, 10)
	consume(t, position(t, b, "default", "orders", 1), 0, 20)
	consume(t, position(t, b, "billing", "orders", 0), 0, 5)
	consume(t, position(t, b, "billing", "orders", 0), 7, 9)
	mustClose(t, b)

	b = mustOpen(t, setup{dir: dir})
	defer mustClose(t, b)
	for _, want := range []struct {
		group     string
		partition int
		committed int64
		free      group.Span
	}{
		{"default", 0, 10, group.Span{From: 10, To: 100}},
		{"default", 1, 20, group.Span{From: 20, To: 100}},
		{"billing", 0, 5, group.Span{From: 5, To: 7}},
		{"other", 0, 0, group.Span{From: 0, To: 100}},
	} {
		p := position(t, b, want.group, "orders", want.partition)
		if free, _ := p.Free(100, time.Now()); p.Committed() != want.committed || free != want.free {
			t.Errorf("%s/%d: committed %d, free %v", want.group, want.partition, p.Committed(), free)
		}
	}
}

func TestPositionsAreKeptWhenTheBrokerIsKilled(t *testing.T) {
	disk := crashfs.New()
	b := mustOpen(t, setup{disk: disk})
	mustFill(t, b, "orders")
	for i := range int64(50) {
		consume(t, position(t, b, "default", "orders", 0), 10*i, 10*i+10)
		mustSync(t, b)
	}
	next := disk.Crash(crashfs.Nothing())
	_ = b.Close() // of the dead one
	b = mustOpen(t, setup{disk: next})
	defer mustClose(t, b)
	if c := position(t, b, "default", "orders", 0).Committed(); c != 500 {
		t.Errorf("committed is %d", c)
	}
}

func TestNothingIsWrittenUntilSomethingIsConsumed(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustFill(t, b, "orders")
	p := position(t, b, "default", "orders", 0)
	var m group.Member
	m.AckAll()
	m.Lease(p, group.Span{From: 0, To: 5}, 0)
	m.Release()
	if _, err := b.Topic(broker.PositionsTopic); err == nil {
		t.Errorf("%s was made for nothing", broker.PositionsTopic)
	}
}

// Many members acknowledge at the same time, and the broker ends before all of
// that has been written.
func TestWhatWasConsumedJustBeforeTheEndIsKept(t *testing.T) {
	dir := t.TempDir()
	for round := range int64(10) {
		b := mustOpen(t, setup{dir: dir})
		if round == 0 {
			mustFill(t, b, "orders")
		}
		p := position(t, b, "default", "orders", 0)
		if p.Committed() != round*1000 {
			t.Fatalf("round %d: committed is %d", round, p.Committed())
		}
		for from := round * 1000; from < (round+1)*1000; from += 100 {
			consume(t, p, from, from+100)
		}
		mustClose(t, b)
	}
}

// Each acknowledgement may begin a segment, which waits for the syncs of those
// before it.
func TestAcknowledgementsGoOnWhileThePositionsLogBeginsSegments(t *testing.T) {
	dir := t.TempDir()
	small := commitlog.Options{SegmentBytes: 512}
	b := mustOpen(t, setup{dir: dir, log: small})
	mustFill(t, b, "orders")
	const positions, each = 4, 100
	within(t, "all is acknowledged", func() {
		var all sync.WaitGroup
		for g := range positions {
			p := position(t, b, fmt.Sprint("g", g), "orders", 0)
			all.Go(func() {
				for i := range int64(each) {
					consume(t, p, i, i+1)
					mustSync(t, b)
				}
			})
		}
		all.Wait()
	})
	mustClose(t, b)
	b = mustOpen(t, setup{dir: dir, log: small})
	defer mustClose(t, b)
	for g := range positions {
		if c := position(t, b, fmt.Sprint("g", g), "orders", 0).Committed(); c != each {
			t.Errorf("group %d is at %d", g, c)
		}
	}
}

func TestPositionThatCannotBeKeptIsReportedAndKeptNextTime(t *testing.T) {
	book, log := newLog()
	var full bool
	var mu sync.Mutex
	setFull := func(on bool) {
		mu.Lock()
		defer mu.Unlock()
		full = on
	}
	dir := t.TempDir()
	b := mustOpen(t, setup{dir: dir, options: broker.Options{Log: log}, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(p store.Partition, _ string, batches []byte, done func(int64, error)) error {
			mu.Lock()
			defer mu.Unlock()
			if full {
				return store.ErrFull
			}
			return store.Append(p, batches, done)
		}}
	}})
	mustFill(t, b, "orders")
	p := position(t, b, "default", "orders", 3)
	setFull(true)
	consume(t, p, 0, 10)
	await(t, "the failure is logged", func() bool {
		return len(book.Lines("level=ERROR", "group=default", "topic=orders", "partition=3")) == 1
	})
	if p.Committed() != 10 {
		t.Errorf("committed is %d: in this life it counts all the same", p.Committed())
	}
	setFull(false)
	consume(t, p, 10, 11)
	if err := b.AwaitPositions(); err != nil { // the write that fails may still be under way
		t.Fatal(err)
	}
	mustClose(t, b)
	b = mustOpen(t, setup{dir: dir})
	defer mustClose(t, b)
	if c := position(t, b, "default", "orders", 3).Committed(); c != 11 {
		t.Errorf("committed is %d", c)
	}
}

// fillPositionsLog writes a positions' topic, and fills topic "orders", before any broker
// has run.
func fillPositionsLog(t testing.TB, s setup, fill func(*batch.Builder)) {
	t.Helper()
	if s.disk != nil {
		s.log.FS, s.dir = s.disk, "/data"
	}
	st, err := commitlog.Open(s.dir, s.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"orders", broker.PositionsTopic} {
		if _, err := st.CreateTopic(name, 1, ""); err != nil {
			t.Fatal(err)
		}
	}
	orders, err := st.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.AppendAndWait(orders, longBatch()); err != nil {
		t.Fatal(err)
	}
	p, err := st.Partition(broker.PositionsTopic, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b batch.Builder
	fill(&b)
	b.Close(0)
	if _, err := store.AppendAndWait(p, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}
