package broker_test

import (
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

var segments = commitlog.Options{SegmentBytes: 4 << 10}

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// days publishes a segment for each of so many days from the new year on: ten
// messages each, in a segment of their own.
func days(t testing.TB, topic *broker.Topic, n int) {
	t.Helper()
	for i := range n {
		publish(t, topic.Partitions()[0], newYear.Add(time.Duration(i)*day), 10, 350)
	}
}

// atTheirTime has messages appended at their own time, so that they have an age.
func atTheirTime(inner store.Store) store.Store { return byClock(new(atomic.Int64))(inner) }

// byClock is atTheirTime with a clock, in milliseconds since 1970, that others set, too.
func byClock(now *atomic.Int64) func(store.Store) store.Store {
	return func(inner store.Store) store.Store { return punctually(inner, now) }
}

func punctually(inner store.Store, now *atomic.Int64) store.Store {
	s := &punctual{storefault.Store{Store: inner}}
	inner.UseClock(func() time.Time { return time.UnixMilli(now.Load()) })
	s.Append = func(p store.Partition, _ string, batches []byte, done func(int64, error)) error {
		now.Store(batch.Batch(batches).MaxTimestamp())
		return store.Append(p, batches, done)
	}
	return s
}

type punctual struct{ storefault.Store }

// UseClock implements store.Store. There is a clock already.
func (*punctual) UseClock(func() time.Time) {}

func mustStart(t testing.TB, topic *broker.Topic, want int64) {
	t.Helper()
	if start, _ := topic.Partitions()[0].Offsets(); start != want {
		t.Errorf("the log starts at %d, not %d", start, want)
	}
}

func TestAgeRemovesWhatTheDefaultGroupHasConsumed(t *testing.T) {
	book, log := newLog()
	b := mustOpen(t, setup{dir: t.TempDir(), log: segments, wrap: atTheirTime, options: broker.Options{Retention: 7 * day, Log: log}})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	days(t, topic, 10)
	consume(t, position(t, b, "default", "orders", 0), 0, 100)
	for _, step := range []struct {
		at    time.Duration
		start int64
	}{
		{7 * day, 0}, {7*day + time.Hour, 10}, {9*day + time.Hour, 30}, {9*day + time.Hour, 30}, {100 * day, 100},
	} {
		retain(t, b, newYear.Add(step.at))
		mustStart(t, topic, step.start)
	}
	if n := len(book.Lines("removed", "topic=orders", "partition=0")); n != 3 {
		t.Errorf("it was said %d times that messages were removed", n)
	}
	if lines := book.Lines("level=WARN"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}

func TestAgeKeepsWhatTheDefaultGroupHasNotConsumedAndSaysSoOnce(t *testing.T) {
	book, log := newLog()
	b := mustOpen(t, setup{dir: t.TempDir(), log: segments, wrap: atTheirTime, options: broker.Options{Retention: 7 * day, RetentionUnread: 1000 * day, Log: log}})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	days(t, topic, 10)
	pos := position(t, b, "default", "orders", 0)
	warned := func(want int) {
		t.Helper()
		if n := len(book.Lines("level=WARN", "topic=orders", "partition=0", "default")); n != want {
			t.Errorf("it was said %d times, not %d", n, want)
		}
	}
	later := newYear.Add(100 * day)
	consume(t, position(t, b, "house", "orders", 0), 0, 100) // has all
	retain(t, b, newYear)
	warned(0)
	for range 3 {
		retain(t, b, later)
	}
	mustStart(t, topic, 0)
	warned(1)
	consume(t, pos, 0, 35)
	retain(t, b, later)
	mustStart(t, topic, 30)
	warned(1)
	consume(t, pos, 35, 100)
	retain(t, b, later)
	mustStart(t, topic, 100)
	warned(1)
	publish(t, topic.Partitions()[0], newYear, 10, 350)
	retain(t, b, later)
	mustStart(t, topic, 100)
	warned(2) // it is held again
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	days(t, mustMake(t, b, "orders"), 1)
	consume(t, position(t, b, "default", "orders", 0), 0, 1)
	retain(t, b, later)
	warned(3) // another topic
}

func TestSizeRemovesEvenWhatNobodyHasConsumed(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), log: segments, options: broker.Options{RetentionBytes: 16 << 10}})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	days(t, topic, 20)
	retain(t, b, newYear)
	start, high := topic.Partitions()[0].Offsets()
	if size := topic.Partitions()[0].Size(); size > 16<<10 || size < 8<<10 || start == 0 || high != 200 {
		t.Errorf("%d bytes are left, from %d to %d", size, start, high)
	}
}

func TestRetentionLeavesEverythingAloneUnlessAsked(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), log: segments})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	days(t, topic, 5)
	consume(t, position(t, b, "default", "orders", 0), 0, 50)
	retain(t, b, newYear.Add(10_000*day))
	mustStart(t, topic, 0)
}

// retain removes what may go when all positions are durable.
func retain(t testing.TB, b *bus, now time.Time) {
	t.Helper()
	mustSync(t, b)
	b.Retain(now)
}

func TestRetentionNeverTouchesPositions(t *testing.T) {
	dir := t.TempDir()
	s := setup{dir: dir, log: segments, options: broker.Options{Partitions: 10, Retention: time.Nanosecond, RetentionBytes: 1}}
	b := mustOpen(t, s)
	mustMake(t, b, "orders")
	for i := range int64(200) {
		consume(t, position(t, b, "default", "orders", int(i%10)), i, i+1)
		mustSync(t, b)
	}
	retain(t, b, time.Now().Add(10_000*day))
	if n := positionsLogSize(t, b); n != 200 {
		t.Errorf("%d positions are left", n)
	}
	mustClose(t, b)
}
