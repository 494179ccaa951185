package line_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/jetstream/enginetest"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/test/brokertest"
)

// damage flips a bit of the records of each batch of a topic that holds one of
// the offsets, behind the broker's back.
func (b *bus) damage(topic string, offsets ...int64) {
	b.t.Helper()
	enginetest.NotHere(b.t, "the test damages files")
	names, err := filepath.Glob(filepath.Join(b.setup.dir, "topics", topic, "0", "*.log"))
	if err != nil || len(names) == 0 {
		b.t.Fatalf("no log of %s: %v", topic, err)
	}
	damaged := 0
	for _, name := range names {
		p, err := os.ReadFile(name)
		if err != nil {
			b.t.Fatal(err)
		}
		for rest := p; len(bytes.Trim(rest, "\x00")) > 0; { // zeros follow the log
			one, after, err := batch.Next(rest)
			if err != nil {
				b.t.Fatal(err)
			}
			for _, o := range offsets {
				if one.BaseOffset() <= o && o < one.NextOffset() {
					one[len(one)-1] ^= 4
					damaged++
				}
			}
			rest = after
		}
		if err := os.WriteFile(name, p, 0); err != nil {
			b.t.Fatal(err)
		}
	}
	if damaged != len(offsets) {
		b.t.Fatalf("%d batches are damaged, not %d", damaged, len(offsets))
	}
}

// firstFree is the lowest offset that nobody holds.
func firstFree(p *group.Position) int64 {
	free, _ := p.Free(1<<40, time.Now())
	return free.From
}

// awaitGivenBack waits until the default group's next message is free.
func (b *bus) awaitGivenBack(topic string) {
	b.t.Helper()
	p := b.position("default", topic, 0)
	defer p.Close()
	await(b.t, "messages are given back", func() bool {
		free, _ := p.Free(1<<40, time.Now())
		return free.From == p.Committed() && free.From < free.To
	})
}

// publishTens publishes n batches of ten messages each.
func (b *bus) publishTens(topic string, n int) []string {
	b.t.Helper()
	messages := numbered(10*n, 50)
	for i := 0; i < len(messages); i += 10 {
		sent := topic + "?format=batch\n" + text(newBatch(messages[i:i+10]...))
		if got := b.produce(sent); got != "+10\n" {
			b.t.Fatalf("answered %q", got)
		}
	}
	return messages
}

func TestDamagedMessagesAreReportedAndDoNotBlock(t *testing.T) {
	b := start(t, setup{})
	messages := b.publishTens("orders", 6)
	b.damage("orders", 20, 55)
	b.dial(b.consumers, "orders\n").mustEnd(join(messages[:20]) + "-DAMAGED orders/0: offsets 20 to 29 can't be read\n")
	if n := len(b.book.Lines("level=ERROR", "damaged", "topic=orders", "first=20", "next=30")); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	b.dial(b.consumers, "orders\n").mustEnd(join(messages[30:50]) + "-DAMAGED orders/0: offsets 50 to 59 can't be read\n")
	b.mustDrain("orders", "")
	b.publish("orders", "more")
	b.mustDrain("orders", "more\n")
}

func TestDamageInEveryFormat(t *testing.T) {
	b := start(t, setup{})
	messages := b.publishTens("orders", 3)
	b.damage("orders", 15)
	got := readStream(t, b.drain("orders?format=batch"))
	if len(got.messages) != 10 || got.end != "-DAMAGED orders/0: offsets 10 to 19 can't be read" {
		t.Errorf("%d messages, %q", len(got.messages), got.end)
	}
	got = readStream(t, b.drain("orders?format=batch"))
	if len(got.messages) != 10 || got.messages[0].offset != 20 || got.end != "." {
		t.Errorf("%+v", got)
	}
	lines := strings.Split(b.drain("orders?format=json&group=b"), "\n")
	if len(lines) != 12 || lines[10] != "-DAMAGED orders/0: offsets 10 to 19 can't be read" {
		t.Errorf("%q", lines)
	}
	b.mustDrain("orders?group=c&n=10", join(messages[:10]))
	b.mustDrain("orders?group=c&n=10", "-DAMAGED orders/0: offsets 10 to 19 can't be read\n")
	b.mustDrain("orders?group=c&n=10", join(messages[20:]))
	b.mustDrain("orders?group=c", "")
}

