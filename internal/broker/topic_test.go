package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/vfs/crashfs"
)

func TestTopicIsMadeOnceHoweverManyPublishFirst(t *testing.T) {
	var made atomic.Int32
	b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Partitions: 3}, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Create: func(s store.Store, name string, partitions int, config string) (store.Topic, error) {
			topic, err := s.CreateTopic(name, partitions, config)
			if err == nil {
				made.Add(1)
			}
			return topic, err
		}}
	}})
	defer mustClose(t, b)
	const publishers = 30
	got := make([]*broker.Topic, publishers)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			topic, err := b.MakeTopic("orders")
			if err != nil {
				t.Error(err)
			}
			got[i] = topic
		})
	}
	all.Wait()
	for _, topic := range got {
		if topic != got[0] || len(topic.Partitions()) != 3 {
			t.Fatalf("publishers got %v and %v", topic, got[0])
		}
	}
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

// The second publisher comes when the store has the topic and the broker has
// not seen it yet.
func TestSecondPublisherFindsTheTopicThatTheFirstJustMade(t *testing.T) {
	var b *bus
	second := make(chan error, 1)
	var asked atomic.Bool
	b = mustOpen(t, setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Create: func(s store.Store, name string, partitions int, config string) (store.Topic, error) {
			topic, err := s.CreateTopic(name, partitions, config)
			if !asked.CompareAndSwap(false, true) {
				return topic, err
			}
			answered := make(chan struct{})
			go func() {
				_, err := b.MakeTopic(name)
				second <- err
				close(answered)
			}()
			select {
			case <-answered:
			case <-time.After(50 * time.Millisecond): // it waits for the first to end: fine, too
			}
			return topic, err
		}}
	}})
	defer mustClose(t, b)
	mustMake(t, b, "orders")
	if err := <-second; err != nil {
		t.Errorf("the second publisher gets %v", err)
	}
}

func TestTopicsAreFoundAfterARestartWithTheirOwnPartitions(t *testing.T) {
	dir := t.TempDir()
	b := mustOpen(t, setup{dir: dir, options: broker.Options{Partitions: 3}})
	id := mustMake(t, b, "orders").ID
	mustClose(t, b)
	b = mustOpen(t, setup{dir: dir, options: broker.Options{Partitions: 5}})
	defer mustClose(t, b)
	for name, want := range map[string]int{"orders": 3, "new": 5} {
		if got := len(mustMake(t, b, name).Partitions()); got != want {
			t.Errorf("%s has %d partitions, not %d", name, got, want)
		}
	}
	if mustMake(t, b, "orders").ID != id {
		t.Error("it is another topic now")
	}
}

func TestUnknownTopicsAreNotMadeByAskingForThem(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	for range 2 {
		if _, err := b.Topic("orders"); !errors.Is(err, store.ErrUnknownTopic) {
			t.Errorf("%v", err)
		}
	}
}

func TestInternalTopicsAreNotForClientsToMake(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	for _, name := range []string{"__consumer_offsets", "__delayed", "__transaction_state", "__share_group_state", "__cluster_metadata", "__mbus", "__mbus_x"} {
		if _, err := b.MakeTopic(name); !errors.Is(err, broker.ErrInternalTopic) || !broker.Internal(name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"_x", "x__", "__", "__x", "__debezium-heartbeat.orders", "__delayed.dlq", "__delayedx", "_mbus"} {
		if mustMake(t, b, name); broker.Internal(name) {
			t.Errorf("%q is the clients'", name)
		}
	}
}

// A crowd is a store that has as many topics as there may be.
type crowd struct{ store.Store }

func (c crowd) Topics() []store.Topic {
	topics := make([]store.Topic, broker.MaxTopics)
	for i := range topics {
		topics[i] = store.Topic{Name: fmt.Sprintf("t%d", i), Partitions: 1}
	}
	return topics
}

func (c crowd) Partition(topic string, number int) (store.Partition, error) {
	if topic[0] == 't' {
		return unread{}, nil
	}
	return c.Store.Partition(topic, number)
}

// An unread partition has messages that nobody looks at.
type unread struct{ store.Partition }

func (unread) Offsets() (start, high int64) { return 0, filled }
func (unread) Sync(done func(error))        { done(nil) }

func TestTooManyTopicsAreRefusedAndPositionsKept(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store { return crowd{s} }})
	defer mustClose(t, b)
	if _, err := b.MakeTopic("one-more"); !errors.Is(err, broker.ErrTooManyTopics) || !strings.Contains(err.Error(), "100000") {
		t.Errorf("one more: %v", err)
	}
	mustMake(t, b, "t99999") // is there
	consume(t, position(t, b, "default", "t5", 0), 0, 10)
	mustSync(t, b)
}

