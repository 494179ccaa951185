package broker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
)

// deliverAtHeader has a message be due at a time.
func deliverAtHeader(at time.Time) batch.Header {
	return batch.Header{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, at.UnixMilli(), 10)}
}

// halves is a batch with a message for now and one that waits.
func halves(at time.Time, now, later string) batch.Batch {
	var b batch.Builder
	b.Add(1, nil, []byte(now))
	b.Add(1, nil, []byte(later), deliverAtHeader(at))
	b.Close(0)
	return b.Bytes()
}

// produced hands a batch to the broker and waits for the answer.
func produced(b *bus, t *broker.Topic, p batch.Batch) error {
	answer := make(chan error, 1)
	if err := begin(b, t, 0, p, func(_ int64, err error) { answer <- err }); err != nil {
		return err
	}
	return <-answer
}

// Whatever way a message comes in: who still has the topic that was deleted is refused.
func TestADelayedMessageForADeletedTopicIsRefusedAsOthersAre(t *testing.T) {
	later := time.Now().Add(time.Hour)
	ways := map[string]func(b *bus, old *broker.Topic) error{
		"appended": func(_ *bus, old *broker.Topic) error {
			_, err := old.Partitions()[0].AppendAndWait(waiting(later, "far 1"))
			return err
		},
		"produced": func(b *bus, old *broker.Topic) error { return produced(b, old, waiting(later, "far 1")) },
		"compressed": func(b *bus, old *broker.Topic) error {
			return produced(b, old, batchtest.Compress(t, codec.Gzip, waiting(later, "far 1")))
		},
		"both halves": func(b *bus, old *broker.Topic) error {
			return produced(b, old, halves(later, "now", "far 1"))
		},
		"idempotent": func(b *bus, old *broker.Topic) error {
			return produced(b, old, batchtest.Idempotent(waiting(later, "far 1"), 7, 0, 1))
		},
		"at once, to compare": func(b *bus, old *broker.Topic) error { return produced(b, old, batchtest.Values("now")) },
	}
	for way, publish := range ways {
		t.Run(way, func(t *testing.T) {
			b := mustOpen(t, setup{dir: t.TempDir()})
			defer mustClose(t, b)
			old := mustMake(t, b, "orders")
			if err := produced(b, old, batchtest.Idempotent(waiting(later, "far 0"), 7, 0, 0)); err != nil {
				t.Fatal(err)
			}
			if err := b.DeleteTopic("orders"); err != nil {
				t.Fatal(err)
			}
			for range 2 { // without the topic, and with the new one
				if err := publish(b, old); !errors.Is(err, store.ErrDeleted) {
					t.Fatalf("it was answered %v", err)
				}
				mustMake(t, b, "orders")
			}
			await(t, "nothing waits", func() bool { return len(stillWaiting(t, b)) == 0 })
		})
	}
}

// The topic is deleted when the message has been written and is not answered yet.
func TestADelayedMessageWhoseTopicIsDeletedBeforeTheAnswerIsRefused(t *testing.T) {
	hold, written := make(chan struct{}), make(chan struct{})
	b := mustOpen(t, setup{dir: t.TempDir(), wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
			if topic != broker.DelayedTopic {
				return store.Append(p, batches, done)
			}
			return store.Append(p, batches, func(base int64, err error) {
				go func() {
					written <- struct{}{}
					<-hold
					done(base, err)
				}()
			})
		}}
	}})
	old := mustMake(t, b, "orders")
	answer := make(chan error, 1)
	go func() { answer <- produced(b, old, waiting(time.Now().Add(time.Hour), "far 0")) }()
	<-written
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for range written { // the notes
		}
	}()
	close(hold)
	if err := <-answer; !errors.Is(err, store.ErrDeleted) {
		t.Fatalf("it was answered %v", err)
	}
	await(t, "nothing waits", func() bool { return len(stillWaiting(t, b)) == 0 })
	mustClose(t, b)
}