func TestDamageIsReportedAgainUntilTheClientHasClosedInGoodOrder(t *testing.T) {
	b := start(t, setup{})
	messages := b.publishTens("orders", 3)
	b.damage("orders", 10)
	want := join(messages[:10]) + "-DAMAGED orders/0: offsets 10 to 19 can't be read\n"
	for range 2 {
		c := b.dial(b.consumers, "orders\n")
		if p, err := io.ReadAll(c.r); string(p) != want || err != nil {
			t.Fatalf("%q, %v", p, err)
		}
		c.reset()
		b.awaitGivenBack("orders")
	}
	b.mustDrain("orders", want)
	b.mustDrain("orders", join(messages[20:]))
}

func TestDamageInTheMiddleOfABatchThatIsPartlyConsumed(t *testing.T) {
	b := start(t, setup{})
	messages := b.publishTens("orders", 3)
	b.mustDrain("orders?n=14", join(messages[:14]))
	b.damage("orders", 10)
	b.mustDrain("orders", "-DAMAGED orders/0: offsets 14 to 19 can't be read\n")
	b.mustDrain("orders", join(messages[20:]))
}

// The stored batch has the right checksum, but can't be read.
func TestBatchThatCannotBeDecodedIsReportedAsDamage(t *testing.T) {
	for _, format := range []string{"lines", "json", "batch"} {
		t.Run(format, func(t *testing.T) {
			var inner store.Store
			b := start(t, setup{wrap: func(s store.Store) store.Store { inner = s; return s }})
			b.publishTens("orders", 1)
			p, err := inner.Partition("orders", 0)
			if err != nil {
				t.Fatal(err)
			}
			bad := batchtest.Edit(newBatch("a", "b", "c"), batch.HeaderSize, 1, 1, 1, 1)
			appended := make(chan error, 1)
			if err := store.Append(p, bad, func(_ int64, err error) { appended <- err }); err != nil {
				t.Fatal(err)
			}
			if err := <-appended; err != nil {
				t.Fatal(err)
			}
			b.publish("orders", "behind")
			damaged := "-DAMAGED orders/0: offsets 10 to 12 can't be read"
			if format == "batch" { // which is decoded only when it is cut
				if got := readStream(t, b.drain("orders?format=batch&n=11")); len(got.messages) != 10 || got.end != damaged {
					t.Errorf("%d messages, end %q", len(got.messages), got.end)
				}
			} else if got := b.drain("orders?format=" + format); !strings.HasSuffix(got, "\n"+damaged+"\n") || strings.Count(got, "\n") != 11 {
				t.Errorf("%q", got)
			}
			b.mustDrain("orders", "behind\n")
		})
	}
}

// A reader stalls, what it holds is read again from the log, and fails then:
// what was never sent must not count as consumed.
func TestMessagesThatCannotBeReadAgainAreNotConsumed(t *testing.T) {
	brokertest.Slow(t)
	var fail atomic.Bool
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Read: func(p store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error {
			if topic == "orders" && fail.Load() {
				return errors.New("the cable is loose")
			}
			return p.Read(offset, maxBytes, c)
		}}
	}})
	messages := numbered(40_000, 500)
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.mustSay(messages[0])
	p := b.position("default", "orders", 0)
	held := firstFree(p)
	await(t, "the reader stalls", func() bool {
		last := held
		time.Sleep(6 * moment) // longer than a write may take before memory is given back
		held = firstFree(p)
		return held == last
	})
	fail.Store(true)
	got := messages[0] + "\n" + c.rest()
	fail.Store(false)
	sent, answer := got, ""
	if i := strings.LastIndexByte(strings.TrimSuffix(got, "\n"), '\n'); i >= 0 {
		sent, answer = got[:i+1], got[i+1:]
	}
	if !strings.HasPrefix(answer, "-FAILED ") || !strings.HasPrefix(join(messages), sent) {
		t.Fatalf("the drain ends with %s", brief(answer))
	}
	n := strings.Count(sent, "\n")
	b.mustDrain("orders", join(messages[n:]))
}

