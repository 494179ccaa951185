package broker_test

import (
	"fmt"
	"strconv"
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
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(s, broker.Options{Limits: broker.DefaultLimits()})
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
	b, topic := openDelays(t, t.TempDir())
	defer b.Close()
	p := topic.Partitions()[0]
	now := time.UnixMilli(time.Now().UnixMilli()) // due times are milliseconds
	for _, m := range []struct {
		after time.Duration
		value string
	}{{600 * time.Millisecond, "third"}, {200 * time.Millisecond, "first"}, {400 * time.Millisecond, "second"}, {time.Hour, "much later"}, {-time.Hour, "at once"}} {
		if _, err := store.AppendAndWait(p, waiting(now.Add(m.after), m.value)); err != nil {
			t.Fatal(err)
		}
	}
	awaitEnd(t, p, 4)
	if time.Since(now) < 600*time.Millisecond {
		t.Error("the third has come before its time")
	}
	if got := fmt.Sprint(arrived(t, p)); got != "[at once first second third]" {
		t.Errorf("%s", got)
	}
}

func TestDelayedMessagesSurviveARestartAndComeOnce(t *testing.T) {
	dir := t.TempDir()
	b, topic := openDelays(t, dir)
	soon := time.Now().Add(300 * time.Millisecond)
	for i := range 100 {
		if _, err := store.AppendAndWait(topic.Partitions()[0], waiting(soon, fmt.Sprint("soon ", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.AppendAndWait(topic.Partitions()[0], waiting(time.Now().Add(time.Hour), "later")); err != nil {
		t.Fatal(err)
	}
	for range 3 { // before they are due, and after
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b, topic = openDelays(t, dir)
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
