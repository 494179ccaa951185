package kafka_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// franz-go fills one request with a batch of each partition, up to 100 MiB.
func TestALargeRequestIsStoredAsItComes(t *testing.T) {
	const partitions, size = 24, 900 << 10
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 16 << 20 }})
	topic := b.topic("orders", partitions)
	c := b.dial()
	for i, version := range []int16{3, 8, 9, 13} {
		req := produceRequest()
		req.Version = version
		t0 := kmsg.NewProduceRequestTopic()
		t0.Topic, t0.TopicID = "orders", topic.ID
		for n := range int32(partitions) {
			t0.Partitions = append(t0.Partitions, kmsg.ProduceRequestTopicPartition{Partition: n, Records: batchOf(size)})
		}
		req.Topics = append(req.Topics, t0)
		c.send(req)
		c.send(metadataFor(1, "orders")) // and what follows is read
		for n, p := range c.receive(req).(*kmsg.ProduceResponse).Topics[0].Partitions {
			if p.ErrorCode != 0 || p.Partition != int32(n) || p.BaseOffset != int64(i) {
				t.Errorf("version %d: %+v", version, p)
			}
		}
		c.receive(metadataFor(1, "orders"))
	}
	got := ask[*kmsg.FetchResponse](c, fetchRequest(11, read{"orders", partitions - 1, 0})).Topics[0].Partitions[0]
	if all := values(t, got.RecordBatches); len(all) == 0 || len(all[0]) != size {
		t.Errorf("%d messages", len(all))
	}
	await(t, "the budget is given back", func() bool { return b.free(16 << 20) })
}

// The buffers that a request passes through depend on the largest message.
func TestALargeRequestIsStoredWhateverTheLargestMessageIs(t *testing.T) {
	for _, size := range []int{1000, 20_000, 256 << 10, 700 << 10, 3 << 20} {
		b := start(t, setup{limits: func(l *broker.Limits) { l.MaxMessage = size }})
		b.server.StreamFrom(5000)
		b.topic("orders", 12)
		var writes []write
		for n := range int32(12) {
			writes = append(writes, write{"orders", n, batchOf(size - 100)}, write{"orders", n, batchOf(5 + int(n))})
		}
		c := b.dial()
		for i, out := range ask[*kmsg.ProduceResponse](c, produceRequest(writes...)).Topics {
			if p := out.Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(i%2) {
				t.Fatalf("messages of %d, write %d: %+v", size, i, p)
			}
		}
		b.stop()
	}
}

// A batch that is too large costs no more than its own answer.
func TestALargeBatchInALargeRequestIsTooLarge(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 16 << 20 }})
	b.topic("orders", 3)
	c := b.dial()
	resp := ask[*kmsg.ProduceResponse](c, produceRequest(
		write{"orders", 0, messages(1)}, write{"orders", 1, make([]byte, 20<<20)}, write{"orders", 2, messages(1)}))
	for i, want := range []*kerr.Error{nil, kerr.MessageTooLarge, nil} {
		wantCode(t, fmt.Sprint("partition ", i), resp.Topics[i].Partitions[0].ErrorCode, want)
	}
}

