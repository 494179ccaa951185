package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// manyWaiting is batches with n messages that are due at a time, one after the other if apart
// is not 0, closed when they are large enough.
func manyWaiting(at time.Time, apart time.Duration, n int) []byte {
	var b batch.Builder
	for i := range n {
		b.Add(1, nil, fmt.Append(nil, i), deliverAtHeader(at.Add(time.Duration(i)*apart)))
		if b.OpenSize() >= broker.TargetBatch {
			b.Close(0)
		}
	}
	b.Close(0)
	return b.Bytes()
}

// ordered says whether values are the numbers from 0 to n-1.
func ordered(values []string, n int) bool {
	for i, v := range values {
		if v != fmt.Sprint(i) {
			return false
		}
	}
	return len(values) == n
}

// Of a partition's log each batch is read once, however many of its messages are due.
func TestACrowdIsReadOnceAndDeliveredInOrder(t *testing.T) {
	const n = 20_000
	for name, come := range map[string]func(p *broker.Partition, at time.Time) error{
		"together": func(p *broker.Partition, at time.Time) error {
			_, err := p.AppendAndWait(manyWaiting(at, 0, n))
			return err
		},
		"compressed": func(p *broker.Partition, at time.Time) error {
			_, err := p.AppendAndWait(batchtest.Compress(t, codec.Gzip, oneBatch(at, n)))
			return err
		},
		"backwards": func(p *broker.Partition, at time.Time) error { // the last due message is first in the log
			for i := n - 1000; i >= 0; i -= 1000 {
				var b batch.Builder
				for j := range 1000 {
					b.Add(1, nil, fmt.Append(nil, i+j), deliverAtHeader(at.Add(time.Duration(i+j)/10*time.Millisecond)))
				}
				b.Close(0)
				if _, err := p.AppendAndWait(b.Bytes()); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var read atomic.Int64
			clock := &stoppedClock{at: time.UnixMilli(time.Now().UnixMilli())}
			s := setup{dir: t.TempDir(), wrap: func(st store.Store) store.Store {
				return &storefault.Store{Store: st, Read: func(p store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error {
					err := p.Read(offset, maxBytes, c)
					if topic == broker.DelayedTopic {
						read.Add(int64(c.Len()))
					}
					return err
				}}
			}}
			s.options.Now = clock.now
			b := mustOpen(t, s)
			defer mustClose(t, b)
			orders := mustMake(t, b, "orders").Partitions()[0]
			if err := come(orders, clock.at.Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			delayed, err := b.Topic(broker.DelayedTopic)
			if err != nil {
				t.Fatal(err)
			}
			size := delayed.Partitions()[0].Size()
			clock.jump(4 * time.Second)
			awaitEnd(t, orders, n)
			if got := arrivedFast(t, orders); !ordered(got, n) {
				t.Errorf("they are not in order: %d, first %q", len(got), got[:min(10, len(got))])
			}
			if most := 3 * size; read.Load() > most {
				t.Errorf("%d bytes were read of %d", read.Load(), size)
			}
			if bytes := orders.Size(); bytes > 200*n {
				t.Errorf("in the topic they take %d bytes", bytes)
			}
		})
	}
}

// oneBatch is one batch with n messages that are due at a time.
func oneBatch(at time.Time, n int) batch.Batch {
	var b batch.Builder
	for i := range n {
		b.Add(1, nil, fmt.Append(nil, i), deliverAtHeader(at))
	}
	b.Close(0)
	return b.Bytes()
}

// jump puts the clock ahead, by less than what is taken for a jump, and has it run.
func (c *stoppedClock) jump(by time.Duration) {
	c.mu.Lock()
	c.at = c.at.Add(by)
	c.mu.Unlock()
	c.run()
}

// arrivedFast reads the values in a topic, batch by batch.
func arrivedFast(t *testing.T, p *broker.Partition) (values []string) {
	t.Helper()
	list, err := storetest.ReadWith(p.Offsets, p.Fetch, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var it batch.Iterator
	for _, b := range list {
		if err := it.Reset(b.Bytes); err != nil {
			t.Fatal(err)
		}
		for it.Next() {
			values = append(values, string(it.Record().Value))
		}
	}
	return values
}

// A store can refuse or hold appends of one topic.
func TestATopicThatIsStuckHoldsUpNoOther(t *testing.T) {
	brokertest.Slow(t)
	for name, stuck := range map[string]func(free chan struct{}, p store.Partition, batches []byte, done func(int64, error)) error{
		"its sync hangs": func(free chan struct{}, p store.Partition, batches []byte, done func(int64, error)) error {
			return store.Append(p, batches, func(base int64, err error) {
				go func() {
					<-free
					done(base, err)
				}()
			})
		},
		"its log has failed": func(free chan struct{}, p store.Partition, batches []byte, done func(int64, error)) error {
			select {
			case <-free:
				return store.Append(p, batches, done)
			default:
				return store.ErrFailed
			}
		},
		"it is full": func(free chan struct{}, p store.Partition, batches []byte, done func(int64, error)) error {
			select {
			case <-free:
				return store.Append(p, batches, done)
			default:
				return store.ErrFull
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			free := make(chan struct{})
			clock := &stoppedClock{at: time.Now()}
			b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Now: clock.now}, wrap: func(st store.Store) store.Store {
				return &storefault.Store{Store: st, Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
					if topic == "stuck" {
						return stuck(free, p, batches, done)
					}
					return store.Append(p, batches, done)
				}}
			}})
			defer mustClose(t, b)
			at := clock.at.Add(time.Second)
			held, others := mustMake(t, b, "stuck").Partitions()[0], mustMake(t, b, "others").Partitions()[0]
			if _, err := held.AppendAndWait(manyWaiting(at, 0, 5000)); err != nil {
				t.Fatal(err)
			}
			if _, err := others.AppendAndWait(manyWaiting(at.Add(10*time.Millisecond), 0, 5000)); err != nil {
				t.Fatal(err)
			}
			clock.jump(2 * time.Second)
			awaitEnd(t, others, 5000)
			close(free)
			awaitEnd(t, held, 5000)
			if got := arrivedFast(t, held); !ordered(got, 5000) {
				t.Errorf("what was held is not in order: %d", len(got))
			}
		})
	}
}

