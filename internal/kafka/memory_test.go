package kafka_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// batchOf is a batch with one message of so many bytes.
func batchOf(size int) batch.Batch {
	var b batch.Builder
	b.Add(1000, nil, bytes.Repeat([]byte("x"), size))
	b.Close(0)
	return bytes.Clone(b.Bytes())
}

// part is so many bytes of a request to produce that claims a size.
func part(claimed, sent int) []byte {
	p := make([]byte, sent)
	binary.BigEndian.PutUint32(p, uint32(claimed))
	binary.BigEndian.PutUint16(p[6:], 9)
	return p
}

// half sends so much of a request that claims a size.
func (c *client) half(claimed, sent int) {
	c.t.Helper()
	if _, err := c.Write(part(claimed, sent)); err != nil {
		c.t.Fatal(err)
	}
}

// free is whether so many bytes of the budget are there.
func (b *bus) free(n int) bool {
	ok := b.broker.Budget.Take(n)
	if ok {
		b.broker.Budget.Give(n)
	}
	return ok
}

// Clients that are slow to send take the memory for requests.
func TestARequestWaitsForMemoryAndKeepsItsConnection(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 4 << 20 }})
	b.topic("orders", 2)
	var slow []*client
	for range 2 {
		c := b.dial()
		c.half(3<<19, 1<<20)
		slow = append(slow, c)
	}
	await(t, "they have their memory", func() bool { return !b.free(2 << 20) })
	usual, unanswered, small := b.dial(), b.dial(), b.dial()
	req := produceRequest(write{"orders", 0, batchOf(900 << 10)}, write{"orders", 1, batchOf(900 << 10)})
	usual.send(req)
	await(t, "a usual request waits", func() bool { return b.broker.Budget.Waiting() == 1 })
	quiet := produceRequest(write{"orders", 1, batchOf(300 << 10)})
	quiet.Acks = 0
	unanswered.send(quiet)
	await(t, "one without an answer waits", func() bool { return b.broker.Budget.Waiting() == 2 })
	small.publish("orders", 0, messages(3)) // which takes nothing
	if b.book.Lines("wait for memory") == nil {
		t.Error("nothing is logged")
	}
	for _, c := range slow {
		c.Close()
	}
	for _, p := range usual.receive(req).(*kmsg.ProduceResponse).Topics {
		wantCode(t, "produce", p.Partitions[0].ErrorCode, nil)
	}
	await(t, "what is not answered is stored, too", func() bool {
		topic, err := b.broker.Topic("orders")
		if err != nil {
			t.Fatal(err)
		}
		_, end := topic.Partitions()[1].Offsets()
		return end == 2
	})
	await(t, "the budget is given back", func() bool { return b.free(4 << 20) })
}

// Two that hold a part of a request each must not wait for each other.
func TestHalvesOfRequestsDoNotWaitForEachOther(t *testing.T) {
	const limit = 3 << 20
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = limit }})
	b.topic("orders", 8)
	var clients []*client
	goOn := make(chan struct{})
	for i := range int32(8) {
		c := b.dial()
		c.sent++
		clients = append(clients, c)
		p := frame(produceRequest(write{"orders", i, batchOf(1 << 20)}), 1)
		go func() {
			c.Write(p[:len(p)/2])
			<-goOn
			c.Write(p[len(p)/2:])
		}()
	}
	await(t, "six wait for two", func() bool { return b.broker.Budget.Waiting() == 6 })
	close(goOn)
	for _, c := range clients {
		wantCode(t, "produce", produced(c.receive(produceRequest()).(*kmsg.ProduceResponse)).ErrorCode, nil)
	}
	await(t, "the budget is given back", func() bool { return b.free(limit) })
}

