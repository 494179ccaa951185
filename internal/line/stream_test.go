package line_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"

	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A numberedProducer is a client that numbers its messages, over any number of connections.
type numberedProducer struct {
	rng     *rand.Rand
	id      int64
	request string // before producer= and first=
	one     func(n int) string
	acked   int // the highest number told
	told    int // on this connection
	sent    int
}

// burst goes on from what was acknowledged last, or sometimes from before, and reads the
// answers up to some point.
func (p *numberedProducer) burst(b *bus, messages int) {
	first := p.acked + 1 - min(p.acked, p.rng.IntN(3))
	c := b.dial(b.producers, fmt.Sprintf("%s&producer=%d&first=%d\n", p.request, p.id, first))
	defer c.reset()
	want := p.acked
	p.told = 0
	for n := first; n < first+messages; {
		piece := ""
		for range 1 + p.rng.IntN(20) {
			piece += p.one(n)
			n++
		}
		c.send(piece)
		p.sent = max(p.sent, n-1)
		want = n - 1
		if p.rng.IntN(12) == 0 {
			b.grow("orders")
		}
		if p.rng.IntN(3) == 0 { // so that there are pieces apart
			p.read(b.t, c, n-1)
		}
	}
	if p.rng.IntN(2) == 0 {
		p.read(b.t, c, want)
	}
}

// read reads answers until a message is acknowledged.
func (p *numberedProducer) read(t testing.TB, c *client, upTo int) {
	for p.told < upTo {
		line := c.line()
		n, err := strconv.Atoi(strings.TrimPrefix(line, "+"))
		if err != nil || n > p.sent {
			t.Fatalf("answered %q", line)
		}
		p.told = n
		p.acked = max(p.acked, n)
	}
}

// inTopic counts the messages of a topic, and those that wait for it, by their text.
func (b *bus) inTopic(name string) map[string]int {
	b.t.Helper()
	times := make(map[string]int)
	for _, name := range []string{name, broker.DelayedTopic} {
		topic, err := b.broker.Topic(name)
		if err != nil {
			continue
		}
		for _, p := range topic.Partitions() {
			b.countIn(p, times)
		}
	}
	return times
}

// countIn counts the messages of a partition, past the damage that a power cut leaves.
func (b *bus) countIn(p *broker.Partition, times map[string]int) {
	b.t.Helper()
	for offset, high := p.Offsets(); offset < high; {
		var c broker.Chunk
		err := p.Fetch(offset, 1<<20, &c)
		var found []byte
		if err == nil {
			found, err = c.Load(nil) // those before the damage, if there is any
		}
		c.Release()
		var damage *broker.DamageError
		if errors.As(err, &damage) {
			offset = damage.Next
			continue
		}
		list, splitErr := batchtest.Split(found)
		if err := errors.Join(err, splitErr); err != nil || len(list) == 0 {
			b.t.Fatalf("at %d: %d batches, %v", offset, len(list), err)
		}
		for _, stored := range list {
			b.count(stored.Bytes, times)
		}
		offset = list[len(list)-1].Next
	}
}

func (b *bus) count(p []byte, times map[string]int) {
	var it batch.Iterator
	if err := it.Reset(p); err != nil {
		b.t.Fatal(err)
	}
	for it.Next() {
		value := it.Record().Value
		if len(value) > batch.HeaderSize { // a message that waits
			b.count(value, times)
			continue
		}
		times[string(value)]++
	}
}

// grow gives a topic one more partition, if it is there.
func (b *bus) grow(name string) {
	b.t.Helper()
	topic, err := b.broker.Topic(name)
	if err != nil {
		return
	}
	if err := b.broker.AddPartitions(name, len(topic.Partitions())+1); err != nil {
		b.t.Fatal(err)
	}
}

// crash ends the bus in one of many ways and begins again.
func (b *bus) crash(rng *rand.Rand) {
	b.t.Helper()
	old := b.setup.disk
	var next *crashfs.FS
	switch rng.IntN(6) {
	case 0:
		b.restart()
		return
	case 1:
		next = old.KillClone()
	case 2:
		next = old.Crash(crashfs.Nothing())
	case 3:
		next = old.Crash(crashfs.Torn(rng.Uint64()))
	default:
		next = old.Crash(crashfs.Some(rng.Uint64()))
	}
	b.stop()
	b.setup.disk = next
	b.begin()
}

