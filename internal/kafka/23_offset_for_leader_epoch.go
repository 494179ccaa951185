package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// OffsetForLeaderEpoch, versions 2 to 4: there is one leader epoch, 0, which ends
// at the high watermark.
func init() {
	register(api{
		key: 23, min: 2, max: 4, handle: typed(offsetForLeaderEpoch),
		doc: "There is one leader epoch, 0.",
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
			_, log, failed := c.server.partition(t.Topic, p.Partition)
			if failed == 0 {
				failed = checkEpoch(p.CurrentLeaderEpoch)
			}
			if answer.ErrorCode = failed; failed == 0 && p.LeaderEpoch == leaderEpoch {
				answer.LeaderEpoch = leaderEpoch
				_, answer.EndOffset = log.Offsets()
			}
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	c.reply(resp)
}
