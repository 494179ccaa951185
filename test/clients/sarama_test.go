package clients

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// saramaConfig is a configuration with which what is sent can be waited for.
func saramaConfig(version sarama.KafkaVersion) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = version
	c.Producer.Return.Successes = true
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	return c
}

func saramaSend(t *testing.T, b *broker, c *sarama.Config, topic string) {
	t.Helper()
	p, err := sarama.NewSyncProducer([]string{b.address}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var all []*sarama.ProducerMessage
	for i := range perTopic {
		m := messageOf(topic, i)
		all = append(all, &sarama.ProducerMessage{
			Topic: topic, Key: sarama.StringEncoder(m.key), Value: sarama.StringEncoder(m.value),
			Headers:   []sarama.RecordHeader{{Key: []byte("h"), Value: []byte(m.header)}},
			Timestamp: time.UnixMilli(m.millis),
		})
	}
	if err := p.SendMessages(all); err != nil {
		t.Fatal(err)
	}
}

func saramaMessage(m *sarama.ConsumerMessage) message {
	out := message{key: string(m.Key), value: string(m.Value), millis: m.Timestamp.UnixMilli()}
	for _, h := range m.Headers {
		out.header = string(h.Value)
	}
	return out
}

// saramaRead reads partition 0 from an offset on.
func saramaRead(t *testing.T, b *broker, c *sarama.Config, topic string, from int64, n int) (got []message) {
	t.Helper()
	consumer, err := sarama.NewConsumer([]string{b.address}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	p, err := consumer.ConsumePartition(topic, 0, from)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx := patient(t)
	for len(got) < n {
		select {
		case m := <-p.Messages():
			got = append(got, saramaMessage(m))
		case <-ctx.Done():
			t.Fatalf("%s: %d messages have come", topic, len(got))
		}
	}
	return got
}

func TestSaramaWithEveryVersionAndCodec(t *testing.T) {
	b := start(t)
	for _, version := range []sarama.KafkaVersion{sarama.V1_0_0_0, sarama.V2_8_0_0, sarama.MaxVersion} {
		for name, codec := range map[string]sarama.CompressionCodec{
			"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
			"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
		} {
			if name == "zstd" && !version.IsAtLeast(sarama.V2_1_0_0) {
				continue // the client knows that it may not
			}
			topic := fmt.Sprintf("%s-%v", name, version)
			t.Run(topic, func(t *testing.T) {
				c := saramaConfig(version)
				c.Producer.Compression = codec
				saramaSend(t, b, c, topic)
				if !b.compressed(topic, codecs[name]) {
					t.Errorf("the batches are not %s", name)
				}
				wantAll(t, topic, saramaRead(t, b, c, topic, sarama.OffsetOldest, perTopic))
			})
		}
	}
}

func TestSaramaWithEveryKindOfAcknowledgement(t *testing.T) {
	b := start(t)
	for name, acks := range map[string]sarama.RequiredAcks{"none": sarama.NoResponse, "one": sarama.WaitForLocal, "all": sarama.WaitForAll} {
		c := saramaConfig(sarama.V2_8_0_0)
		c.Producer.RequiredAcks = acks
		saramaSend(t, b, c, name)
		wantAll(t, name, saramaRead(t, b, c, name, sarama.OffsetOldest, perTopic))
	}
}

func TestSaramaIdempotentProducerGoesOnOverARestart(t *testing.T) {
	b := start(t)
	c := saramaConfig(sarama.V2_8_0_0)
	c.Producer.Idempotent, c.Net.MaxOpenRequests = true, 1
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = 100, 100*time.Millisecond
	c.Metadata.Retry.Max = 100
	p, err := sarama.NewSyncProducer([]string{b.address}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range perTopic {
		m := messageOf("orders", i)
		if _, offset, err := p.SendMessage(&sarama.ProducerMessage{
			Topic: "orders", Key: sarama.StringEncoder(m.key), Value: sarama.StringEncoder(m.value), Timestamp: time.UnixMilli(m.millis),
			Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte(m.header)}},
		}); err != nil || offset != int64(i) {
			t.Fatalf("message %d: offset %d, %v", i, offset, err)
		}
		if i == perTopic/2 {
			b.restart()
		}
	}
	wantAll(t, "orders", saramaRead(t, b, c, "orders", sarama.OffsetOldest, perTopic))
}

func TestSaramaConsumesFromOffsetAndTime(t *testing.T) {
	b := start(t)
	c := saramaConfig(sarama.V2_8_0_0)
	saramaSend(t, b, c, "orders")
	cl, err := sarama.NewClient([]string{b.address}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for millis, want := range map[int64]int64{
		messageOf("", 50).millis: 50, sarama.OffsetOldest: 0, sarama.OffsetNewest: perTopic,
	} {
		if got, err := cl.GetOffset("orders", 0, millis); err != nil || got != want {
			t.Errorf("time %d: offset %d, %v", millis, got, err)
		}
	}
	if m := saramaRead(t, b, c, "orders", 150, 1)[0]; m != messageOf("orders", 150) {
		t.Errorf("%+v", m)
	}
}

// A saramaGroup takes messages until it has enough.
type saramaGroup struct {
	got  chan message
	want int
	done context.CancelFunc
}

func (g *saramaGroup) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (g *saramaGroup) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (g *saramaGroup) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		s.MarkMessage(m, "")
		g.got <- saramaMessage(m)
		if g.want--; g.want == 0 {
			s.Commit()
			g.done()
			return nil
		}
	}
	return nil
}