func TestHalfARequestDoesNotHoldMemoryForEver(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight, l.RequestTime = 16<<20, 300*time.Millisecond }})
	b.topic("orders", 1)
	stalled := b.dial()
	stalled.Write(part(3<<20, 1<<20)) // may fail: its time may be over before
	trickling := b.dial()
	go func() { // a byte at a time, before the time for a piece is over
		trickling.Write(part(3<<20, 5000))
		for {
			if _, err := trickling.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(time.Millisecond) // the pace is what is tested
		}
	}()
	streaming := b.dial()
	go func() { // the same, of a large request
		p := frame(produceRequest(write{"orders", 0, batchOf(1 << 20)}, write{"orders", 0, batchOf(1 << 20)}), 1)
		binary.BigEndian.PutUint32(p, 100<<20)
		streaming.Write(p[:len(p)/2+1000])
		for {
			if _, err := streaming.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(time.Millisecond) // as above
		}
	}()
	stalled.mustBeClosed()
	trickling.mustBeClosed()
	streaming.mustBeClosed()
	await(t, "the budget is given back", func() bool { return b.free(16 << 20) })
}

// A client that claims much has no more time for the little that it has memory for.
func TestAPartOfARequestIsNotHeldAsLongAsTheWholeMayTake(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{limits: func(l *broker.Limits) { l.RequestTime = 700 * time.Millisecond }}) // 71 s for 100 MiB
	var clients []*client
	for _, claimed := range []int{100 << 20, 99 << 20} {
		c := b.dial()
		c.SetReadDeadline(time.Now().Add(patience))
		clients = append(clients, c)
		go func() {
			c.Write(part(claimed, 5000))
			for {
				if _, err := c.Write([]byte{0}); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond) // the pace is what is tested
			}
		}()
	}
	for _, c := range clients {
		c.mustBeClosed()
	}
}

func TestASizeThatIsClaimedCostsNothing(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 16 << 20 }})
	b.topic("orders", 1)
	for _, size := range []int{1 << 20, 7 << 20, 100 << 20} {
		for range 20 {
			b.dial().half(size, 4000)
		}
	}
	await(t, "all have connected", func() bool { return len(b.server.Connections()) == 60 })
	for range 10 {
		b.dial().publish("orders", 0, batchOf(1<<20))
	}
	await(t, "nothing is taken", func() bool { return b.free(16 << 20) })
}

func TestAServerStopsWhileRequestsWaitForMemory(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 4 << 20 }})
	b.topic("orders", 1)
	for range 2 {
		b.dial().half(3<<19, 1<<20)
	}
	await(t, "they have their memory", func() bool { return !b.free(2 << 20) })
	for range 3 {
		b.dial().send(produceRequest(write{"orders", 0, batchOf(1 << 20)}))
	}
	await(t, "three wait", func() bool { return b.broker.Budget.Waiting() == 3 })
	within(t, "it stops", func() { b.server.Stop(context.Background()) })
	if b.broker.Budget.Waiting() != 0 || !b.free(4<<20) {
		t.Error("memory is held, or waited for")
	}
}

// Clients that claim much, and send enough to be given a large buffer, leave room for others:
// what a request holds is in proportion to what has come of it.
func TestWhatHasComeOfARequestSaysWhatItHolds(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 64 << 20 }})
	b.topic("orders", 1)
	const clients = 100
	for _, sent := range []int{5000, 70_000} {
		var hostile []*client
		for range clients {
			c := b.dial()
			c.half(16<<20-1, sent)
			hostile = append(hostile, c)
		}
		for range 5 {
			b.dial().publish("orders", 0, batchOf(50_000))
		}
		for _, c := range hostile {
			c.Close()
		}
		await(t, "the budget is given back", func() bool { return b.free(64 << 20) })
	}
}

// Requests of 100 MiB from many clients, which stop in the middle, leave room for others.
func TestManyLargeRequestsKeepOthersServed(t *testing.T) {
	const clients = 8
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 64 << 20 }})
	large, usual := b.topic("large", clients), b.topic("usual", 1)
	for i := range int32(clients) {
		req := produceRequest(write{"large", i, batchOf(1 << 20)}, write{"large", i, batchOf(1 << 20)})
		p := frame(req, 1)
		binary.BigEndian.PutUint32(p, 100<<20)
		go b.dial().Write(p[:len(p)-100])
	}
	await(t, "what has come is stored", func() bool {
		for _, p := range large.Partitions() {
			if _, end := p.Offsets(); end != 1 {
				return false
			}
		}
		return true
	})
	for range 20 {
		b.dial().publish("usual", 0, batchOf(1<<20))
	}
	if _, end := usual.Partitions()[0].Offsets(); end != 20 {
		t.Errorf("%d messages are stored", end)
	}
}
