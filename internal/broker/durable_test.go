package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A watch says which topics have messages that are written and not synced, and reports
// positions that are written meanwhile.
type watch struct {
	t     testing.TB
	mu    sync.Mutex
	dirty map[string]bool
	seen  int // writes of positions
}

// topicOf is the topic of a segment; empty for other files.
func topicOf(name string) string {
	parts := strings.Split(name, "/")
	if len(parts) < 3 || !strings.HasSuffix(name, ".log") {
		return ""
	}
	return parts[len(parts)-3]
}

// patientLimits are those of a broker whose positions wait for syncs however slow the
// machine is.
func patientLimits() broker.Limits {
	l := broker.DefaultLimits()
	l.PositionsPause, l.SyncPatience = 0, patience
	return l
}

func watchDisk(t testing.TB, disk *crashfs.FS) *watch {
	w := &watch{t: t, dirty: make(map[string]bool)}
	disk.SetHook(func(c crashfs.Call) error {
		topic := topicOf(c.Name)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case topic == "":
		case c.Op == crashfs.WriteAt && topic == broker.PositionsTopic:
			w.seen++
			for name, dirty := range w.dirty {
				if dirty {
					t.Errorf("positions are written, and topic %q is not synced", name)
				}
			}
		case c.Op == crashfs.WriteAt:
			w.dirty[topic] = true
		case c.Op == crashfs.Sync:
			w.dirty[topic] = false
		}
		return nil
	})
	return w
}

// written waits for positions to be written.
func (w *watch) written(what string) {
	w.t.Helper()
	await(w.t, "positions are written: "+what, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.seen == 0 {
			return false
		}
		w.seen = 0
		return true
	})
}

func TestPositionsAreWrittenWhenTheirLogsAreSynced(t *testing.T) {
	s := setup{disk: crashfs.New(), options: broker.Options{Limits: patientLimits()}, log: lazily}
	b := mustOpen(t, s)
	defer mustClose(t, b)
	orders, stock := mustMake(t, b, "orders"), mustMake(t, b, "stock")
	publish(t, stock.Partitions()[0], time.Now(), 2, 10)
	mustCommit(t, b, "billing", group.Commit{Topic: "stock", Offset: 1}) // makes their topic
	w := watchDisk(t, s.disk)
	for i, use := range map[string]func(from, to int64){
		"acknowledged": func(from, to int64) { consume(t, position(t, b, "default", "orders", 0), from, to) },
		"committed": func(_, to int64) {
			mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: to})
		},
		"reset": func(from, _ int64) {
			if err := b.ResetOffsets("other", orders, []int64{from}); err != nil {
				t.Error(err)
			}
		},
	} {
		for range 5 {
			publish(t, orders.Partitions()[0], time.Now(), 1, 10)
			_, high := orders.Partitions()[0].Offsets()
			use(position(t, b, "default", "orders", 0).Committed(), high)
			w.written(i)
			mustSync(t, b)
		}
	}
	publish(t, stock.Partitions()[0], time.Now(), 1, 10)
	w.mu.Lock()
	w.dirty["stock"] = false // nobody's position relies on it
	w.mu.Unlock()
	publish(t, orders.Partitions()[0], time.Now(), 1, 10)
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 3})
	w.written("of another topic")
}

// Compaction writes positions as they are then, which may be newer than what it was begun
// for.
func TestCompactionWritesPositionsWhenTheirLogsAreSynced(t *testing.T) {
	var written, synced, compacted atomic.Int64
	s := setup{disk: crashfs.New(), options: broker.Options{Limits: patientLimits()}, log: lazily, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(inner store.Partition, topic string, p []byte, done func(int64, error)) error {
			if topic == broker.PositionsTopic {
				if at := positionIn(t, p, "orders"); at > synced.Load() {
					t.Errorf("a position is written at %d, and orders is synced up to %d", at, synced.Load())
				} else if at > 0 {
					compacted.Store(at)
				}
			}
			return store.Append(inner, p, done)
		}}
	}}
	b := mustOpen(t, s)
	defer mustClose(t, b)
	orders, stock := mustMake(t, b, "orders").Partitions()[0], mustMake(t, b, "stock")
	s.disk.SetHook(func(c crashfs.Call) error {
		switch {
		case topicOf(c.Name) != "orders":
		case c.Op == crashfs.WriteAt: // of one message
			written.Add(1)
		case c.Op == crashfs.Sync:
			synced.Store(written.Load())
		}
		return nil
	})
	commits := make([]group.Commit, 1000)
	for i := range commits {
		commits[i] = group.Commit{Topic: stock.Name, Partition: i}
	}
	p := position(t, b, "billing", "orders", 0)
	for n := range int64(25) {
		publish(t, orders, time.Now(), 1, 10)
		done := make(chan []error, 1)
		b.CommitOffsets("busy", commits, func(errs []error) { done <- errs })
		consume(t, p, n, n+1) // while that is written, or compacted before
		<-done
	}
	mustSync(t, b)
	if start, _ := offsets(t, b, broker.PositionsTopic); start == 0 || compacted.Load() != 25 {
		t.Errorf("the positions log begins at %d, the last position in it is %d", start, compacted.Load())
	}
}

