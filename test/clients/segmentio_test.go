package clients

import (
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

func segmentioSend(t *testing.T, b *broker, topic string, codec kafka.Compression, acks kafka.RequiredAcks) {
	t.Helper()
	w := &kafka.Writer{
		Addr: kafka.TCP(b.address), Topic: topic, Compression: codec, RequiredAcks: acks,
		AllowAutoTopicCreation: true, BatchTimeout: 10 * time.Millisecond, BatchSize: perTopic,
	}
	var all []kafka.Message
	for i := range perTopic {
		m := messageOf(topic, i)
		all = append(all, kafka.Message{
			Key: []byte(m.key), Value: []byte(m.value), Time: time.UnixMilli(m.millis),
			Headers: []kafka.Header{{Key: "h", Value: []byte(m.header)}},
		})
	}
	if err := w.WriteMessages(patient(t), all...); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func segmentioRead(t *testing.T, r *kafka.Reader, n int) (got []message) {
	t.Helper()
	ctx := patient(t)
	for range n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("after %d messages: %v", len(got), err)
		}
		got = append(got, message{string(m.Key), string(m.Value), string(m.Headers[0].Value), m.Time.UnixMilli()})
	}
	return got
}

func TestSegmentioWithEveryCodecAndAcknowledgement(t *testing.T) {
	b := start(t)
	for name, codec := range map[string]kafka.Compression{
		"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
	} {
		for _, acks := range []kafka.RequiredAcks{kafka.RequireAll, kafka.RequireOne, kafka.RequireNone} {
			topic := fmt.Sprintf("%s-%d", name, int(acks)+1)
			t.Run(topic, func(t *testing.T) {
				segmentioSend(t, b, topic, codec, acks)
				r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{b.address}, Topic: topic, MaxWait: time.Second})
				defer r.Close()
				wantAll(t, topic, segmentioRead(t, r, perTopic))
				if !b.compressed(topic, codecs[name]) {
					t.Errorf("the batches are not %s", name)
				}
			})
		}
	}
}

func TestSegmentioReadsFromOffsetAndTime(t *testing.T) {
	b := start(t)
	segmentioSend(t, b, "orders", 0, kafka.RequireAll)
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{b.address}, Topic: "orders", MaxWait: time.Second})
	defer r.Close()
	if err := r.SetOffset(120); err != nil {
		t.Fatal(err)
	}
	if m := segmentioRead(t, r, 1)[0]; m != messageOf("orders", 120) {
		t.Errorf("offset 120: %+v", m)
	}
	if err := r.SetOffsetAt(patient(t), time.UnixMilli(messageOf("", 33).millis)); err != nil {
		t.Fatal(err)
	}
	if m := segmentioRead(t, r, 1)[0]; m != messageOf("orders", 33) {
		t.Errorf("by time: %+v", m)
	}
}

func TestSegmentioGroupGoesOnWhereItHasCommitted(t *testing.T) {
	b := start(t)
	segmentioSend(t, b, "orders", 0, kafka.RequireAll)
	var all []message
	for _, n := range []int{80, perTopic - 80} {
		r := kafka.NewReader(kafka.ReaderConfig{
			Brokers: []string{b.address}, Topic: "orders", GroupID: "billing", MaxWait: time.Second,
			StartOffset: kafka.FirstOffset,
		})
		all = append(all, segmentioRead(t, r, n)...)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	wantAll(t, "orders", all)
}

// Its Client leaves the leader epoch of a commit at 0.
func TestSegmentioClientCommitsAsAMember(t *testing.T) {
	b := start(t)
	cl := &kafka.Client{Addr: kafka.TCP(b.address)}
	made, err := cl.CreateTopics(patient(t), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "orders", NumPartitions: 3, ReplicationFactor: 1}}})
	if err != nil || made.Errors["orders"] != nil {
		t.Fatal(err, made)
	}
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: "billing", Topics: []string{"orders"}, Brokers: []string{b.address}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gen, err := g.Next(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	all := []kafka.OffsetCommit{{Partition: 0, Offset: 5}, {Partition: 1, Offset: 6}, {Partition: 2, Offset: 7}}
	r, err := cl.OffsetCommit(patient(t), &kafka.OffsetCommitRequest{
		GroupID: "billing", GenerationID: int(gen.ID), MemberID: gen.MemberID, Topics: map[string][]kafka.OffsetCommit{"orders": all},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Topics["orders"] {
		if p.Error != nil {
			t.Errorf("partition %d: %v", p.Partition, p.Error)
		}
	}
	f, err := cl.OffsetFetch(patient(t), &kafka.OffsetFetchRequest{GroupID: "billing", Topics: map[string][]int{"orders": {0, 1, 2}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Topics["orders"] {
		if p.CommittedOffset != int64(5+p.Partition) {
			t.Errorf("%+v", p)
		}
	}
}

func TestSegmentioAdministersOverOneConnectionAndWithItsClient(t *testing.T) {
	b := start(t)
	conn, err := kafka.DialContext(patient(t), "tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.CreateTopics(kafka.TopicConfig{Topic: "made", NumPartitions: 2, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	if p, err := conn.ReadPartitions("made"); err != nil || len(p) != 2 {
		t.Errorf("partitions: %+v, %v", p, err)
	}
	if c, err := conn.Controller(); err != nil || c.ID != 1 {
		t.Errorf("controller: %+v, %v", c, err)
	}
	cl := &kafka.Client{Addr: kafka.TCP(b.address)}
	m, err := cl.Metadata(patient(t), &kafka.MetadataRequest{Topics: []string{"made"}})
	if err != nil || len(m.Topics) != 1 || len(m.Topics[0].Partitions) != 2 {
		t.Errorf("metadata: %+v, %v", m, err)
	}
	offsets, err := cl.ListOffsets(patient(t), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{"made": {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(1)}},
	})
	if err != nil || len(offsets.Topics["made"]) != 2 {
		t.Errorf("offsets: %+v, %v", offsets, err)
	}
	if err := conn.DeleteTopics("made"); err != nil {
		t.Error(err)
	}
}