func TestSaramaGroupGoesOnWhereItHasCommitted(t *testing.T) {
	b := start(t)
	for _, version := range []sarama.KafkaVersion{sarama.V1_0_0_0, sarama.MaxVersion} {
		topic := "orders-" + version.String()
		c := saramaConfig(version)
		saramaSend(t, b, c, topic)
		got := make(chan message, 2*perTopic)
		for _, n := range []int{80, perTopic - 80} {
			ctx, cancel := context.WithCancel(patient(t))
			g, err := sarama.NewConsumerGroup([]string{b.address}, "billing-"+version.String(), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Consume(ctx, []string{topic}, &saramaGroup{got, n, cancel}); err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
		close(got)
		var all []message
		for m := range got {
			all = append(all, m)
		}
		wantAll(t, topic, all)
	}
}

func TestSaramaAdministersTopicsAndGroups(t *testing.T) {
	b := start(t)
	c := saramaConfig(sarama.MaxVersion)
	admin, err := sarama.NewClusterAdmin([]string{b.address}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.CreateTopic("made", &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false); err != nil {
		t.Fatal(err)
	}
	topics, err := admin.ListTopics()
	if err != nil || topics["made"].NumPartitions != 3 {
		t.Errorf("topics: %+v, %v", topics, err)
	}
	described, err := admin.DescribeTopics([]string{"made", "nosuch"})
	if err != nil || described[0].Err != sarama.ErrNoError || described[1].Err != sarama.ErrUnknownTopicOrPartition {
		t.Errorf("described: %+v, %v", described, err)
	}
	made := &sarama.ConfigResource{Type: sarama.TopicResource, Name: "made"}
	configs, err := admin.DescribeConfigs([]*sarama.ConfigResource{made}, sarama.DescribeConfigsOptions{})
	if err != nil || len(configs) != 1 || len(configs[0].Configs) == 0 {
		t.Errorf("configurations: %+v, %v", configs, err)
	}
	if err := admin.CreatePartitions("made", 5, nil, false); err != nil {
		t.Error(err)
	}
	limit := "5000"
	if err := admin.AlterConfig(sarama.TopicResource, "made", map[string]*string{"max.message.bytes": &limit}, false); err != nil {
		t.Error(err)
	}
	topics, err = admin.ListTopics()
	if err != nil || topics["made"].NumPartitions != 5 || *topics["made"].ConfigEntries["max.message.bytes"] != limit {
		t.Errorf("altered: %+v, %v", topics["made"], err)
	}
	brokers, controller, err := admin.DescribeCluster()
	if err != nil || len(brokers) != 1 || controller != brokers[0].ID() {
		t.Errorf("cluster: %+v, %d, %v", brokers, controller, err)
	}
	saramaSend(t, b, c, "orders")
	if err := admin.DeleteRecords("orders", map[int32]int64{0: 100}); err != nil {
		t.Error(err)
	}
	if m := saramaRead(t, b, c, "orders", sarama.OffsetOldest, 1)[0]; m != messageOf("orders", 100) {
		t.Errorf("after deleting records the first is %+v", m)
	}
	if err := admin.DeleteTopic("made"); err != nil {
		t.Error(err)
	}
	if topics, err := admin.ListTopics(); err != nil || len(topics["made"].ReplicaAssignment) > 0 {
		t.Errorf("after deleting it: %+v, %v", topics, err)
	}
	if _, err := admin.ListConsumerGroups(); err != nil {
		t.Error(err)
	}
}
