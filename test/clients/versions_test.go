package clients

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A spy is a proxy before a broker that notes which versions clients choose.
type spy struct {
	listener net.Listener
	broker   *broker
	conns    sync.WaitGroup

	mu     sync.Mutex
	newest map[int16]int16 // version by API key
}

func startSpy(t *testing.T) *spy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &spy{listener: l, newest: make(map[int16]int16), broker: startBehind(t, l.Addr().String())}
	t.Cleanup(func() {
		l.Close()
		s.conns.Wait()
	})
	s.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *spy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", s.broker.address)
	if err != nil {
		return
	}
	s.conns.Go(func() {
		_, _ = io.Copy(client, server) // until one of them leaves
		client.Close()
	})
	defer server.Close()
	for in := bufio.NewReader(client); ; {
		const sizeField, keyAt, versionAt, head = 4, 4, 6, 8
		p, err := in.Peek(head)
		if err != nil {
			return
		}
		s.note(int16(binary.BigEndian.Uint16(p[keyAt:])), int16(binary.BigEndian.Uint16(p[versionAt:])))
		if _, err := io.CopyN(server, in, sizeField+int64(binary.BigEndian.Uint32(p))); err != nil {
			return
		}
	}
}

func (s *spy) note(key, version int16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest[key] = max(version, s.newest[key])
}

// saw fails the test unless the clients have used these versions, by API key.
func (s *spy) saw(t *testing.T, want map[int16]int16) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, version := range want {
		if got := s.newest[key]; got != version {
			t.Errorf("API key %d was used in version %d, not %d", key, got, version)
		}
	}
}

func (s *spy) address() string { return s.listener.Addr().String() }

func TestFranzUsesTopicIDs(t *testing.T) {
	s := startSpy(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.address()), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("orders"),
		kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("billing"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := patient(t)
	for i := range perTopic {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	var got []*kgo.Record
	for len(got) < perTopic {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		got = append(got, fetches.Records()...)
	}
	for i, r := range got {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, r.Value)
		}
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Error(err)
	}
	s.saw(t, map[int16]int16{0: 13, 1: 18, 3: 13, 8: 10, 9: 10, 22: 5})
}

func TestLibrdkafkaFetchesByTopicID(t *testing.T) {
	s := startSpy(t)
	behind := &broker{t: t, address: s.address()}
	confluentSend(t, behind, "orders", -1, "enable.idempotence", "true")
	wantAll(t, "orders", confluentRead(t, confluentConsumer(t, behind, "orders", kafka.OffsetBeginning), perTopic))
	s.saw(t, map[int16]int16{0: 10, 1: 16, 3: 13})
}

func TestPlatformaticFetchesByTopicID(t *testing.T) {
	s := startSpy(t)
	script(t, "platformatic.js", s.address())
	s.saw(t, map[int16]int16{0: 11, 1: 17})
}

// It fills one request with a batch of each partition, here 32 MB.
func TestFranzDeliversABacklogOfManyPartitions(t *testing.T) {
	const partitions, count, size = 32, 3200, 10_000
	b := start(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.address), kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(time.Second), kgo.MaxBufferedRecords(count))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := patient(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	made := kmsg.NewCreateTopicsRequestTopic()
	made.Topic, made.NumPartitions, made.ReplicationFactor = "orders", partitions, 1
	req.Topics = append(req.Topics, made)
	if resp, err := req.RequestWith(ctx, cl); err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatal(err, resp)
	}
	failed := make(chan error, count)
	for range count {
		cl.Produce(ctx, kgo.SliceRecord(make([]byte, size)), func(_ *kgo.Record, err error) { failed <- err })
	}
	for range count {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}
