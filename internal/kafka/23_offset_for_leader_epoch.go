package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// OffsetForLeaderEpoch, versions 2 to 4: a partition has one leader epoch, which
// ends at the high watermark.
func init() {
	register(api{
		key: 23, min: 2, max: 4, handle: typed(offsetForLeaderEpoch),
		doc: "A partition has one leader epoch; that of a topic made anew is higher.",
	})
}

func offsetForLeaderEpoch(c *call, req *kmsg.OffsetForLeaderEpochRequest) {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			answer := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			answer.Partition = p.Partition
			topic, log, failed := c.server.partition(t.Topic, p.Partition)
			if failed == 0 {
				failed = checkEpoch(topic, p.Partition, p.CurrentLeaderEpoch)
			}
			if answer.ErrorCode = failed; failed == 0 && p.LeaderEpoch == leaderEpoch(topic, p.Partition) {
				answer.LeaderEpoch = p.LeaderEpoch
				_, answer.EndOffset = log.Offsets()
			}
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	c.reply(resp)
}