// The forms in which messages with numbers are sent. Values are short, so that they are
// not taken for messages that wait.
var forms = []struct {
	name, request string
	one           func(n int) string
	torn          bool // what lies behind a hole in a partition may be stored twice
}{
	{"lines", "orders?format=lines", func(n int) string { return fmt.Sprintf("%d\n", n) }, false},
	{"keyed", "orders?keyed", func(n int) string { return fmt.Sprintf("key %d\t%d\n", n%7, n) }, true},
	{"json", "orders?format=json", func(n int) string {
		key, wait := "", ""
		if n%3 > 0 {
			key = fmt.Sprintf(`"key":"k%d",`, n%5)
		}
		if n%4 == 0 {
			wait = fmt.Sprintf(`"headers":["mbus-deliver-at","%d"],`, time.Now().Add(time.Hour).UnixMilli())
		}
		return fmt.Sprintf("{%s%s\"payload\":\"%d\"}\n", key, wait, n)
	}, true},
	{"batches", "orders?format=batch", func(n int) string { return string(newBatch(strconv.Itoa(n))) }, false},
	{"delayed lines", "orders?format=lines&delay=1h", func(n int) string { return fmt.Sprintf("%d\n", n) }, false},
	{"delayed batches", "orders?format=batch&delay=1h", func(n int) string { return string(newBatch(strconv.Itoa(n))) }, false},
}

// TestNumberedMessagesAreStoredOnceOverCrashes has a producer send its messages again
// after each end of its connection, over restarts, kills, power cuts and more partitions.
func TestNumberedMessagesAreStoredOnceOverCrashes(t *testing.T) {
	for _, form := range forms {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(form.name, " ", seed), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, 9))
				b := start(t, setup{disk: crashfs.New(), partitions: 1 + rng.IntN(3)})
				p := &numberedProducer{rng: rng, id: 1 + rng.Int64N(1<<62), request: form.request, one: form.one}
				holes := false
				for range 12 {
					p.burst(b, 1+rng.IntN(100))
					switch rng.IntN(4) {
					case 0, 1:
						b.crash(rng)
						holes = holes || len(b.book.Lines("level=ERROR")) > 0
					case 2:
						b.grow("orders")
					}
				}
				b.restart()
				c := b.dial(b.producers, fmt.Sprintf("%s&producer=%d&first=%d\n", form.request, p.id, p.acked+1))
				p.told = p.acked
				for n := p.acked + 1; n <= p.sent; n++ {
					c.send(form.one(n))
				}
				p.read(t, c, p.sent)
				c.finish().rest()
				times := b.inTopic("orders")
				for n := 1; n <= p.sent; n++ {
					if got := times[strconv.Itoa(n)]; got == 0 || got > 1 && !(holes && form.torn) {
						t.Errorf("message %d is stored %d times", n, got)
					}
				}
				if len(times) != p.sent {
					t.Errorf("%d different messages of %d", len(times), p.sent)
				}
			})
		}
	}
}

// A message that waited is due when it comes again, and would go into the topic at once.
func TestAMessageThatWaitedIsKnownWhenItIsDue(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	b := start(t, setup{disk: crashfs.New()})
	at := strconv.FormatInt(time.Now().Add(moment).UnixMilli(), 10)
	lines := `{"payload":"tea","headers":["mbus-deliver-at","` + at + `"]}` + "\n"
	for _, again := range []func(){func() {}, b.restart} {
		again()
		c := b.dial(b.producers, "orders?format=json&producer=9&first=1\n"+lines)
		c.mustSay("+1")
		await(t, "it is delivered", func() bool {
			topic, err := b.broker.Topic("orders")
			if err != nil {
				return false
			}
			_, high := topic.Partitions()[0].Offsets()
			return high > 0
		})
	}
	b.produceTo("orders?format=json&producer=9&first=1", "+2", strings.TrimSpace(lines), `{"payload":"milk"}`)
	b.mustDrain("orders", "tea\nmilk\n")
}

func TestTheOrderOfNumberedMessagesStays(t *testing.T) {
	b := start(t, setup{})
	for range 5 {
		c := b.dial(b.producers, "orders?producer=77\n")
		c.send(join(numbered(1000, 0)))
		c.mustSayLast("+1000")
		c.reset()
	}
	b.mustDrain("orders", join(numbered(1000, 0)))
}

