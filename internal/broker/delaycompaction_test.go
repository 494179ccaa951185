package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// delaysOf is a setup whose log of delayed messages is compacted from so many
// bytes on.
func delaysOf(disk *crashfs.FS, bytes int64) setup {
	s := setup{disk: disk}
	s.options.Limits = broker.DefaultLimits()
	s.options.Limits.CompactDelayed = bytes
	return s
}

// stillWaiting counts, by their value, the messages that the log of delayed
// messages has and does not say to be delivered.
func stillWaiting(t testing.TB, b *bus) map[string]int {
	t.Helper()
	topic, err := b.Topic(broker.DelayedTopic)
	if err != nil {
		t.Fatal(err)
	}
	kept, delivered := make(map[int64]string), make(map[int64]bool)
	start, end := topic.Partitions()[0].Offsets()
	for o := start; o < end; o++ {
		if err := broker.WithRecord(topic.Partitions()[0], o, func(r *batch.Record) error {
			if r.Key == nil {
				for v := r.Value; len(v) > 0; v = v[8:] {
					delivered[int64(binary.BigEndian.Uint64(v))] = true
				}
				return nil
			}
			var it batch.Iterator
			if err := it.Reset(batch.Batch(r.Value)); err != nil {
				return err
			}
			it.Next()
			kept[o] = strings.TrimRight(string(it.Record().Value), " ")
			return nil
		}); err != nil && !errors.Is(err, store.ErrOutOfRange) && !isMissing(err) { // trimmed just now, or torn
			t.Fatal(err)
		}
	}
	all := make(map[string]int)
	for o, v := range kept {
		if !delivered[o] {
			all[v]++
		}
	}
	return all
}

// isMissing says whether an error says that a log lacks something.
func isMissing(err error) bool {
	var gap *store.GapError
	var damage *store.DamageError
	return errors.As(err, &gap) || errors.As(err, &damage)
}

// mustWait fails the test unless the messages far 0 to n-1, and no others, wait,
// each once or, after a crash, more often.
func mustWait(t testing.TB, b *bus, n, most int) {
	t.Helper()
	all := stillWaiting(t, b)
	for i := range n {
		if times := all[fmt.Sprint("far ", i)]; times < 1 || times > most {
			t.Errorf("message %d waits %d times", i, times)
		}
	}
	if len(all) != n {
		t.Errorf("%d messages wait, not %d", len(all), n)
	}
}

