package broker_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// waiting makes a batch of one message that is due at a time.
func waiting(at time.Time, value string) []byte {
	var b batch.Builder
	b.Add(1, []byte("k"), []byte(value), batch.Header{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, at.UnixMilli(), 10)})
	b.Close(0)
	return b.Bytes()
}

func openDelays(t *testing.T, dir string) (*broker.Broker, *broker.Topic) {
	t.Helper()
	return openDelaysAt(t, dir, time.Now)
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

// openDelaysAt is openDelays with a clock.
func openDelaysAt(t *testing.T, dir string, now func() time.Time) (*broker.Broker, *broker.Topic) {
	t.Helper()
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(s, broker.Options{Limits: broker.DefaultLimits(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	topic, err := b.MakeTopic("orders")
	if err != nil {
		t.Fatal(err)
	}
	return b, topic
}

// arrived reads the values in a topic.
func arrived(t *testing.T, p store.Partition) (values []string) {
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

func awaitEnd(t *testing.T, p store.Partition, end int64) {
	t.Helper()
	there := make(chan struct{})
	p.Wake(end-1, func() { close(there) })
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
		if _, err := store.AppendAndWait(p, waiting(clock.at.Add(m.after), m.value)); err != nil {
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
		if _, err := store.AppendAndWait(topic.Partitions()[0], waiting(clock.at.Add(100*time.Millisecond), fmt.Sprint("soon ", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.AppendAndWait(topic.Partitions()[0], waiting(clock.at.Add(time.Hour), "later")); err != nil {
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
	b, topic := openDelays(t, t.TempDir())
	defer b.Close()
	at := time.Now().Add(200 * time.Millisecond)
	if _, err := store.AppendAndWait(topic.Partitions()[0], waiting(at, "gone")); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	topic, err := b.MakeTopic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.AppendAndWait(topic.Partitions()[0], waiting(at.Add(100*time.Millisecond), "of the new one")); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, topic.Partitions()[0], 1)
	if got := fmt.Sprint(arrived(t, topic.Partitions()[0])); got != "[of the new one]" {
		t.Error(got)
	}
}