// mustSayLast reads counts until the one that is wanted.
func (c *client) mustSayLast(want string) {
	c.t.Helper()
	for {
		switch got := c.line(); {
		case got == want:
			return
		case !strings.HasPrefix(got, "+"):
			c.t.Fatalf("answered %q, not %q", got, want)
		}
	}
}

func TestCountsAreTheProducersNumbers(t *testing.T) {
	b := start(t, setup{})
	b.dial(b.producers, "orders?producer=5\n").finish().mustEnd("+0\n")
	c := b.dial(b.producers, "orders?producer=5&new\n")
	c.send("one\ntwo\n")
	c.mustSayLast("+2")
	c.finish().mustEnd("")
	b.dial(b.producers, "orders?producer=5&first=3\n").finish().mustEnd("+2\n")
	c = b.dial(b.producers, "orders?producer=5&first=2\ntwo\nthree\n")
	c.mustSayLast("+3")
	c.send(strings.Repeat("x", broker.DefaultMaxMessage+1) + "\n")
	c.mustRefuse("TOOLARGE", "message 4 ")
	b.mustDrain("orders", "one\ntwo\nthree\n")
}

func TestNumbersGoOnAboveThoseOfALog(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	for _, first := range []int64{1<<31 - 2, 1 << 40, 3<<31 - 1} {
		id := first%1000 + 1
		request := fmt.Sprintf("orders?producer=%d&first=", id)
		want := "+" + itoa(first+3)
		b.produceTo(request+itoa(first)+"&new", want, "a", "b", "c", "d")
		b.produceTo(request+itoa(first), want, "a", "b", "c", "d")
		b.restart()
		b.produceTo(request+itoa(first+2), want, "c", "d")
		b.produceTo(request+itoa(first), "+"+itoa(first+4), "a", "b", "c", "d", "e")
		b.mustDrain("orders", "a\nb\nc\nd\ne\n")
	}
}

// A client may begin far below a number that it has used.
func TestNumbersFarBelowThoseBeforeAreKnown(t *testing.T) {
	b := start(t, setup{})
	for _, far := range []int64{1 << 31, 1 << 40, 1 << 61} {
		request := fmt.Sprintf("orders?producer=%d&first=", far)
		b.produceTo(request+itoa(far)+"&new", "+"+itoa(far), "far")
		b.produceTo(fmt.Sprintf("orders?producer=%d", far), "+2", "a", "b")
		b.produceTo(fmt.Sprintf("orders?producer=%d", far), "+3", "a", "b", "c")
		b.produceTo(request+itoa(far), "+"+itoa(far+1), "far", "further")
		b.mustDrain("orders", "far\na\nb\nc\nfurther\n")
	}
}

// produceTo publishes lines and demands the last answer.
func (b *bus) produceTo(request, want string, messages ...string) {
	b.t.Helper()
	if got := b.produce(request + "\n" + join(messages)); !strings.HasSuffix("\n"+got, "\n"+want+"\n") {
		b.t.Fatalf("%s is answered %q, not %s", request, got, want)
	}
}

func TestAnotherConnectionOfAProducerTakesItsPlace(t *testing.T) {
	b := start(t, setup{})
	old := b.dial(b.producers, "orders?producer=9\n")
	old.send("one\n")
	old.mustSay("+1")
	next := b.dial(b.producers, "orders?producer=9&first=2\n")
	old.mustRefuse("REPLACED", "another connection")
	next.send("two\n")
	next.mustSay("+2")
	other := b.dial(b.producers, "orders?producer=10\n")
	other.send("three\n")
	other.mustSay("+1")
	next.send("four\n")
	next.mustSay("+3")
	b.mustDrain("orders", "one\ntwo\nthree\nfour\n")
}

func TestWhatAConnectionHasOnItsWayIsKnownToTheNext(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	b.publish("orders", "before")
	g := newGate()
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && segmentOf(c, "orders") {
			g.pass()
		}
		return nil
	})
	old := b.dial(b.producers, "orders?producer=9\n")
	old.send("one\n")
	<-g.held
	old.reset()
	next := b.dial(b.producers, "orders?producer=9&first=1\n")
	next.send("one\ntwo\n")
	next.mustBeSilent()
	close(g.opened)
	next.mustSayLast("+2")
	b.mustDrain("orders", "before\none\ntwo\n")
}