// delay has n messages that are due in an hour wait among near ones of 1 KiB, which
// are delivered.
func delay(t testing.TB, b *bus, n, near int) *broker.Topic {
	t.Helper()
	topic := mustMake(t, b, "orders")
	p := topic.Partitions()[0]
	padding := strings.Repeat("x", 1000)
	_, before := p.Offsets()
	for i := range near {
		if _, err := p.AppendAndWait(waiting(time.Now().Add(50*time.Millisecond), padding)); err != nil {
			t.Fatal(err)
		}
		if i%(near/n) == 0 {
			if _, err := p.AppendAndWait(waiting(time.Now().Add(time.Hour), fmt.Sprintf("far %d%600s", i/(near/n), ""))); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(t, "all that are due have come", func() bool {
		_, end := p.Offsets()
		return end >= before+int64(near)
	})
	return topic
}

func delayedOffsets(t testing.TB, b *bus) (start, end int64) {
	t.Helper()
	topic, err := b.Topic(broker.DelayedTopic)
	if err != nil {
		t.Fatal(err)
	}
	return topic.Partitions()[0].Offsets()
}

func TestAMessageThatWaitsLongDoesNotHoldTheLogOfDelayedMessages(t *testing.T) {
	disk := crashfs.New()
	b := mustOpen(t, delaysOf(disk, 20_000))
	delay(t, b, 3, 60)
	await(t, "the log is trimmed", func() bool {
		start, _ := delayedOffsets(t, b)
		return start > 3
	})
	mustClose(t, b)
	b = mustOpen(t, delaysOf(disk, 1<<40)) // so that nothing moves meanwhile
	defer mustClose(t, b)
	mustWait(t, b, 3, 1)
}

func TestMessagesThatWereMovedComeOnceWhenTheyAreDue(t *testing.T) {
	brokertest.Slow(t)
	disk := crashfs.New()
	b := mustOpen(t, delaysOf(disk, 1))
	topic := mustMake(t, b, "orders")
	p := topic.Partitions()[0]
	for i := range 20 {
		at := time.Now().Add(20 * time.Millisecond)
		if i%5 == 0 {
			at = at.Add(time.Second)
		}
		if _, err := p.AppendAndWait(waiting(at, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	awaitEnd(t, p, 20)
	b.Close()
	b = mustOpen(t, delaysOf(disk, 1))
	defer mustClose(t, b)
	topic, err := b.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	times := make(map[string]int)
	for _, v := range arrived(t, topic.Partitions()[0]) {
		times[v]++
	}
	if len(times) != 20 || len(arrived(t, topic.Partitions()[0])) != 20 {
		t.Errorf("arrived are %v", times)
	}
}

// The process or the system dies before each single change that the compaction
// makes on the disk.
func TestCrashDuringCompactionLosesNoDelayedMessage(t *testing.T) {
	brokertest.Slow(t)
	base := crashfs.New()
	b := mustOpen(t, delaysOf(base, 1<<40))
	delay(t, b, 5, 50)
	mustClose(t, b)
	calls := 0
	for finished := false; !finished; calls++ {
		disk := base.Crash(crashfs.Everything())
		var made atomic.Int32
		last := int32(calls + 1)
		killed := make(chan struct{})
		disk.SetHook(func(c crashfs.Call) error {
			if strings.HasPrefix(c.Name, "/data/clock") {
				return nil // is written meanwhile
			}
			if made.Add(1) == last {
				disk.Kill()
				close(killed)
			}
			return nil
		})
		if b, err := open(delaysOf(disk, 1)); err == nil {
			await(t, "the log is trimmed, or the broker killed", func() bool {
				select {
				case <-killed:
					return true
				default:
					start, _ := delayedOffsets(t, b)
					finished = start > 5
					return finished
				}
			})
			disk.Kill()
			_ = b.Close() // of the dead one
		}
		policies := []crashfs.Policy{crashfs.Everything(), crashfs.Nothing(), crashfs.Torn(uint64(calls))}
		for seed := range uint64(8) { // each message takes more than a sector: some are torn, and what follows is whole
			policies = append(policies, crashfs.Some(8*uint64(calls)+seed))
		}
		for seed, policy := range policies {
			b := mustOpen(t, delaysOf(disk.Crash(policy), 1<<40))
			mustWait(t, b, 5, 2)
			mustClose(t, b)
			if t.Failed() {
				t.Fatalf("killed before call %d, policy %d", calls, seed)
			}
		}
	}
	if calls < 4 {
		t.Errorf("there were only %d calls to be killed at", calls)
	}
}

// flipDelayed flips a bit in the one place where the log of delayed messages has text.
func flipDelayed(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "topics", broker.DelayedTopic, "0", "*.log"))
	if err != nil || len(files) != 1 {
		t.Fatalf("segments %q, %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(content, []byte(text)); n != 1 {
		t.Fatalf("%q is there %d times", text, n)
	}
	content[bytes.Index(content, []byte(text))] ^= 1
	if err := os.WriteFile(files[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamageAmongDelayedMessagesIsReportedAtEachStartAndHoldsUpNoOthers(t *testing.T) {
	brokertest.Slow(t)
	dir := t.TempDir()
	b := mustOpen(t, setup{dir: dir})
	log := mustMake(t, b, "orders").Partitions()[0]
	due := time.Now().Add(time.Second)
	for _, text := range []string{"first", "broken", "third"} {
		if _, err := log.AppendAndWait(waiting(due, text)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, b)
	flipDelayed(t, dir, "broken")
	for start := range int64(2) {
		book, logger := newLog()
		s := setup{dir: dir}
		s.options.Log = logger
		b = mustOpen(t, s)
		log = mustMake(t, b, "orders").Partitions()[0]
		if start > 0 {
			if _, err := log.AppendAndWait(waiting(time.Now().Add(time.Millisecond), "later")); err != nil {
				t.Fatal(err)
			}
		}
		awaitEnd(t, log, 2+start)
		mustClose(t, b)
		if n := len(book.Lines("level=ERROR", "damaged", "offsets 1 to 1")); n != 1 {
			t.Errorf("start %d: reported %d times: %q", start+1, n, book.Lines("delayed"))
		}
	}
	b = mustOpen(t, setup{dir: dir})
	defer mustClose(t, b)
	if got := fmt.Sprint(arrived(t, mustMake(t, b, "orders").Partitions()[0])); got != "[first third later]" {
		t.Errorf("%s", got)
	}
	if start, _ := delayedOffsets(t, b); start != 0 {
		t.Errorf("what may be readable elsewhere is trimmed: the log starts at %d", start)
	}
}

// A message that is damaged while it waits is not tried again and again.
func TestADelayedMessageThatIsDamagedIsReportedOnceAndComesIfItCanBeReadAfterARestart(t *testing.T) {
	brokertest.Slow(t)
	dir := t.TempDir()
	var tries atomic.Int64
	book, logger := newLog()
	s := setup{dir: dir, wrap: func(st store.Store) store.Store {
		return &storefault.Store{Store: st, Read: func(p store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error {
			if topic == broker.DelayedTopic && offset == 0 {
				tries.Add(1)
				return &store.DamageError{Topic: topic, First: 0, Next: 1, Reason: batch.ErrCorrupt}
			}
			return p.Read(offset, maxBytes, c)
		}}
	}}
	s.options.Log = logger
	b := mustOpen(t, s)
	log := mustMake(t, b, "orders").Partitions()[0]
	again := time.Now().Add(1500 * time.Millisecond) // it would be tried each second
	if _, err := log.AppendAndWait(waiting(time.Now().Add(10*time.Millisecond), "broken")); err != nil {
		t.Fatal(err)
	}
	if _, err := log.AppendAndWait(waiting(again, "sound")); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, log, 1)
	mustClose(t, b)
	if n, lines := tries.Load(), book.Lines("level=ERROR"); n != 1 || len(lines) != 1 || !strings.Contains(lines[0], "offsets 0 to 0") {
		t.Errorf("tried %d times, reported: %q", n, lines)
	}
	b = mustOpen(t, setup{dir: dir})
	defer mustClose(t, b)
	log = mustMake(t, b, "orders").Partitions()[0]
	awaitEnd(t, log, 2)
	if got := fmt.Sprint(arrived(t, log)); got != "[sound broken]" {
		t.Errorf("%s", got)
	}
}

// What can't be read now may be readable after a restart, say of a machine with a
// loose cable.
func TestDelayedMessagesThatCouldNotBeReadAreNotTrimmed(t *testing.T) {
	disk := crashfs.New()
	b := mustOpen(t, delaysOf(disk, 1<<40))
	delay(t, b, 5, 50)
	mustClose(t, b)
	var failed atomic.Bool
	s := delaysOf(disk, 1)
	s.wrap = func(st store.Store) store.Store {
		return &storefault.Store{Store: st, Read: func(p store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error {
			if topic == broker.DelayedTopic && !failed.Swap(true) {
				return errors.New("the cable is loose")
			}
			return p.Read(offset, maxBytes, c)
		}}
	}
	b = mustOpen(t, s)
	await(t, "reading has failed", failed.Load)
	topic := mustMake(t, b, "orders")
	_, end := topic.Partitions()[0].Offsets()
	if _, err := topic.Partitions()[0].AppendAndWait(waiting(time.Now().Add(20*time.Millisecond), "near")); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, topic.Partitions()[0], end+1)
	mustClose(t, b)
	b = mustOpen(t, delaysOf(disk, 1<<40))
	defer mustClose(t, b)
	mustWait(t, b, 5, 1)
}

// Damage keeps the log as it is until that has 16 times the size from which it is
// compacted. Then it is compacted, and trimmed, past the damage.
func TestDamageAmongDelayedMessagesIsKeptUntilTheLogIsLarge(t *testing.T) {
	dir := t.TempDir()
	options := func(log *brokertest.LogBook) setup {
		s := delaysOf(nil, 5_000)
		s.dir = dir
		if log != nil {
			s.options.Log = slog.New(slog.NewTextHandler(log, nil))
		}
		return s
	}
	b := mustOpen(t, options(nil))
	orders := mustMake(t, b, "orders").Partitions()[0]
	for _, text := range []string{"far 0", "broken", "far 1"} {
		if _, err := orders.AppendAndWait(waiting(time.Now().Add(time.Hour), text)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, b)
	flipDelayed(t, dir, "broken")
	book := new(brokertest.LogBook)
	b = mustOpen(t, options(book))
	orders = mustMake(t, b, "orders").Partitions()[0]
	text := strings.Repeat("x", 1000)
	size := func() int64 {
		topic, err := b.Topic(broker.DelayedTopic)
		if err != nil {
			t.Fatal(err)
		}
		return topic.Partitions()[0].Size()
	}
	for end := int64(1); ; end++ {
		if _, err := orders.AppendAndWait(waiting(time.Now().Add(2*time.Millisecond), text)); err != nil {
			t.Fatal(err)
		}
		awaitEnd(t, orders, end)
		start, _ := delayedOffsets(t, b)
		if start > 2 {
			if end < 50 { // of 16 * 5000 bytes
				t.Errorf("after %d messages the damage is trimmed", end)
			}
			break
		}
		if size() > 200_000 {
			t.Fatalf("the log has %d bytes", size())
		}
	}
	await(t, "it is said what was removed", func() bool {
		return len(book.Lines("level=WARN", "too large to keep its damaged part", "first=1 last=1")) == 1
	})
	if n := len(book.Lines("level=ERROR")); n != 1 {
		t.Errorf("there are %d errors", n)
	}
	mustClose(t, b)
	again := new(brokertest.LogBook)
	b = mustOpen(t, options(again))
	defer mustClose(t, b)
	mustWait(t, b, 2, 1)
	if lines := again.Lines("damaged"); len(lines) > 0 {
		t.Errorf("after a restart it is still reported: %q", lines)
	}
}