// A wide store has a topic with nearly as many partitions as all may have.
type wide struct{ store.Store }

func (w wide) Topics() []store.Topic {
	return append(w.Store.Topics(), store.Topic{Name: "tall", Partitions: broker.MaxAllPartitions - 10})
}

func (w wide) Partition(topic string, number int) (store.Partition, error) {
	if topic == "tall" {
		return unread{}, nil
	}
	return w.Store.Partition(topic, number)
}

func TestPartitionsOfAllTopicsAreBounded(t *testing.T) {
	b := mustOpen(t, setup{disk: crashfs.New(), wrap: func(s store.Store) store.Store { return wide{s} }})
	defer mustClose(t, b)
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, broker.ErrTooManyTopics) || !strings.Contains(err.Error(), "200000") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 3 { // what was refused takes nothing
		_, err := b.CreateTopic("big", 11, nil)
		refused("a topic of 11 where 10 are left", err)
	}
	if _, err := b.CreateTopic("orders", 4, nil); err != nil {
		t.Fatal(err)
	}
	refused("7 more where 6 are left", b.AddPartitions("orders", 11))
	if err := b.AddPartitions("orders", 10); err != nil {
		t.Fatal(err)
	}
	_, err := b.MakeTopic("one-more")
	refused("one more", err)
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CreateTopic("others", 10, nil); err != nil {
		t.Errorf("with a topic of 10 deleted: %v", err)
	}
}

func TestKeysGoWhereKafkasDefaultPartitionerPutsThem(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("orders")
	for _, partitions := range []int{1, 2, 3, 16, 1000} {
		for i := range 500 {
			key := make([]byte, i%40)
			for j := range key {
				key[j] = byte(rng.Uint32())
			}
			want := theirs.Partition(&kgo.Record{Key: key}, partitions)
			if got := broker.ForKey(key, partitions); got != want {
				t.Fatalf("key %x of %d partitions goes to %d, not %d", key, partitions, got, want)
			}
		}
	}
}

func TestMessagesWithoutKeysGoToEachPartitionInTurn(t *testing.T) {
	var topic broker.Topic
	counts := make([]int, 3)
	for range 300 {
		counts[topic.Next(len(counts))]++
	}
	for i, n := range counts {
		if n != 100 {
			t.Errorf("partition %d was chosen %d times of 300", i, n)
		}
	}
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	limits := broker.DefaultLimits()
	limits.MaxInFlight = 1000
	b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Limits: limits}})
	defer mustClose(t, b)
	if !b.Budget.Take(1000) || b.Budget.Take(1) {
		t.Fatal("it is not 1000")
	}
	b.Budget.Give(1000)
	var held atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 2000 {
				n := i%400 + 1
				if !b.Budget.Take(n) {
					continue
				}
				if now := held.Add(int64(n)); now > 1000 {
					t.Errorf("%d bytes are held", now)
				}
				held.Add(-int64(n))
				b.Budget.Give(n)
			}
		})
	}
	all.Wait()
	if !b.Budget.Take(1000) {
		t.Error("what was given back is not there")
	}
	b.Budget.Give(1000)
}
