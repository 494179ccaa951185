package kafka_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/kafka"
	"mbus/test/brokertest"
)

// unknownTopics asks for so many topics that don't exist: the answer is larger.
func unknownTopics(n int) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	for i := range n {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(fmt.Sprintf("a-topic-that-does-not-exist-%d", i))
		req.Topics = append(req.Topics, t)
	}
	return req
}

// Clients that send large requests and don't take the answers.
func TestAClientThatTakesNoAnswersHoldsNoMemory(t *testing.T) {
	brokertest.Slow(t)
	const limit = 4 << 20
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = limit }})
	for range 8 {
		c := b.dial()
		req := frame(unknownTopics(20_000), 1)
		go func() {
			for { // until the server reads no more, and the connection ends
				if _, err := c.Write(req); err != nil {
					return
				}
			}
		}()
	}
	await(t, "all wait for their clients", func() bool { return b.server.Writing() == 8 && b.free(limit) })
	ask[*kmsg.MetadataResponse](b.dial(), unknownTopics(20_000))
}

// Behind a request that waits, the responses to others would collect, and may be a thousand
// times as large as these.
func TestOnlyAFewResponsesWaitForAnEarlierOne(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	wait := fetchRequest(11, read{"orders", 0, 0})
	wait.MaxWaitMillis, wait.MinBytes = 300_000, 1
	c.send(wait)
	const requests = 40
	for i := range requests { // each makes a topic
		c.send(metadataFor(1, fmt.Sprintf("made-%d", i)))
	}
	made := func() int { return len(b.broker.Topics()) - 1 }
	await(t, "some have their responses", func() bool { return made() >= kafka.MaxWaiting })
	other := b.dial()
	for i := range 5 { // takes as long as five more of them
		ask[*kmsg.MetadataResponse](other, metadataFor(1, fmt.Sprintf("other-%d", i)))
	}
	if n := made() - 5; n > kafka.MaxWaiting {
		t.Errorf("%d responses wait, the limit is %d", n, kafka.MaxWaiting)
	}
	other.publish("orders", 0, batchOf(10))
	c.receive(wait)
	for i := range requests {
		c.receive(metadataFor(1, fmt.Sprintf("made-%d", i)))
	}
}

// hostileRequest is a request that is cut, or lies, or is right.
func hostileRequest(r *rand.Rand, topic string) []byte {
	var writes []write
	for range 1 + r.IntN(4) {
		records := []byte(batchOf(r.IntN(900 << 10)))
		switch r.IntN(8) {
		case 0:
			records = records[:r.IntN(len(records))]
		case 1:
			records = make([]byte, 1<<20+r.IntN(4<<20))
		}
		writes = append(writes, write{topic, r.Int32N(4), records})
	}
	req := produceRequest(writes...)
	req.Version = []int16{3, 9}[r.IntN(2)]
	req.Acks = int16(r.IntN(3) - 1)
	p := frame(req, 1)
	switch r.IntN(5) {
	case 0: // it claims more
		binary.BigEndian.PutUint32(p, uint32(len(p)+r.IntN(100<<20-len(p))))
	case 1: // or less
		binary.BigEndian.PutUint32(p, uint32(r.IntN(len(p))))
	case 2: // or another kind of request
		binary.BigEndian.PutUint16(p[4:], uint16(r.IntN(70)))
	}
	return p
}

// Whatever clients do to a server, the others are served, and it has all of its memory
// afterwards.
func TestTheServerHasItsMemoryAfterASiege(t *testing.T) {
	brokertest.Slow(t)
	const limit = 16 << 20
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = limit }})
	b.server.StreamFrom(700 << 10)
	b.topic("honest", 1)
	b.topic("besieged", 3)
	var hostile sync.WaitGroup
	for seed := range uint64(40) {
		hostile.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 6 {
				c, err := net.Dial("tcp", b.addr)
				if err != nil {
					t.Error(err)
					return
				}
				p := hostileRequest(r, "besieged")
				c.SetDeadline(time.Now().Add(time.Duration(r.IntN(200)) * time.Millisecond))
				if _, err = c.Write(p[:1+r.IntN(len(p))]); err == nil && r.IntN(2) == 0 {
					c.Read(make([]byte, 1))
				}
				if r.IntN(2) == 0 {
					c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
				if r.IntN(30) == 0 {
					b.broker.DeleteTopic("besieged")
				} else if r.IntN(10) == 0 {
					b.broker.MakeTopic("besieged")
				}
			}
		})
	}
	for i := range int64(20) {
		if base := b.dial().publish("honest", 0, batchOf(600<<10)); base != i {
			t.Errorf("message %d has offset %d", i, base)
		}
	}
	hostile.Wait()
	await(t, "nobody holds memory, or waits", func() bool { return b.broker.Budget.Waiting() == 0 && b.free(limit) })
	b.dial().publish("honest", 0, batchOf(1<<20))
}
