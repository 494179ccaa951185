package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// OffsetForLeaderEpoch, versions 2 to 4: a partition has one leader epoch, which ends at the
// high watermark. An earlier one, of a deleted topic of the same name, ends where the log
// begins, as in Kafka: a consumer continues there. An epoch that this broker has never given
// to a topic, such as 0, counts as the partition's own.
func init() {
	register(api{
		key: 23, min: 2, max: 4, handle: typed(offsetForLeaderEpoch),
		doc: "A partition has one leader epoch; a topic that is created again has a higher one.",
	})
}

func offsetForLeaderEpoch(c *call, req *kmsg.OffsetForLeaderEpochRequest) {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			result := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			result.Partition = p.Partition
			topic, log, failed := c.topics().partition(t.Topic, p.Partition, broker.Describe)
			if failed == 0 {
				failed = checkEpoch(topic, p.Partition, p.CurrentLeaderEpoch)
			}
			if result.ErrorCode = failed; failed == 0 {
				result.LeaderEpoch, result.EndOffset = endOfEpoch(topic, log, p.Partition, p.LeaderEpoch)
			}
			out.Partitions = append(out.Partitions, result)
		}
		resp.Topics = append(resp.Topics, out)
	}
	c.reply(resp)
}

// endOfEpoch is the epoch and its end offset in the log of a partition, or -1 and -1.
func endOfEpoch(t *broker.Topic, log *broker.Partition, partition, asked int32) (epoch int32, end int64) {
	start, high := log.Offsets()
	own := leaderEpoch(t, partition)
	switch {
	case asked < 0 || asked > own:
		return -1, -1
	case isFormerEpoch(t, partition, asked):
		return asked, start
	}
	return own, high
}