// oddRequest is a request to produce with all that clients may get right and wrong.
func oddRequest(r *rand.Rand, version int16, topic *broker.Topic) *kmsg.ProduceRequest {
	req := produceRequest()
	req.Version = version
	if r.IntN(8) == 0 {
		req.Acks = 7
	}
	if r.IntN(8) == 0 {
		req.TransactionID = kmsg.StringPtr("a transaction")
	}
	for range r.IntN(4) {
		t := kmsg.NewProduceRequestTopic()
		if t.Topic, t.TopicID = topic.Name, topic.ID; r.IntN(4) == 0 {
			t.Topic, t.TopicID = []string{"unknown", broker.PositionsTopic, ""}[r.IntN(3)], [16]byte{1}
		}
		for range r.IntN(4) {
			p := kmsg.ProduceRequestTopicPartition{Partition: r.Int32N(4)}
			switch r.IntN(6) {
			case 0:
				p.Records = []byte("not a batch")
			case 1:
				p.Records = nil
			case 2:
				p.Records = make([]byte, 3000+broker.BatchSlack)
			case 3:
				p.Records = changed(30, 9, false)
			default:
				p.Records = messages(1 + r.IntN(5))
			}
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// Both ways to take a request give the same answer, and store the same.
func TestARequestIsTakenPieceByPieceAsItIsWhole(t *testing.T) {
	limits := func(l *broker.Limits) { l.MaxMessage = 2000 }
	whole, pieces := start(t, setup{limits: limits}), start(t, setup{limits: limits})
	pieces.server.StreamFrom(1)
	topics := [2]*broker.Topic{whole.topic("orders", 3), pieces.topic("orders", 3)}
	clients := [2]*client{whole.dial(), pieces.dial()}
	for seed := range uint64(300) {
		version := int16(3 + seed%11)
		var answers [2]*kmsg.ProduceResponse
		for i, c := range clients {
			answers[i] = ask[*kmsg.ProduceResponse](c, oddRequest(rand.New(rand.NewPCG(seed, 1)), version, topics[i]))
			for j := range answers[i].Topics {
				if answers[i].Topics[j].TopicID == topics[i].ID {
					answers[i].Topics[j].TopicID = [16]byte{9}
				}
			}
		}
		one, _ := json.Marshal(answers[0].Topics)
		if other, _ := json.Marshal(answers[1].Topics); !bytes.Equal(one, other) {
			t.Fatalf("seed %d, version %d: whole\n%s\npiece by piece\n%s", seed, version, one, other)
		}
	}
	for i := range 3 {
		_, one := topics[0].Partitions()[i].Offsets()
		if _, other := topics[1].Partitions()[i].Offsets(); one != other || one == 0 {
			t.Errorf("partition %d ends at %d and %d", i, one, other)
		}
	}
}

func TestARequestThatIsCutShortEndsItsConnectionAndNoMore(t *testing.T) {
	b := start(t, setup{})
	b.server.StreamFrom(1)
	topic := b.topic("orders", 2)
	for _, version := range []int16{3, 9, 13} {
		req := produceRequest(write{"orders", 0, messages(1)}, write{"orders", 1, messages(2)})
		req.Version = version
		for i := range req.Topics {
			req.Topics[i].TopicID = topic.ID
		}
		p := frame(req, 1)
		for cut := sizeAndKey; cut < len(p); cut += 1 + cut/40 {
			for _, claimed := range []int{len(p) - 4, cut - 4} { // the connection ends, or the frame does
				q := bytes.Clone(p[:cut])
				binary.BigEndian.PutUint32(q, uint32(claimed))
				fuzzed(t, b, q)
			}
		}
	}
	b.dial().publish("orders", 0, messages(1))
	await(t, "the budget is given back", func() bool { return b.free(int(b.broker.Limits.MaxInFlight)) })
}

// sizeAndKey is the size of what tells a frame's size and kind.
const sizeAndKey = 12

// While a large request comes slowly what was asked before it is answered.
func TestARequestThatComesSlowlyHoldsNoAnswerBack(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	b.server.StreamFrom(5000)
	c := b.dial()
	first := produceRequest(write{"orders", 0, messages(1)})
	large := frame(produceRequest(write{"orders", 0, batchOf(8000)}), 2)
	c.sent++
	if _, err := c.Write(append(frame(first, 1), large[:6000]...)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "the one before", produced(c.receive(first).(*kmsg.ProduceResponse)).ErrorCode, nil)
	if _, err := c.Write(large[6000:]); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "the large one", produced(c.receive(first).(*kmsg.ProduceResponse)).ErrorCode, nil)
}

func TestALargeRequestWithoutAnswerIsStoredOrEndsItsConnection(t *testing.T) {
	b := start(t, setup{})
	b.server.StreamFrom(1)
	topic := b.topic("orders", 1)
	c := b.dial()
	req := produceRequest(write{"orders", 0, messages(3)})
	req.Acks = 0
	c.send(req)
	await(t, "it is stored", func() bool {
		_, end := topic.Partitions()[0].Offsets()
		return end == 3
	})
	c.send(produceRequest(write{"unknown", 0, messages(3)}, write{"orders", 0, nil}))
	req = produceRequest(write{"unknown", 0, messages(3)})
	req.Acks = 0
	c.send(req)
	c.sent, c.read = 0, 1 // the first was not answered
	c.receive(produceRequest())
	c.mustBeClosed()
}

// What a request claims to hold is not believed.
func TestHostileStreamsEndTheirConnections(t *testing.T) {
	b := start(t, setup{})
	b.server.StreamFrom(1)
	b.topic("orders", 1)
	header := []byte{0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0}
	for name, body := range map[string][]byte{
		"more partitions than bytes": append([]byte{0, 0, 1, 0, 0, 0, 0, 2, 7}, append([]byte("orders"), 0xff, 0xff, 0xff, 0xff, 0x0f)...),
		"more topics than bytes":     {0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"a name without end":         {0, 0, 1, 0, 0, 0, 0, 2, 0xff, 0xff, 0x7f},
		"a number without end":       bytes.Repeat([]byte{0xff}, 60),
		"tags without end":           {0, 0, 1, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1},
		"nothing":                    {},
	} {
		c := b.dial()
		if _, err := c.Write(raw(append(bytes.Clone(header), body...)...)); err != nil {
			t.Fatal(err)
		}
		c.Conn.(*net.TCPConn).CloseWrite()
		c.mustBeClosed()
		await(t, name, func() bool { return len(b.server.Connections()) == 0 })
	}
	many := append(bytes.Clone(header), 0, 0, 1, 0, 0, 0, 0, 2, 7)
	many = append(append(many, "orders"...), 0x81, 0x80, 0x20) // 2^19
	many = append(many, bytes.Repeat([]byte{0, 0, 0, 0, 0, 0}, 1<<19)...)
	c := b.dial()
	c.Write(raw(many...)) // may fail
	c.mustBeClosed()
	await(t, "it has the reason in the log", func() bool { return b.book.Lines("closing", "too many elements") != nil })
}

func FuzzStream(f *testing.F) {
	b := start(f, setup{})
	b.server.StreamFrom(1)
	b.topic("orders", 2)
	for version := int16(3); version <= 13; version++ {
		req := produceRequest(write{"orders", 0, messages(2)}, write{"orders", 1, messages(1)})
		req.Version = version
		f.Add(frame(req, 1))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if p = bytes.Clone(p); len(p) > sizeAndKey {
			binary.BigEndian.PutUint32(p, uint32(len(p)-4))
			binary.BigEndian.PutUint16(p[4:], 0)
		}
		fuzzed(t, b, p)
	})
}
