package kafka

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// DescribeTopicPartitions (KIP-966), version 0: the topics that are named, all if none is,
// in the order of their names. A response has a limited number of partitions; its cursor
// names the first partition that is missing, for the next request to begin with. No topic
// is created. All replicas of a partition are always in sync.
func init() {
	register(api{
		key: 75, min: 0, max: 0, handle: typed(describeTopicPartitions),
		doc: "At most 2000 partitions in a response, and a cursor to the next one. No authorized operations.",
	})
}

// maxDescribed is the largest number of partitions in a response: Kafka's default of
// max.request.partition.size.limit.
const maxDescribed = 2000

func describeTopicPartitions(c *call, req *kmsg.DescribeTopicPartitionsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(names) == 0 {
		for _, t := range c.topics().all() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	var from kmsg.DescribeTopicPartitionsRequestCursor
	if req.Cursor != nil {
		from = *req.Cursor
	}
	left := min(max(int(req.ResponsePartitionLimit), 1), maxDescribed)
	for _, name := range slices.Compact(names) {
		if name < from.Topic {
			continue
		}
		first := 0
		if name == from.Topic {
			first = int(from.Partition)
		}
		if left == 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name}
			break
		}
		topic, next := c.describePartitions(name, first, left)
		resp.Topics = append(resp.Topics, topic)
		if next > 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: int32(next)}
			break
		}
		left -= len(topic.Partitions)
	}
	c.reply(resp)
}

// describePartitions describes a topic and at most so many of its partitions, from first on.
// next is the first partition that is left out; 0 if none is.
func (c *call) describePartitions(name string, first, most int) (out kmsg.DescribeTopicPartitionsResponseTopic, next int) {
	out = kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic = &name
	t, err := c.topics().existing(name, broker.Describe)
	if err == nil && first < 0 {
		err = fmt.Errorf("%w: a cursor at partition %d", kerr.InvalidRequest, first)
	}
	if out.ErrorCode = code(err); err != nil {
		return out, 0
	}
	out.TopicID, out.IsInternal = t.ID, broker.Internal(name)
	end := len(t.Partitions())
	if end-first > most {
		end = first + most
		next = end
	}
	if first >= end {
		return out, next
	}
	for _, of := range partitionsOf(t, first, end, c.server.holders()) {
		p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		p.ErrorCode, p.Partition, p.LeaderID, p.LeaderEpoch = of.ErrorCode, of.Partition, of.Leader, of.LeaderEpoch
		p.Replicas, p.ISR = of.Replicas, of.ISR
		out.Partitions = append(out.Partitions, p)
	}
	return out, next
}
