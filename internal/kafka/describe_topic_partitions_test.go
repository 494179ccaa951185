package kafka_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/kafka"
)

// describeTopicPartitions asks for so many partitions of topics, from a partition of one on.
func describeTopicPartitions(most int32, from *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) *kmsg.DescribeTopicPartitionsRequest {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit, req.Cursor = most, from
	for _, name := range names {
		t := kmsg.NewDescribeTopicPartitionsRequestTopic()
		t.Topic = name
		req.Topics = append(req.Topics, t)
	}
	return req
}

// partitionsOf lists the partitions of a response, and the error codes of topics.
func partitionsOf(resp *kmsg.DescribeTopicPartitionsResponse) (all []string) {
	for _, t := range resp.Topics {
		if t.ErrorCode != 0 {
			all = append(all, fmt.Sprintf("%s: %v", *t.Topic, kerr.ErrorForCode(t.ErrorCode).(*kerr.Error).Message))
		}
		for _, p := range t.Partitions {
			all = append(all, fmt.Sprintf("%s/%d", *t.Topic, p.Partition))
		}
	}
	return all
}

func TestDescribeTopicPartitionsSaysWhatMetadataSays(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{NodeID: 5}})
	made := b.topic("orders", 2)
	resp, err := describeTopicPartitions(2000, nil, "orders").RequestWith(patient(t), b.franz())
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Topics) != 1 || resp.NextCursor != nil {
		t.Fatalf("%+v", resp)
	}
	topic := resp.Topics[0]
	if *topic.Topic != "orders" || topic.TopicID != made.ID || topic.ErrorCode != 0 || topic.IsInternal {
		t.Errorf("%+v", topic)
	}
	want := ask[*kmsg.MetadataResponse](b.dial(), metadataFor(13, "orders")).Topics[0].Partitions
	for i, p := range topic.Partitions {
		w := want[i]
		if p.Partition != w.Partition || p.LeaderID != w.Leader || p.LeaderEpoch != w.LeaderEpoch || !slices.Equal(p.Replicas, w.Replicas) || !slices.Equal(p.ISR, w.ISR) || p.ErrorCode != 0 {
			t.Errorf("partition %+v, Metadata has %+v", p, w)
		}
	}
	if len(topic.Partitions) != len(want) {
		t.Errorf("%d partitions", len(topic.Partitions))
	}
}

func TestDescribeTopicPartitionsGoesOnAtItsCursor(t *testing.T) {
	b := start(t, setup{})
	b.topic("a", 3)
	b.topic("b", 1)
	b.topic("c", 2)
	c := b.dial()
	want := []string{"a/0", "a/1", "a/2", "b/0", "c/0", "c/1"}
	for most := int32(-1); most <= 7; most++ {
		for _, names := range [][]string{nil, {"c", "a", "b", "a"}} {
			var all []string
			var from *kmsg.DescribeTopicPartitionsRequestCursor
			for range want {
				resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, describeTopicPartitions(most, from, names...))
				part := partitionsOf(resp)
				if len(part) > max(int(most), 1) {
					t.Errorf("limit %d: %q", most, part)
				}
				all = append(all, slices.DeleteFunc(part, func(p string) bool { return p[0] == '_' })...)
				if resp.NextCursor == nil {
					break
				}
				from = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
			}
			if !slices.Equal(all, want) {
				t.Errorf("limit %d, topics %q: %q", most, names, all)
			}
		}
	}
}

func TestDescribeTopicPartitionsSaysWhatIsWrong(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 2)
	c := b.dial()
	cursor := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		return &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topic, Partition: partition}
	}
	for _, test := range []struct {
		from  *kmsg.DescribeTopicPartitionsRequestCursor
		names []string
		want  []string
	}{
		{nil, []string{"orders", "missing", "a/b"}, []string{"a/b: INVALID_TOPIC_EXCEPTION", "missing: UNKNOWN_TOPIC_OR_PARTITION", "orders/0", "orders/1"}},
		{cursor("orders", -1), []string{"orders"}, []string{"orders: INVALID_REQUEST"}},
		{cursor("orders", 2), []string{"orders"}, nil},
		{cursor("orders", 1<<31-1), []string{"orders"}, nil},
		{cursor("b", 7), []string{"a", "orders"}, []string{"orders/0", "orders/1"}},
		{cursor("z", 0), []string{"orders"}, nil},
	} {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, describeTopicPartitions(10, test.from, test.names...))
		if got := partitionsOf(resp); !slices.Equal(got, test.want) {
			t.Errorf("from %+v, topics %q: %q, want %q", test.from, test.names, got, test.want)
		}
	}
	if _, err := b.broker.Topic("missing"); err == nil {
		t.Error("a topic was created")
	}
}