// positionIn is the highest position in a topic that some batches of the positions log hold.
func positionIn(t testing.TB, batches []byte, topic string) (highest int64) {
	var it batch.Iterator
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err == nil {
			err = it.Reset(b)
		}
		if err != nil {
			t.Error(err)
			return highest
		}
		for batches = rest; it.Next(); {
			k, err := group.ParseKey(it.Record().Key)
			if err != nil || k.Topic != topic {
				continue
			}
			if s, err := group.ParseValue(it.Record().Value); err == nil {
				highest = max(highest, s.Offset)
			}
		}
	}
	return highest
}

func offsets(t testing.TB, b *bus, topic string) (start, high int64) {
	t.Helper()
	return mustHave(t, b, topic).Partitions()[0].Offsets()
}

// holdSyncs has the syncs of a topic's segments wait until release.
func holdSyncs(disk *crashfs.FS, topic string) (held <-chan struct{}, release func()) {
	stuck, begun := make(chan struct{}), make(chan struct{}, 100)
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && topicOf(c.Name) == topic {
			begun <- struct{}{}
			<-stuck
		}
		return nil
	})
	return begun, sync.OnceFunc(func() { close(stuck) })
}

func TestASyncThatHangsHoldsUpNoPositionsForEver(t *testing.T) {
	brokertest.Slow(t)
	book, log := newLog()
	s := setup{disk: crashfs.New(), log: lazily, options: broker.Options{Log: log}}
	b := mustOpen(t, s)
	orders, stock := mustMake(t, b, "orders"), mustMake(t, b, "stock")
	for _, topic := range []*broker.Topic{orders, stock} {
		publish(t, topic.Partitions()[0], time.Now(), 20, 10)
	}
	_, release := holdSyncs(s.disk, "orders")
	defer release()
	within(t, "positions in both topics are kept", func() {
		for i := range int64(10) {
			mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: i})
			mustCommit(t, b, "billing", group.Commit{Topic: "stock", Offset: i})
		}
	})
	if n := len(book.Lines("level=WARN", "topic=orders", "partition=0", "waited=1s")); n != 1 {
		t.Errorf("it is said %d times: %q", n, book.Lines())
	}
	release()
	publish(t, orders.Partitions()[0], time.Now(), 1, 10)
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 11})
	mustClose(t, b)
}

// After a crash no position lies beyond its log, and each message is delivered.
func TestAfterACrashNoPositionIsBeyondItsLog(t *testing.T) {
	brokertest.Slow(t)
	for seed := range uint64(40) {
		policy := crashfs.Some(seed)
		if seed%4 == 0 {
			policy = crashfs.Torn(seed)
		}
		s := setup{disk: crashfs.New(), options: broker.Options{Limits: patientLimits()}, log: lazily}
		b := mustOpen(t, s)
		orders := mustMake(t, b, "orders").Partitions()[0]
		for i := range int64(20) {
			publish(t, orders, time.Now(), 1, 10)
			mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: i + 1})
		}
		publish(t, orders, time.Now(), 10, 10)
		disk := s.disk.Crash(policy)
		_ = b.Close() // of the dead one
		book, log := newLog()
		b = mustOpen(t, setup{disk: disk, options: broker.Options{Log: log}})
		if lines := book.Lines("beyond the end"); len(lines) > 0 {
			t.Fatalf("seed %d: %q", seed, lines)
		}
		mustClose(t, b)
	}
}

// With an interval the power goes before each call of some work: no position lies beyond
// its log then, and what was synced is there.
func TestACrashAtAnyCallWithAnIntervalLeavesNoPositionBeyondItsLog(t *testing.T) {
	brokertest.Slow(t)
	done := false
	for n := int64(1); !done; n++ {
		s := setup{disk: crashfs.New(), options: broker.Options{Limits: patientLimits()}, log: commitlog.Options{SyncEvery: time.Hour, SegmentBytes: 4 << 10}}
		b := mustOpen(t, s)
		var calls atomic.Int64
		s.disk.SetHook(func(crashfs.Call) error {
			if calls.Add(1) == n {
				s.disk.Kill()
			}
			return nil
		})
		synced := workWithInterval(b)
		done = calls.Load() < n
		for _, policy := range []crashfs.Policy{crashfs.Nothing(), crashfs.Everything(), crashfs.Some(uint64(n)), crashfs.Some(uint64(n) + 1000), crashfs.Torn(uint64(n))} {
			disk := s.disk.Crash(policy)
			book, log := newLog()
			after := mustOpen(t, setup{disk: disk, options: broker.Options{Log: log}})
			if lines := book.Lines("beyond the end"); len(lines) > 0 {
				t.Fatalf("cut before call %d, %s: %q", n, policy.Name, lines)
			}
			if topic, err := after.Topic("orders"); synced > 0 && err != nil {
				t.Fatalf("cut before call %d, %s: %v", n, policy.Name, err)
			} else if err == nil {
				if _, high := topic.Partitions()[0].Offsets(); high < synced {
					t.Fatalf("cut before call %d, %s: %d messages, and %d were synced", n, policy.Name, high, synced)
				}
			}
			mustClose(t, after)
		}
		_ = b.Close() // of the dead one
	}
}

