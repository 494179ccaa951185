package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// grow asks for a topic to have so many partitions; brokers are the assignment of
// the new ones.
func grow(version int16, name string, count int32, brokers ...int32) *kmsg.CreatePartitionsRequest {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version = version
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = name, count
	for _, b := range brokers {
		a := kmsg.NewCreatePartitionsRequestTopicAssignment()
		a.Replicas = []int32{b}
		t.Assignment = append(t.Assignment, a)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func TestCreatePartitionsGrowsATopicForGood(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(3))
	for version := int16(0); version <= 3; version++ {
		want := int32(version) + 2
		out := ask[*kmsg.CreatePartitionsResponse](c, grow(version, "orders", want)).Topics[0]
		if out.ErrorCode != 0 || out.Topic != "orders" {
			t.Errorf("version %d: %+v", version, out)
		}
		m := ask[*kmsg.MetadataResponse](c, metadataFor(12, "orders")).Topics[0]
		if len(m.Partitions) != int(want) {
			t.Errorf("version %d: there are %d partitions", version, len(m.Partitions))
		}
		for i, p := range m.Partitions {
			if i > 0 && p.LeaderEpoch <= m.Partitions[i-1].LeaderEpoch {
				t.Errorf("version %d: partition %d has the leader epoch %d", version, i, p.LeaderEpoch)
			}
		}
		b.topic(fmt.Sprint("between", version), 3) // has the epochs that the topic would grow into
		if base := c.publish("orders", want-1, messages(2)); base != 0 {
			t.Errorf("version %d: the new partition begins at %d", version, base)
		}
	}
	b.restart()
	c = b.dial()
	if base := c.publish("orders", 0, messages(1)); base != 3 {
		t.Errorf("the old partition goes on at %d", base)
	}
	if base := c.publish("orders", 4, messages(1)); base != 2 {
		t.Errorf("the newest partition goes on at %d", base)
	}
}

func TestCreatePartitionsSaysWhatIsWrong(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 3)
	c := b.dial()
	commitByID(c, [16]byte{}) // makes the topic of positions
	twice := grow(3, "orders", 4)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	for name, test := range map[string]struct {
		req  *kmsg.CreatePartitionsRequest
		want *kerr.Error
	}{
		"as many":           {grow(3, "orders", 3), kerr.InvalidPartitions},
		"fewer":             {grow(3, "orders", 2), kerr.InvalidPartitions},
		"too many":          {grow(3, "orders", broker.MaxPartitions+1), kerr.InvalidPartitions},
		"no topic":          {grow(3, "nosuch", 3), kerr.UnknownTopicOrPartition},
		"named twice":       {twice, kerr.InvalidRequest},
		"another broker":    {grow(3, "orders", 4, 7), kerr.InvalidReplicaAssignment},
		"assigned too few":  {grow(3, "orders", 5, 0), kerr.InvalidReplicaAssignment},
		"assigned too many": {grow(3, "orders", 4, 0, 0), kerr.InvalidReplicaAssignment},
	} {
		for _, out := range ask[*kmsg.CreatePartitionsResponse](c, test.req).Topics {
			if out.ErrorCode != test.want.Code || out.ErrorMessage == nil {
				t.Errorf("%s: code %d, want %v", name, out.ErrorCode, test.want)
			}
		}
	}
	check := grow(3, "orders", 4, 0)
	check.ValidateOnly = true
	if out := ask[*kmsg.CreatePartitionsResponse](c, check).Topics[0]; out.ErrorCode != 0 {
		t.Errorf("validated only: %+v", out)
	}
	if topic, _ := b.broker.Topic("orders"); len(topic.Partitions()) != 3 {
		t.Errorf("there are %d partitions", len(topic.Partitions()))
	}
}

func TestTheBrokersOwnTopicsDoNotGrow(t *testing.T) {
	b := start(t, setup{})
	id := b.topic("orders", 1).ID
	c := b.dial()
	commitByID(c, id)
	if out := ask[*kmsg.CreatePartitionsResponse](c, grow(3, broker.PositionsTopic, 4)).Topics[0]; out.ErrorCode != kerr.InvalidTopicException.Code {
		t.Errorf("%+v", out)
	}
}

// A consumer of a group that begins at the end where it has no position must not
// miss what is published before it learns of a new partition.
func TestAGroupGetsAllMessagesOfNewPartitions(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	id := b.topic("orders", 1).ID
	producer := b.dial()
	producer.publish("orders", 0, messages(3))
	commitByID(producer, id) // up to 2
	cl := b.franz(kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("billing"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.MetadataMinAge(10*time.Millisecond), kgo.MetadataMaxAge(100*time.Millisecond))
	poll(t, cl, 1) // it is at work
	if out := ask[*kmsg.CreatePartitionsResponse](producer, grow(3, "orders", 3)).Topics[0]; out.ErrorCode != 0 {
		t.Fatalf("%+v", out)
	}
	for p := int32(1); p < 3; p++ {
		producer.publish("orders", p, messages(5))
	}
	got := make(map[string]bool)
	for _, r := range poll(t, cl, 10) {
		got[fmt.Sprint(r.Partition, "/", r.Offset)] = true
	}
	if len(got) != 10 {
		t.Errorf("%v", got)
	}
}
