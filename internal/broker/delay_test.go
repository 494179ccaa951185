package broker_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// waiting makes a batch of one message that is due at a time.
func waiting(at time.Time, value string) []byte {
	var b batch.Builder
	b.Add(1, []byte("k"), []byte(value), batch.Header{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, at.UnixMilli(), 10)})
	b.Close(0)
	return b.Bytes()
}

// A stopped clock begins to run when the test has done what must come before.
type stoppedClock struct {
	at   time.Time
	mu   sync.Mutex
	runs time.Time // since when; zero if it does not
}

func (c *stoppedClock) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs.IsZero() {
		c.runs = time.Now()
	}
}

func (c *stoppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs.IsZero() {
		return c.at
	}
	return c.at.Add(time.Since(c.runs))
}

// openDelaysAt opens a broker with a clock, and a topic of it.
func openDelaysAt(t *testing.T, dir string, now func() time.Time) (*bus, *broker.Topic) {
	t.Helper()
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := broker.New(s, broker.Options{Limits: broker.DefaultLimits(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	b := newBus(made)
	topic, err := b.MakeTopic("orders")
	if err != nil {
		t.Fatal(err)
	}
	return b, topic
}

// arrived reads the values in a topic.
func arrived(t *testing.T, p *broker.Partition) (values []string) {
	t.Helper()
	start, end := p.Offsets()
	for o := start; o < end; o++ {
		if err := broker.WithRecord(p, o, func(r *batch.Record) error {
			values = append(values, string(r.Value))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

func awaitEnd(t *testing.T, p *broker.Partition, end int64) {
	t.Helper()
	there := make(chan struct{})
	p.Wake(end-1, func(broker.Reason) { close(there) })
	select {
	case <-there:
	case <-time.After(time.Minute):
		t.Fatalf("offset %d does not come", end)
	}
}

func TestDelayedMessagesComeInDueOrderAndNotBefore(t *testing.T) {
	clock := &stoppedClock{at: time.UnixMilli(time.Now().UnixMilli())} // due times are milliseconds
	b, topic := openDelaysAt(t, t.TempDir(), clock.now)
	defer b.Close()
	p := topic.Partitions()[0]
	for _, m := range []struct {
		after time.Duration
		value string
	}{{300 * time.Millisecond, "third"}, {100 * time.Millisecond, "first"}, {200 * time.Millisecond, "second"}, {time.Hour, "much later"}, {-time.Hour, "at once"}} {
		if _, err := p.AppendAndWait(waiting(clock.at.Add(m.after), m.value)); err != nil {
			t.Fatal(err)
		}
	}
	clock.run()
	awaitEnd(t, p, 4)
	if clock.now().Before(clock.at.Add(300 * time.Millisecond)) {
		t.Error("the third has come before its time")
	}
	if got := fmt.Sprint(arrived(t, p)); got != "[at once first second third]" {
		t.Errorf("%s", got)
	}
}

func TestDelayedMessagesSurviveARestartAndComeOnce(t *testing.T) {
	dir := t.TempDir()
	clock := &stoppedClock{at: time.Now()}
	b, topic := openDelaysAt(t, dir, clock.now)
	for i := range 100 {
		if _, err := topic.Partitions()[0].AppendAndWait(waiting(clock.at.Add(100*time.Millisecond), fmt.Sprint("soon ", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := topic.Partitions()[0].AppendAndWait(waiting(clock.at.Add(time.Hour), "later")); err != nil {
		t.Fatal(err)
	}
	for range 3 { // before they are due, and after
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b, topic = openDelaysAt(t, dir, clock.now)
		clock.run()
		awaitEnd(t, topic.Partitions()[0], 100)
	}
	defer b.Close()
	got := arrived(t, topic.Partitions()[0])
	for i, v := range got {
		if v != fmt.Sprint("soon ", i) {
			t.Fatalf("%d is %q", i, v)
		}
	}
	if len(got) != 100 {
		t.Errorf("%d have come", len(got))
	}
}

func TestDelayedMessagesOfADeletedTopicAreGone(t *testing.T) {
	clock := &stoppedClock{at: time.Now()}
	b, topic := openDelaysAt(t, t.TempDir(), clock.now)
	defer b.Close()
	at := clock.at.Add(100 * time.Millisecond)
	if _, err := topic.Partitions()[0].AppendAndWait(waiting(at, "gone")); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	topic, err := b.MakeTopic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Partitions()[0].AppendAndWait(waiting(at.Add(100*time.Millisecond), "of the new one")); err != nil {
		t.Fatal(err)
	}
	clock.run()
	awaitEnd(t, topic.Partitions()[0], 1)
	if got := fmt.Sprint(arrived(t, topic.Partitions()[0])); got != "[of the new one]" {
		t.Error(got)
	}
}

func TestAMessageInACompressedBatchWaitsToo(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	if _, err := b.produce(batchtest.Compress(t, codec.Gzip, waiting(time.Now().Add(time.Hour), "far 0"))); err != nil {
		t.Fatal(err)
	}
	var one batch.Builder
	one.Add(1, nil, []byte("now"))
	one.Close(0)
	b.mustProduce(batchtest.Compress(t, codec.Gzip, one.Bytes()), 0)
	if got := arrived(t, b.topic.Partitions()[0]); !slices.Equal(got, []string{"now"}) {
		t.Errorf("there are %q", got)
	}
	mustWait(t, b.bus, 1, 1)
}

// BenchmarkProduceCompressed leaves out the disk.
func BenchmarkProduceCompressed(b *testing.B) {
	broker := mustOpen(b, setup{dir: b.TempDir(), wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(_ store.Partition, _ string, _ []byte, done func(int64, error)) error {
			done(0, nil)
			return nil
		}}
	}})
	defer mustClose(b, broker)
	topic := mustMake(b, broker, "orders")
	var many batch.Builder
	for i := range 1000 {
		many.Add(1, nil, fmt.Appendf(nil, "message %d of some that are alike", i))
	}
	many.Close(0)
	p := batchtest.Compress(b, codec.Gzip, many.Bytes())
	for b.Loop() {
		if err := begin(broker, topic, 0, p, func(int64, error) {}); err != nil {
			b.Fatal(err)
		}
	}
}
