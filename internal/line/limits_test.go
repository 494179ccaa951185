package line_test

import (
	"net"
	"runtime"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/broker"
	"mbus/test/brokertest"
)

func TestConnectionsBeyondTheLimitAreAnsweredBusyAndTheOthersGoOn(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxConnections = 3 }})
	b.publish("orders", "before")
	await(t, "the connection has ended", func() bool { return b.dial(b.consumers, "nothing\n").rest() == "" })
	var clients []*client
	await(t, "there are three", func() bool {
		c := b.dial(b.producers, "orders\nmessage\n")
		if c.line() == "+1" {
			clients = append(clients, c)
		}
		return len(clients) == 3
	})
	for range 5 {
		b.dial(b.producers, "").mustRefuse("BUSY", "connections")
		b.dial(b.consumers, "").mustRefuse("BUSY", "connections")
	}
	for _, c := range clients {
		c.send("more\n")
		c.mustSay("+2")
	}
	if n := len(b.book.Lines("level=WARN", "connections", "limit=3")); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	clients[0].finish().mustEnd("")
	await(t, "there is room again", func() bool { return strings.HasPrefix(b.dial(b.consumers, "orders\n").rest(), "before\n") })
	clients[1].send("more\n")
	clients[1].mustSay("+3")
}

// Memory for messages that have not come whole is bounded, too.
func TestBytesInFlightBeyondTheBudgetAreAnsweredBusyAndTheOthersGoOn(t *testing.T) {
	const budget = 4 << 20
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = budget }})
	half := strings.Repeat("x", 500_000)
	said, complete := make(chan string, 20), make(chan struct{})
	for range cap(said) {
		c := b.dial(b.producers, "orders\n")
		go func() { // fails where it is refused
			c.Write([]byte(half))
			<-complete
			c.Write([]byte("\n"))
		}()
		go func() {
			line, _ := c.r.ReadString('\n')
			said <- line
			c.Close()
		}()
	}
	if line := <-said; !strings.HasPrefix(line, "-BUSY ") {
		t.Fatalf("answered %q", line)
	}
	b.publish("orders", numbered(1000, 20)...) // small messages go on
	close(complete)
	acked := 0
	for range cap(said) - 1 {
		if line := <-said; line == "+1\n" {
			acked++
		} else if !strings.HasPrefix(line, "-BUSY ") {
			t.Errorf("answered %q", line)
		}
	}
	if acked < 2 {
		t.Errorf("%d of %d messages are taken", acked, cap(said))
	}
	for range 10 { // there is nothing that is not given back
		b.takeBudget(budget)
		b.broker.Budget.Give(budget)
		b.publish("orders", half)
	}
}

// Producers that were busy once and are silent now leave the budget to others,
// whether they are between messages or within one.
func TestProducersThatWaitHoldNoMoreThanTheyHaveSent(t *testing.T) {
	const budget, producers, part = 4 << 20, 20, 5000
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = budget }})
	var clients []*client
	for i := range producers {
		c := b.dial(b.producers, "orders\n")
		for n := range int64(3) {
			c.send(strings.Repeat("x", 300_000) + "\n")
			c.mustSay("+" + itoa(n+1))
		}
		c.send(strings.Repeat("y", i%2*part))
		clients = append(clients, c)
	}
	b.takeBudget(budget - producers/2*4*part)
	b.broker.Budget.Give(budget - producers/2*4*part)
	for _, c := range clients {
		c.send("z\n")
		c.mustSay("+4")
	}
}

// takeBudget takes so much of the budget as soon as connections that have ended
// have given it back.
func (b *bus) takeBudget(n int) {
	b.t.Helper()
	await(b.t, "the budget is given back", func() bool { return b.broker.Budget.Take(n) })
}

// A consumer needs memory for batches that are larger than usual.
func TestLargeBatchThatFindsNoBudgetIsAnsweredBusyAndComesLater(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 4 << 20 }})
	large := strings.Repeat("x", 900_000)
	b.publish("orders", "small")
	b.publish("orders", large)
	b.takeBudget(4<<20 - 100)
	c := b.dial(b.consumers, "orders?format=batch\n")
	got := readStream(t, c.rest())
	if !strings.HasPrefix(got.end, "-BUSY ") {
		t.Errorf("%d messages, end %s", len(got.messages), brief(got.end))
	}
	b.broker.Budget.Give(4<<20 - 100)
	rest := readStream(t, b.drain("orders?format=batch"))
	all := append(got.messages, rest.messages...)
	if len(all) != 2 || all[0].value != "small" || all[1].value != large || rest.end != "." {
		t.Errorf("%d messages in all, end %s", len(all), brief(rest.end))
	}
	b.takeBudget(4 << 20)
}

// liveBytes is the memory in use: the heap and all stacks.
func liveBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep things for one round
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func TestStalledReadersCostLittleMemory(t *testing.T) {
	brokertest.Slow(t)
	each := int64(128 << 10)
	switch {
	case overTLS(t):
		each = 192 << 10 // a record that waits, and the state of both sides
	case byLink(t):
		each *= 2 // the other node is in this process, too
	}
	for format, readers := range map[string]int64{"lines": 200, "json": 40, "batch": 40} {
		t.Run(format, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", numbered(10_000, 500)...)
			before := liveBytes()
			var clients []net.Conn
			for i := range readers {
				c := b.dialWith(small, b.consumers, "orders?format="+format+"&group=g"+itoa(i)+"\n")
				c.r = nil // 4 KiB of the test's own
				c.awaitBytes(1)
				clients = append(clients, c)
			}
			var cost int64
			await(t, "they give back what they do not need", func() bool {
				cost = (liveBytes() - before) / readers
				return cost < each
			})
			t.Logf("%d KiB each", cost>>10)
			b.publish("other", "others go on")
			b.mustDrain("other", "others go on\n")
			for _, c := range clients {
				c.Close()
			}
		})
	}
}

func TestIdleConnectionsCostLittleMemory(t *testing.T) {
	const conns, each = 500, 24 << 10 // of it 4 KiB are the test's own, and 8 KiB the stack
	b := start(t, setup{})
	before := liveBytes()
	var clients []*client
	for range conns {
		c := b.dial(b.producers, "orders\nmessage\n")
		c.mustSay("+1")
		clients = append(clients, c)
	}
	var cost int64
	await(t, "they give back what they do not need", func() bool {
		cost = (liveBytes() - before) / conns
		return cost <= each
	})
	t.Logf("%d KiB each", cost>>10)
	runtime.KeepAlive(clients)
}

// A batch of some KiB that expands to many MiB must not hold them afterwards.
func TestCompressedBatchesHoldNoMemoryAfterwards(t *testing.T) {
	brokertest.Slow(t)
	const conns, each = 6, 4 << 20
	b := start(t, setup{})
	var builder batch.Builder
	const messages = 30
	for range messages {
		builder.Add(0, nil, make([]byte, 1<<20))
	}
	builder.Close(0)
	bomb := text(batchtest.Compress(t, codec.Zstd, builder.Bytes()))
	builder = batch.Builder{}
	before := liveBytes()
	var clients []*client
	for range conns {
		c := b.dial(b.producers, "orders?format=batch\n"+bomb)
		c.mustSay("+" + itoa(messages))
		clients = append(clients, c)
	}
	var cost int64
	await(t, "they give back what they do not need", func() bool {
		cost = (liveBytes() - before) / conns
		return cost <= each
	})
	t.Logf("a producer that has sent %d bytes holds %d KiB", len(bomb), cost>>10)
	runtime.KeepAlive(clients)
}
