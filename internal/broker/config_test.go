package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// configure sets configurations of a topic.
func configure(t testing.TB, b *bus, topic string, configs ...string) {
	t.Helper()
	err := b.Configure(topic, func(own map[string]string) error {
		for i := 0; i < len(configs); i += 2 {
			own[configs[i]] = configs[i+1]
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What no group of those who lease messages has begun to read goes by age, as in Kafka.
func TestATopicsOwnAgeRemovesWhatNobodyHasConsumed(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), log: segments, wrap: atTheirTime, options: broker.Options{Retention: 100 * day}})
	defer mustClose(t, b)
	orders, other := mustMake(t, b, "orders"), mustMake(t, b, "other")
	days(t, orders, 10)
	days(t, other, 10)
	configure(t, b, "orders", broker.ConfigRetention, fmt.Sprint(3*day.Milliseconds()))
	b.Retain(newYear.Add(6*day + time.Hour))
	mustStart(t, orders, 40)
	mustStart(t, other, 0)
	configure(t, b, "orders", broker.ConfigRetention, "-1")
	b.Retain(newYear.Add(1000 * day))
	mustStart(t, orders, 40)
	configure(t, b, "orders", broker.ConfigRetention, fmt.Sprint(1<<63-1))
	b.Retain(newYear.Add(1000 * day))
	mustStart(t, orders, 40)
}

func TestATopicsOwnSizeIsKept(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), log: segments})
	defer mustClose(t, b)
	orders, other := mustMake(t, b, "orders"), mustMake(t, b, "other")
	days(t, orders, 20)
	days(t, other, 20)
	configure(t, b, "orders", broker.ConfigRetentionBytes, fmt.Sprint(16<<10))
	b.Retain(newYear)
	if size := orders.Partitions()[0].Size(); size > 16<<10 || size < 8<<10 {
		t.Errorf("%d bytes are left", size)
	}
	mustStart(t, other, 0)
}

// A topic may have a larger batch than the broker: it is kept, and the broker's bound holds.
func TestTheLargestBatchIsTheBrokersAtMost(t *testing.T) {
	dir := t.TempDir()
	b := mustOpen(t, setup{dir: dir})
	mustMake(t, b, "orders")
	configure(t, b, "orders", broker.ConfigMaxBatch, "100000")
	mustClose(t, b)
	limits := broker.DefaultLimits()
	for maxMessage, want := range map[int]int{1000: 1000 + broker.BatchSlack, 1 << 20: 100_000} {
		limits.MaxMessage = maxMessage
		b = mustOpen(t, setup{dir: dir, options: broker.Options{Limits: limits}})
		orders := mustMake(t, b, "orders")
		if orders.MaxBatch() != want || orders.Config()[broker.ConfigMaxBatch] != "100000" {
			t.Errorf("with messages of %d: largest batch %d, want %d; %v", maxMessage, orders.MaxBatch(), want, orders.Config())
		}
		mustClose(t, b)
	}
}

// A later version may have written it.
func TestAConfigurationThatIsNotKnownIsLeftOutAndSaid(t *testing.T) {
	dir := t.TempDir()
	b := mustOpen(t, setup{dir: dir})
	mustMake(t, b, "orders")
	mustClose(t, b)
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Configure("orders", `{"colour":"blue","retention.ms":"5","segment.ms":"x"}`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	book, log := newLog()
	b = mustOpen(t, setup{dir: dir, options: broker.Options{Limits: broker.DefaultLimits(), Log: log}})
	defer mustClose(t, b)
	if own := mustMake(t, b, "orders").Config(); len(own) != 1 || own[broker.ConfigRetention] != "5" {
		t.Errorf("%v", own)
	}
	if lines := book.Lines("level=WARN", "topic=orders"); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}

// Kafka had one bound for both before it had two.
func TestTheBoundOnBothSidesOfAMessagesTimeGivesWayToThoseForOne(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	orders := mustMake(t, b, "orders")
	now := time.Now().UnixMilli()
	configure(t, b, "orders", broker.ConfigTimestampDifference, "10000000", broker.ConfigTimestampAfter, "1000000")
	for offset, taken := range map[int64]bool{0: true, 900_000: true, 2_000_000: false, -9_000_000: true, -11_000_000: false} {
		if err := b.CheckTimes(orders, now+offset, now+offset); (err == nil) != taken {
			t.Errorf("%d ms from now: %v", offset, err)
		}
	}
}

func TestWhatCanNotBeConfiguredIsRefused(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustMake(t, b, "orders")
	mistake := errors.New("a mistake")
	for _, test := range []struct {
		topic string
		own   map[string]string
		err   error
		want  error
	}{
		{"orders", map[string]string{"colour": "blue"}, nil, broker.ErrConfig},
		{"orders", map[string]string{broker.ConfigRetention: "x"}, nil, broker.ErrConfig},
		{"orders", nil, mistake, mistake},
		{"none", nil, nil, store.ErrUnknownTopic},
	} {
		err := b.Configure(test.topic, func(own map[string]string) error {
			for name, value := range test.own {
				own[name] = value
			}
			return test.err
		})
		if !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if _, err := b.CreateTopic("new", 1, map[string]string{"colour": "blue"}); !errors.Is(err, broker.ErrConfig) {
		t.Errorf("a topic is made: %v", err)
	}
}

// A message that waits gets the time at which it is put into its topic.
func TestAMessageThatWaitsIsStampedWhenItIsDelivered(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	configure(t, b, "orders", broker.ConfigTimestamps, broker.LogAppendTime)
	due := time.Now().Add(50 * time.Millisecond)
	if _, err := topic.Partitions()[0].AppendAndWait(waiting(due, "later")); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, topic.Partitions()[0], 1)
	err := broker.WithRecord(topic.Partitions()[0], 0, func(r *batch.Record) error {
		if r.Timestamp < due.UnixMilli() || r.Timestamp > time.Now().UnixMilli() {
			t.Errorf("its time is %d, it was due at %d", r.Timestamp, due.UnixMilli())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTimesOfTheLogAscendWhoeverAppends(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	configure(t, b, "orders", broker.ConfigTimestamps, broker.LogAppendTime)
	log := topic.Partitions()[0]
	errs := make(chan error)
	for range 4 {
		go func() {
			var err error
			for range 50 {
				var one batch.Builder
				one.Add(1, nil, []byte("m"))
				one.Close(0)
				if _, e := log.AppendAndWait(one.Bytes()); e != nil {
					err = e
				}
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	last := int64(2)
	for offset := range int64(200) {
		err := broker.WithRecord(log, offset, func(r *batch.Record) error {
			if r.Timestamp < last {
				t.Errorf("offset %d has the time %d, the one before %d", offset, r.Timestamp, last)
			}
			last = r.Timestamp
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