// More partitions than are delivered to at a time, all with a crowd: they take turns.
func TestManyCrowdsTakeTurns(t *testing.T) {
	const topics, n = 80, 300
	clock := &stoppedClock{at: time.Now()}
	s := setup{dir: t.TempDir(), log: lazily}
	s.options.Now = clock.now
	b := mustOpen(t, s)
	defer mustClose(t, b)
	for i := range topics {
		if _, err := mustMake(t, b, fmt.Sprint("t", i)).Partitions()[0].AppendAndWait(manyWaiting(clock.at.Add(time.Second), time.Millisecond, n)); err != nil {
			t.Fatal(err)
		}
	}
	clock.jump(4 * time.Second)
	for i := range topics {
		p := mustMake(t, b, fmt.Sprint("t", i)).Partitions()[0]
		awaitEnd(t, p, n)
		if got := arrivedFast(t, p); !ordered(got, n) {
			t.Errorf("topic %d is not in order: %q", i, got)
		}
	}
}

// Large messages are read a few at a time.
func TestACrowdOfLargeMessagesIsDelivered(t *testing.T) {
	const n = 30
	clock := &stoppedClock{at: time.Now()}
	s := setup{dir: t.TempDir()}
	s.options.Now = clock.now
	b := mustOpen(t, s)
	defer mustClose(t, b)
	p := mustMake(t, b, "orders").Partitions()[0]
	for i := range n {
		if _, err := p.AppendAndWait(waiting(clock.at.Add(time.Second), fmt.Sprint(i, strings.Repeat(" ", 900_000)))); err != nil {
			t.Fatal(err)
		}
	}
	clock.jump(2 * time.Second)
	awaitEnd(t, p, n)
	for i, v := range arrivedFast(t, p) {
		if strings.TrimSpace(v) != fmt.Sprint(i) {
			t.Errorf("message %d is %.10q", i, v)
		}
	}
}