// workWithInterval publishes and commits until something fails, and returns how many
// messages of orders were synced.
func workWithInterval(b *bus) (synced int64) {
	topic, err := b.MakeTopic("orders")
	if err != nil {
		return 0
	}
	log := topic.Partitions()[0]
	for i := range int64(12) {
		var one batch.Builder
		one.Add(1000, nil, make([]byte, 600))
		one.Close(0)
		if _, err := log.AppendAndWait(one.Bytes()); err != nil {
			return synced
		}
		done := make(chan []error, 1)
		b.CommitOffsets("billing", []group.Commit{{Topic: "orders", Offset: i + 1}}, func(errs []error) { done <- errs })
		if errs := <-done; errs[0] != nil {
			return synced
		}
		if i%5 == 4 {
			ended := make(chan error, 1)
			log.Sync(func(err error) { ended <- err })
			if <-ended == nil {
				synced = i + 1
			}
		}
	}
	return synced
}

// What retention removes because groups have consumed it does not come back as unread.
func TestRetentionRemovesWhatIsDurablyConsumed(t *testing.T) {
	s := setup{
		disk: crashfs.New(), log: commitlog.Options{SegmentBytes: 4 << 10, SyncEvery: time.Hour}, wrap: atTheirTime,
		options: broker.Options{Retention: 7 * day, RetentionUnread: 30 * day},
	}
	b := mustOpen(t, s)
	days(t, mustMake(t, b, "orders"), 10)
	consume(t, position(t, b, "default", "orders", 0), 0, 50)
	retain(t, b, newYear.Add(15*day+time.Hour))
	mustStart(t, mustMake(t, b, "orders"), 50)
	s.disk = s.disk.Crash(crashfs.Nothing())
	_ = b.Close() // of the dead one
	b = mustOpen(t, s)
	defer mustClose(t, b)
	mustStart(t, mustMake(t, b, "orders"), 50)
	if c := position(t, b, "default", "orders", 0).Committed(); c != 50 {
		t.Errorf("the group is at %d", c)
	}
}

// A dead letter counts as consumed when it is durable where it went to.
func TestADeadLetterIsConsumedWhenItIsDurable(t *testing.T) {
	s := setup{disk: crashfs.New(), log: lazily}
	b := mustOpen(t, s)
	defer mustClose(t, b)
	orders := mustMake(t, b, "orders")
	publish(t, orders.Partitions()[0], time.Now(), 1, 10)
	publish(t, mustMake(t, b, "orders.dlq").Partitions()[0], time.Now(), 1, 10)
	held, release := holdSyncs(s.disk, "orders.dlq")
	defer release()
	p := position(t, b, "billing", "orders", 0)
	var m group.Member
	m.Lease(p, group.Span{From: 0, To: 1}, 0)
	f, _, err := m.Fail(1, group.Retry{Attempts: 1}, time.Now())
	if err != nil || !f.Dead {
		t.Fatal(f, err)
	}
	settled := make(chan struct{})
	b.Bury(orders, f, "no good", func() { close(settled) })
	select {
	case <-held:
	case <-settled:
		t.Fatal("it is settled without a sync")
	}
	mustSync(t, b)
	if c := p.Committed(); c != 0 {
		t.Errorf("before the sync of the dead letter the group is at %d", c)
	}
	release()
	within(t, "it is settled", func() { <-settled })
	if c := p.Committed(); c != 1 {
		t.Errorf("the group is at %d", c)
	}
}

func TestAppendDurablySaysWhatHasFailed(t *testing.T) {
	s := setup{disk: crashfs.New(), log: lazily}
	b := mustOpen(t, s)
	orders := mustMake(t, b, "orders").Partitions()[0]
	var one batch.Builder
	one.Add(1000, nil, nil)
	one.Close(0)
	outcome := func() error {
		done := make(chan error, 1)
		orders.AppendDurably(one.Bytes(), func(err error) { done <- err })
		return <-done
	}
	if err := outcome(); err != nil {
		t.Error(err)
	}
	s.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && topicOf(c.Name) == "orders" {
			return fmt.Errorf("no more")
		}
		return nil
	})
	for range 2 { // the sync, and then the append
		if err := outcome(); err == nil {
			t.Error("no error")
		}
	}
	s.disk.SetHook(nil)
	_ = b.Close()
}