func TestGapIsReportedWhenRetentionWasFaster(t *testing.T) {
	b := start(t, setup{retain: 16 << 10, log: commitlog.Options{SegmentBytes: 4 << 10}})
	messages := b.publishTens("orders", 40)
	b.mustDrain("orders?n=5", join(messages[:5]))
	b.mustDrain("orders?group=quick", join(messages))
	b.broker.Retain(time.Now())
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := topic.Partitions()[0].Offsets()
	if first <= 10 || first >= 400 {
		t.Fatalf("the log starts at %d", first)
	}
	gap := goneBelow(first) + "\n"
	c := b.dial(b.consumers, "orders\n") // a client that does not close in good order gets it again
	c.mustSay(strings.TrimSuffix(gap, "\n"))
	c.reset()
	b.awaitGivenBack("orders")
	b.mustDrain("orders", gap)
	b.mustDrain("orders", join(messages[first:]))
	b.mustDrain("orders?group=quick", "")
	got := readStream(t, b.drain("orders?format=batch&group=new"))
	if len(got.messages) != len(messages[first:]) || got.messages[0].offset != first || got.end != "." {
		t.Errorf("%d messages, end %q", len(got.messages), got.end)
	}
}

func TestGapInTheLogIsReported(t *testing.T) {
	enginetest.NotHere(t, "the test removes files")
	b := start(t, setup{log: commitlog.Options{SegmentBytes: 4 << 10}, limits: func(l *broker.Limits) { l.SettleTime = moment }})
	messages := b.publishTens("orders", 20)
	b.stop()
	names, err := filepath.Glob(filepath.Join(b.setup.dir, "topics", "orders", "0", "*.log"))
	if err != nil || len(names) < 3 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, name := range []string{names[1], strings.TrimSuffix(names[1], ".log") + ".index"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	b.begin()
	first, next := baseOf(t, names[1]), baseOf(t, names[2])
	b.mustDrain("orders", join(messages[:first])+goneBelow(next)+"\n")
	b.mustDrain("orders", join(messages[next:]))
}

// Whatever has become of single messages below the log's start, the gap is reported once.
func TestATrimmedRangeIsToldOnce(t *testing.T) {
	for _, request := range []string{"orders?group=g", "orders?group=g&ack", "orders?group=g&follow&ack"} {
		t.Run(request, func(t *testing.T) {
			b := start(t, setup{})
			messages := numbered(100, 0)
			b.publish("orders", messages...)
			c := b.dial(b.consumers, "orders?group=g&follow&ack&window=100&retry=1ms&attempts=0\n")
			c.mustSay(messages...)
			for i := 1; i < len(messages); i += 3 { // every third failed, every third consumed, the others given back
				c.send("-" + itoa(int64(i)) + " fails\n=" + itoa(int64(i+1)) + "\n")
			}
			c.finish()
			c.rest()
			topic, err := b.broker.Topic("orders")
			if err != nil {
				t.Fatal(err)
			}
			if err := topic.Partitions()[0].Trim(100); err != nil {
				t.Fatal(err)
			}
			b.publish("orders", "fresh")
			for range 2 {
				c = b.dial(b.consumers, request+"\n")
				c.mustSay(goneBelow(100))
				c.reset() // a client that does not close in good order gets it again
				await(t, "it is given back", func() bool { return len(b.broker.Members("g")) == 0 })
			}
			c = b.dial(b.consumers, request+"\n")
			c.mustSay(goneBelow(100))
			c.mustEnd("")
			await(t, "the position is moved", func() bool { return b.position("g", "orders", 0).Committed() == 100 })
			b.mustDrain("orders?group=g", "fresh\n")
		})
	}
}
