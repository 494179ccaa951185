package clients

import (
	"fmt"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// confluentConfig is a configuration of librdkafka.
func confluentConfig(b *broker, extra ...string) *kafka.ConfigMap {
	c := kafka.ConfigMap{"bootstrap.servers": b.address}
	for i := 0; i < len(extra); i += 2 {
		c[extra[i]] = extra[i+1]
	}
	return &c
}

func confluentSend(t *testing.T, b *broker, topic string, restartAt int, extra ...string) {
	t.Helper()
	p, err := kafka.NewProducer(confluentConfig(b, extra...))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range perTopic {
		m := messageOf(topic, i)
		if err := p.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny},
			Key:            []byte(m.key), Value: []byte(m.value), Timestamp: time.UnixMilli(m.millis),
			Headers: []kafka.Header{{Key: "h", Value: []byte(m.header)}},
		}, nil); err != nil {
			t.Fatal(err)
		}
		if i == restartAt {
			b.restart()
		}
	}
	delivered := 0
	for deadline := time.After(patience); delivered < perTopic; {
		select {
		case e := <-p.Events():
			if m, ok := e.(*kafka.Message); ok {
				if delivered++; m.TopicPartition.Error != nil {
					t.Fatal(m.TopicPartition.Error)
				}
			}
		case <-deadline:
			t.Fatalf("%d messages are delivered", delivered)
		}
	}
}

func confluentRead(t *testing.T, c *kafka.Consumer, n int) (got []message) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(got) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d messages have come", len(got))
		}
		switch e := c.Poll(100).(type) {
		case *kafka.Message:
			if e.TopicPartition.Error != nil {
				t.Fatal(e.TopicPartition.Error)
			}
			got = append(got, message{string(e.Key), string(e.Value), string(e.Headers[0].Value), e.Timestamp.UnixMilli()})
		case kafka.Error:
			t.Fatal(e)
		}
	}
	return got
}