// The compaction runs again and again while messages are delivered: each comes once, in
// the order of its partition, and after a restart none waits any more.
func TestWhatIsMovedWhileItIsDeliveredComesOnce(t *testing.T) {
	brokertest.Slow(t)
	disk := crashfs.New()
	s := delaysOf(disk, 1)
	b := mustOpen(t, s)
	var logs []*broker.Partition
	for i := range 3 {
		topic, err := b.CreateTopic(fmt.Sprint("t", i), 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, topic.Partitions()...)
	}
	start := time.Now()
	sent := make([]int, len(logs))
	for i := range 1500 {
		n := rand.IntN(len(logs))
		at := start.Add(time.Duration(rand.IntN(600)) * time.Millisecond)
		if _, err := logs[n].AppendAndWait(waiting(at, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		sent[n]++
	}
	for i, p := range logs {
		awaitEnd(t, p, int64(sent[i]))
	}
	mustClose(t, b)
	b = mustOpen(t, s)
	defer mustClose(t, b)
	if left := stillWaiting(t, b); len(left) > 0 {
		t.Errorf("there wait %v", left)
	}
	total := make(map[string]int)
	for i := range 3 {
		topic, err := b.Topic(fmt.Sprint("t", i))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range topic.Partitions() {
			for _, v := range arrivedFast(t, p) {
				total[v]++
			}
		}
	}
	for v, n := range total {
		if n != 1 {
			t.Errorf("%s came %d times", v, n)
		}
	}
	if len(total) != 1500 {
		t.Errorf("%d came", len(total))
	}
}

// A message is in its topic, and noted, and the topic is not synced: a power cut must
// find it in one of both logs.
func TestIntervalSyncKeepsADelayedMessageInOneOfBothLogs(t *testing.T) {
	disk := crashfs.New()
	clock := &stoppedClock{at: time.Now()}
	s := setup{disk: disk, log: commitlog.Options{SyncEvery: time.Hour}}
	s.options.Now = clock.now
	b := mustOpen(t, s)
	for i := range 2 {
		p := mustMake(t, b, fmt.Sprint("t", i)).Partitions()[0]
		if _, err := p.AppendAndWait(manyWaiting(clock.at.Add(time.Second), 0, 10)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, b) // synced
	b = mustOpen(t, s)
	clock.jump(2 * time.Second)
	for i := range 2 {
		awaitEnd(t, mustMake(t, b, fmt.Sprint("t", i)).Partitions()[0], 10)
	}
	await(t, "all is noted", func() bool { return len(stillWaiting(t, b)) == 0 })
	after := mustOpen(t, setup{disk: disk.Crash(crashfs.Nothing()), options: broker.Options{Now: clock.now}})
	for i := range 2 {
		p := mustMake(t, after, fmt.Sprint("t", i)).Partitions()[0]
		awaitEnd(t, p, 10)
	}
	mustClose(t, after)
	_ = b.Close() // of the dead one
}

// With an interval a message is noted as delivered only when its topic holds it durably,
// so that nothing depends on the note being read with care after a crash.
func TestIntervalSyncNotesADelayedMessageWhenItsTopicIsSynced(t *testing.T) {
	disk := crashfs.New()
	clock := &stoppedClock{at: time.Now()}
	s := setup{disk: disk, log: commitlog.Options{SyncEvery: time.Hour}}
	s.options.Now = clock.now
	b := mustOpen(t, s)
	defer mustClose(t, b)
	p := mustMake(t, b, "orders").Partitions()[0]
	if _, err := p.AppendAndWait(manyWaiting(clock.at.Add(time.Second), 0, 10)); err != nil {
		t.Fatal(err)
	}
	var dirty, early atomic.Bool
	disk.SetHook(func(c crashfs.Call) error {
		switch {
		case !strings.HasSuffix(c.Name, ".log"):
		case strings.Contains(c.Name, "/orders/"):
			dirty.Store(c.Op == crashfs.WriteAt || dirty.Load() && c.Op != crashfs.Sync)
		case strings.Contains(c.Name, "/"+broker.DelayedTopic+"/") && c.Op == crashfs.WriteAt && dirty.Load():
			early.Store(true)
		}
		return nil
	})
	clock.jump(2 * time.Second)
	awaitEnd(t, p, 10)
	await(t, "all is noted", func() bool { return len(stillWaiting(t, b)) == 0 })
	if early.Load() {
		t.Error("messages were noted as delivered before they were durable in their topic")
	}
}

// The half for now is refused: the batch is not stored, and once it is sent again each
// message is there once.
func TestABatchOfWhichOneHalfIsRefusedIsNotStored(t *testing.T) {
	for name, c := range map[string]struct {
		refuse string // the topic whose log is full
		number bool   // an idempotent producer sends it
	}{
		"the half for now":                   {"orders", false},
		"the half that waits":                {broker.DelayedTopic, false},
		"the half for now, idempotent":       {"orders", true},
		"the half that waits, of idempotent": {broker.DelayedTopic, true},
	} {
		t.Run(name, func(t *testing.T) {
			disk := crashfs.New()
			clock := &stoppedClock{at: time.Now()}
			s := setup{disk: disk}
			s.options.Now = clock.now
			b := mustOpen(t, s)
			topic := mustMake(t, b, "orders")
			if err := produced(b, topic, waiting(clock.at.Add(time.Hour), "far 0")); err != nil { // makes the log
				t.Fatal(err)
			}
			if err := produced(b, topic, batchtest.Values("first")); err != nil {
				t.Fatal(err)
			}
			p := halves(clock.at.Add(time.Second), "now", "later")
			if c.number {
				p = batchtest.Idempotent(p, 7, 0, 0)
			}
			disk.SetHook(func(call crashfs.Call) error {
				if call.Op == crashfs.WriteAt && strings.Contains(call.Name, "/"+c.refuse+"/") && strings.HasSuffix(call.Name, ".log") {
					return syscall.ENOSPC
				}
				return nil
			})
			if err := produced(b, topic, slices.Clone(p)); !errors.Is(err, store.ErrFull) {
				t.Fatalf("on a full disk: %v", err)
			}
			disk.SetHook(nil)
			if err := produced(b, topic, slices.Clone(p)); err != nil {
				t.Fatalf("with space again: %v", err)
			}
			await(t, "one of them waits", func() bool { w := stillWaiting(t, b); return len(w) == 2 && w["later"] == 1 })
			mustClose(t, b)
			b = mustOpen(t, s)
			defer mustClose(t, b)
			clock.jump(2 * time.Second)
			log := mustMake(t, b, "orders").Partitions()[0]
			awaitEnd(t, log, 3)
			if got := fmt.Sprint(arrived(t, log)); got != "[first now later]" {
				t.Errorf("there are %s", got)
			}
		})
	}
}