func TestWhatFailedIsStoredWhenItComesAgain(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	for _, op := range []crashfs.Op{crashfs.WriteAt, crashfs.Sync} {
		disk := crashfs.New()
		b := start(t, setup{disk: disk})
		b.produceTo("orders?producer=9", "+1", "one")
		onSegments(disk, "orders", op, syscall.EIO)
		c := b.dial(b.producers, "orders?producer=9&first=2\ntwo\n")
		c.mustRefuse("FAILED")
		onSegments(disk, "orders", op, nil)
		await(t, "the log heals", func() bool {
			return strings.HasSuffix(b.produce("orders?producer=9&first=2\ntwo\nthree\n"), "+3\n")
		})
		b.mustDrain("orders", "one\ntwo\nthree\n")
	}
}

// One partition refuses what the other one takes.
func TestWhatOnePartitionHasTakenIsKnownWhenAnotherHasFailed(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	for _, op := range []crashfs.Op{crashfs.WriteAt, crashfs.Sync} {
		disk := crashfs.New()
		b := start(t, setup{disk: disk, partitions: 2})
		var lines string
		for n := range 40 {
			lines += fmt.Sprintf("key %d\t%d\n", n, n)
		}
		b.produceTo("orders?keyed&producer=9&new", "+1", "before\t-1")
		disk.SetHook(func(c crashfs.Call) error {
			if c.Op == op && strings.Contains(c.Name, "/topics/orders/0/") && strings.HasSuffix(c.Name, ".log") {
				return syscall.EIO
			}
			return nil
		})
		b.dial(b.producers, "orders?keyed&producer=9&first=2\n"+lines).mustRefuse("FAILED")
		disk.SetHook(nil)
		await(t, "the log heals", func() bool {
			return strings.HasSuffix(b.produce("orders?keyed&producer=9&first=2\n"+lines), "+41\n")
		})
		times := b.inTopic("orders")
		for n := -1; n < 40; n++ {
			if got := times[strconv.Itoa(n)]; got != 1 {
				t.Errorf("message %d is stored %d times", n, got)
			}
		}
	}
}

func TestAStreamOfATopicThatWasMadeAnewIsNotBegunAgain(t *testing.T) {
	b := start(t, setup{})
	b.produceTo("orders?producer=9", "+2", "one", "two")
	gone := func(request string) {
		t.Helper()
		b.dial(b.producers, request+"\n").finish().mustRefuse("GONE", "orders") // a stream that has begun ends at once
	}
	b.dial(b.consumers, "?delete&topic=orders&execute\n").rest()
	gone("orders?producer=9&first=3")
	if _, err := b.broker.Topic("orders"); err == nil {
		t.Fatal("it was made")
	}
	b.publish("orders", "another one's")
	gone("orders?producer=9&first=3")
	b.restart()
	gone("orders?producer=9&first=3")
	b.produceTo("orders?producer=9&first=1", "+1", "begun again")
	gone("orders?producer=9&first=2&id=00000000-0000-0000-0000-000000000000")
	b.produceTo("orders?producer=9&first=2", "+2", "goes on")
}

func TestAStreamThatWasTrimmedAwayGoesOn(t *testing.T) {
	b := start(t, setup{})
	b.produceTo("orders?producer=9", "+2", "one", "two")
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Partitions()[0].Trim(2); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.produceTo("orders?producer=9&first=3", "+3", "three")
	b.mustDrain("orders?from=2", "three\n")
}

func TestARequestWithNumbersIsRefused(t *testing.T) {
	b := start(t, setup{})
	for request, words := range map[string][]string{
		"orders?producer=0":                           {`"producer"`, "from 1"},
		"orders?producer=-5":                          {`"producer"`, "from 1"},
		"orders?producer=9223372036854775808":         {`"producer"`, "from 1"},
		"orders?producer=5&first=0":                   {`"first"`, "from 1"},
		"orders?producer=5&first=9223372036854775807": {`"first"`, "up to 4611686018427387904"},
		"orders?first=3":                              {`"first"`, `"producer"`},
		"orders?new":                                  {`"new"`, `"producer"`},
	} {
		b.dial(b.producers, request+"\n").mustRefuse("BADREQUEST", words...)
	}
}