func TestWhatIsDroppedWithItsTopicIsLoggedOnce(t *testing.T) {
	book, logger := newLog()
	dir := t.TempDir()
	s := setup{dir: dir}
	s.options.Log = logger
	b := mustOpen(t, s)
	topic, err := b.CreateTopic("orders", 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		if _, err := topic.Partitions()[i%3].AppendAndWait(waiting(time.Now().Add(time.Hour), fmt.Sprint("gone ", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	await(t, "nothing waits", func() bool { return len(stillWaiting(t, b)) == 0 })
	mustClose(t, b)
	b = mustOpen(t, s)
	mustClose(t, b)
	lines := book.Lines("dropped")
	if len(lines) != 1 || !strings.Contains(lines[0], "topic=orders") || !strings.Contains(lines[0], "messages=12") {
		t.Errorf("the log says %q", lines)
	}
}

// A topic is deleted and created again all the time while delayed messages are published to
// it. What was acknowledged is in the incarnation that was published to, if that has not
// been deleted since, and never in another one.
func TestDelayedMessagesThatRaceDeletionsBelongToTheirIncarnation(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), log: lazily})
	defer mustClose(t, b)
	var mu sync.Mutex
	acked := make(map[string]bool) // by what says which incarnation and message it is
	var all sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 3 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				topic, err := b.MakeTopic("orders")
				if err != nil {
					t.Errorf("make: %v", err)
					return
				}
				text := fmt.Sprintf("%x %d %d", topic.ID, worker, i)
				switch err := produced(b, topic, halves(time.Now().Add(5*time.Millisecond), "now "+text, "later "+text)); {
				case err == nil:
					mu.Lock()
					acked["later "+text] = true
					acked["now "+text] = true
					mu.Unlock()
				case !errors.Is(err, store.ErrDeleted):
					t.Errorf("produce: %v", err)
				}
			}
		})
	}
	for range 30 {
		time.Sleep(10 * time.Millisecond) // some are due, some are not
		if err := b.DeleteTopic("orders"); err != nil && !errors.Is(err, store.ErrUnknownTopic) {
			t.Fatal(err)
		}
	}
	close(stop)
	all.Wait()
	last := mustMake(t, b, "orders")
	await(t, "all that was acknowledged is there", func() bool {
		found := make(map[string]bool)
		for _, v := range arrived(t, last.Partitions()[0]) {
			if !strings.Contains(v, fmt.Sprintf(" %x ", last.ID)) {
				t.Fatalf("%q is in the topic %x", v, last.ID)
			}
			found[v] = true
		}
		mu.Lock()
		defer mu.Unlock()
		for text := range acked {
			if strings.Contains(text, fmt.Sprintf(" %x ", last.ID)) && !found[text] {
				return false
			}
		}
		return true
	})
}

// A disk is not mounted, or a directory has been moved: what waits for a topic that is
// missing waits on, and comes when the topic is there again.
func TestADelayedMessageForATopicThatIsMissingWaits(t *testing.T) {
	clock := &stoppedClock{at: time.Now()}
	s := setup{dir: t.TempDir()}
	s.options.Now = clock.now
	b := mustOpen(t, s)
	mustMake(t, b, "others")
	if _, err := mustMake(t, b, "orders").Partitions()[0].AppendAndWait(waiting(clock.at.Add(time.Second), "in time")); err != nil {
		t.Fatal(err)
	}
	mustClose(t, b)
	topic, away := filepath.Join(s.dir, "topics", "orders"), filepath.Join(t.TempDir(), "orders")
	if err := os.Rename(topic, away); err != nil {
		t.Fatal(err)
	}
	book, logger := newLog()
	s.options.Log = logger
	b = mustOpen(t, s)
	clock.jump(2 * time.Second)
	await(t, "it is reported", func() bool {
		return len(book.Lines("level=ERROR", "delayed messages can't be put into their topic", "topic=orders")) == 1
	})
	if _, err := mustMake(t, b, "others").Partitions()[0].AppendAndWait(waiting(clock.now().Add(time.Millisecond), "goes on")); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, mustMake(t, b, "others").Partitions()[0], 1)
	mustClose(t, b)
	if lines := book.Lines("dropped"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
	if err := os.Rename(away, topic); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	log := mustMake(t, b, "orders").Partitions()[0]
	awaitEnd(t, log, 1)
	if got := fmt.Sprint(arrived(t, log)); got != "[in time]" {
		t.Errorf("%s", got)
	}
}

// A topic's directory may be one of an older copy.
func TestADelayedMessageForAPartitionThatIsNotThereIsDelivered(t *testing.T) {
	brokertest.Slow(t)
	clock := &stoppedClock{at: time.Now()}
	s := setup{dir: t.TempDir()}
	s.options.Now = clock.now
	var fewer func(st store.Store) store.Store
	s.wrap = func(st store.Store) store.Store {
		if fewer != nil {
			return fewer(st)
		}
		return st
	}
	b := mustOpen(t, s)
	topic, err := b.CreateTopic("orders", 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Partitions()[2].AppendAndWait(waiting(clock.at.Add(time.Second), "for the third")); err != nil {
		t.Fatal(err)
	}
	mustClose(t, b)
	fewer = func(st store.Store) store.Store { return &shrunk{st} }
	b = mustOpen(t, s)
	defer mustClose(t, b)
	clock.run()
	topic, err = b.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, topic.Partitions()[0], 1)
}

// A shrunk store has topics of one partition only.
type shrunk struct{ store.Store }

func (s *shrunk) Topics() []store.Topic {
	all := s.Store.Topics()
	for i := range all {
		all[i].Partitions = 1
	}
	return all
}