// confluentConsumer reads a partition from an offset on.
func confluentConsumer(t *testing.T, b *broker, topic string, from kafka.Offset) *kafka.Consumer {
	t.Helper()
	c, err := kafka.NewConsumer(confluentConfig(b, "group.id", "unused", "enable.auto.commit", "false"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Assign([]kafka.TopicPartition{{Topic: &topic, Offset: from}}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfluentWithEveryCodecAndAcknowledgement(t *testing.T) {
	b := start(t)
	for name := range codecs {
		for _, acks := range []string{"0", "1", "all"} {
			topic := fmt.Sprintf("%s-%s", name, acks)
			t.Run(topic, func(t *testing.T) {
				confluentSend(t, b, topic, -1, "compression.type", name, "acks", acks, "linger.ms", "20")
				wantAll(t, topic, confluentRead(t, confluentConsumer(t, b, topic, kafka.OffsetBeginning), perTopic))
				if !b.compressed(topic, codecs[name]) {
					t.Errorf("the batches are not %s", name)
				}
			})
		}
	}
}

func TestConfluentIdempotentProducerGoesOnOverARestart(t *testing.T) {
	b := start(t)
	confluentSend(t, b, "orders", perTopic/2, "enable.idempotence", "true", "linger.ms", "0")
	wantAll(t, "orders", confluentRead(t, confluentConsumer(t, b, "orders", kafka.OffsetBeginning), perTopic))
}

func TestConfluentIsToldThatThereAreNoTransactions(t *testing.T) {
	b := start(t)
	p, err := kafka.NewProducer(confluentConfig(b, "transactional.id", "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = p.InitTransactions(patient(t))
	if told, ok := err.(kafka.Error); !ok || told.Code() == kafka.ErrTimedOut {
		t.Errorf("transactions: %v", err)
	}
}

func TestConfluentConsumesFromOffsetAndTime(t *testing.T) {
	b := start(t)
	confluentSend(t, b, "orders", -1)
	if m := confluentRead(t, confluentConsumer(t, b, "orders", 150), 1)[0]; m != messageOf("orders", 150) {
		t.Errorf("%+v", m)
	}
	c := confluentConsumer(t, b, "orders", kafka.OffsetBeginning)
	topic := "orders"
	at, err := c.OffsetsForTimes([]kafka.TopicPartition{{Topic: &topic, Offset: kafka.Offset(messageOf("", 60).millis)}}, int(patience.Milliseconds()))
	if err != nil || at[0].Offset != 60 {
		t.Errorf("by time: %+v, %v", at, err)
	}
	low, high, err := c.QueryWatermarkOffsets("orders", 0, int(patience.Milliseconds()))
	if err != nil || low != 0 || high != perTopic {
		t.Errorf("watermarks: %d, %d, %v", low, high, err)
	}
}

// A consumer that chooses its partitions itself has no generation, and may have an instance id.
func TestConfluentCommitsWithoutAMembership(t *testing.T) {
	b := start(t)
	confluentSend(t, b, "orders", -1)
	for _, instance := range []string{"", "one"} {
		config := []string{"group.id", "chosen-" + instance, "enable.auto.commit", "false"}
		if instance != "" {
			config = append(config, "group.instance.id", instance)
		}
		topic := "orders"
		c, err := kafka.NewConsumer(confluentConfig(b, config...))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Assign([]kafka.TopicPartition{{Topic: &topic, Offset: kafka.OffsetBeginning}}); err != nil {
			t.Fatal(err)
		}
		confluentRead(t, c, 80)
		if _, err := c.Commit(); err != nil {
			t.Errorf("instance %q: %v", instance, err)
		}
		at, err := c.Committed([]kafka.TopicPartition{{Topic: &topic}}, int(patience.Milliseconds()))
		if err != nil || at[0].Offset != 80 {
			t.Errorf("instance %q: committed %+v, %v", instance, at, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An epoch from elsewhere that comes with an offset is no sign of a truncation.
func TestConfluentSeeksWithALeaderEpochFromElsewhere(t *testing.T) {
	b := start(t)
	confluentSend(t, b, "orders", -1)
	c := confluentConsumer(t, b, "orders", kafka.OffsetBeginning)
	confluentRead(t, c, 1)
	topic, epoch := "orders", int32(0)
	if err := c.Seek(kafka.TopicPartition{Topic: &topic, Offset: 150, LeaderEpoch: &epoch}, int(patience.Milliseconds())); err != nil {
		t.Fatal(err)
	}
	if m := confluentRead(t, c, 1)[0]; m != messageOf("orders", 150) {
		t.Errorf("%+v", m)
	}
}

func TestConfluentGroupGoesOnWhereItHasCommitted(t *testing.T) {
	b := start(t)
	confluentSend(t, b, "orders", -1)
	for _, strategy := range []string{"range,roundrobin", "cooperative-sticky"} {
		var all []message
		for _, n := range []int{80, perTopic - 80} {
			c, err := kafka.NewConsumer(confluentConfig(b, "group.id", "billing-"+strategy[:5], "auto.offset.reset", "earliest",
				"enable.auto.commit", "false", "partition.assignment.strategy", strategy))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Subscribe("orders", nil); err != nil {
				t.Fatal(err)
			}
			all = append(all, confluentRead(t, c, n)...)
			if _, err := c.Commit(); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		wantAll(t, "orders", all)
	}
}

func TestConfluentAdministersTopicsAndGroups(t *testing.T) {
	b := start(t)
	confluentSend(t, b, "orders", -1)
	admin, err := kafka.NewAdminClient(confluentConfig(b))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx := patient(t)
	made, err := admin.CreateTopics(ctx, []kafka.TopicSpecification{{Topic: "made", NumPartitions: 3, ReplicationFactor: 1}})
	if err != nil || made[0].Error.Code() != kafka.ErrNoError {
		t.Fatalf("%+v, %v", made, err)
	}
	m, err := admin.GetMetadata(nil, true, int(patience.Milliseconds()))
	if err != nil || len(m.Topics["made"].Partitions) != 3 {
		t.Errorf("%+v, %v", m, err)
	}
	described, err := admin.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames([]string{"made"}))
	if err != nil || len(described.TopicDescriptions[0].Partitions) != 3 {
		t.Errorf("%+v, %v", described, err)
	}
	if _, err := admin.DescribeCluster(ctx); err != nil {
		t.Error(err)
	}
	configs, err := admin.DescribeConfigs(ctx, []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: "made"}})
	if err != nil || len(configs[0].Config) == 0 {
		t.Errorf("%+v, %v", configs, err)
	}
	grown, err := admin.CreatePartitions(ctx, []kafka.PartitionsSpecification{{Topic: "made", IncreaseTo: 5}})
	if err != nil || grown[0].Error.Code() != kafka.ErrNoError {
		t.Errorf("%+v, %v", grown, err)
	}
	if m, err := admin.GetMetadata(nil, true, int(patience.Milliseconds())); err != nil || len(m.Topics["made"].Partitions) != 5 {
		t.Errorf("%+v, %v", m, err)
	}
	set, err := admin.IncrementalAlterConfigs(ctx, []kafka.ConfigResource{{
		Type: kafka.ResourceTopic, Name: "made",
		Config: []kafka.ConfigEntry{{Name: "retention.ms", Value: "60000", IncrementalOperation: kafka.AlterConfigOpTypeSet}},
	}})
	if err != nil || set[0].Error.Code() != kafka.ErrNoError {
		t.Errorf("%+v, %v", set, err)
	}
	configs, err = admin.DescribeConfigs(ctx, []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: "made"}})
	if err != nil || configs[0].Config["retention.ms"].Value != "60000" || configs[0].Config["retention.ms"].Source != kafka.ConfigSourceDynamicTopic {
		t.Errorf("%+v, %v", configs, err)
	}
	groups, err := admin.ListConsumerGroups(ctx)
	if err != nil || len(groups.Errors) > 0 {
		t.Errorf("%+v, %v", groups, err)
	}
	topic := "orders"
	if r, err := admin.DeleteRecords(ctx, []kafka.TopicPartition{{Topic: &topic, Offset: 40}}); err != nil ||
		r.DeleteRecordsResults[0].TopicPartition.Error != nil {
		t.Errorf("%+v, %v", r, err)
	}
	deleted, err := admin.DeleteTopics(ctx, []string{"made"})
	if err != nil || deleted[0].Error.Code() != kafka.ErrNoError {
		t.Errorf("%+v, %v", deleted, err)
	}
}

// The epoch of a topic that was deleted and created again is higher, and its records are not those that the
// consumer has read.
func TestConfluentConsumerGoesOnWithATopicMadeAnew(t *testing.T) {
	b := start(t)
	confluentSend(t, b, "orders", -1)
	c, err := kafka.NewConsumer(confluentConfig(b, "group.id", "billing", "auto.offset.reset", "earliest",
		"topic.metadata.refresh.interval.ms", "100"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe("orders", nil); err != nil {
		t.Fatal(err)
	}
	wantAll(t, "orders", confluentRead(t, c, perTopic))
	held, err := c.Assignment()
	if err == nil {
		err = c.Pause(held)
	}
	if err != nil {
		t.Fatal(err)
	}
	admin, err := kafka.NewAdminClient(confluentConfig(b))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx := patient(t)
	deleted, err := admin.DeleteTopics(ctx, []string{"orders"})
	if err != nil || deleted[0].Error.Code() != kafka.ErrNoError {
		t.Fatalf("%+v, %v", deleted, err)
	}
	confluentSend(t, b, "orders", -1)
	confluentSend(t, b, "orders", -1)
	if err := c.Resume(held); err != nil {
		t.Fatal(err)
	}
	read := 0
	for deadline := time.Now().Add(patience); read < 2*perTopic && time.Now().Before(deadline); {
		m, ok := c.Poll(100).(*kafka.Message) // or that the topic was not there for a moment
		if !ok || m.TopicPartition.Error != nil {
			continue
		}
		if read++; read == 1 && m.TopicPartition.Offset != 0 {
			t.Fatalf("goes on at offset %v", m.TopicPartition.Offset)
		}
	}
	if read != 2*perTopic {
		t.Errorf("%d messages have come", read)
	}
}
