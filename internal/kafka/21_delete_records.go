package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// DeleteRecords, versions 0 to 2: moves the log start offset; -1 is the high watermark, with
// the batches produced earlier on the connection. The records before it are deleted for good.
// Positions before it stay as they are.
func init() {
	register(api{
		key: 21, min: 0, max: 2, handle: typed(deleteRecords),
		doc: "Moves the log start offset.",
	})
}

func deleteRecords(c *call, req *kmsg.DeleteRecordsRequest) {
	c.afterEarlier(func() { c.reply(c.deleteAll(req)) })
}

func (c *call) deleteAll(req *kmsg.DeleteRecordsRequest) *kmsg.DeleteRecordsResponse {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for _, t := range req.Topics {
		out := kmsg.NewDeleteRecordsResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			out.Partitions = append(out.Partitions, c.deleteRecords(t.Topic, p.Partition, p.Offset))
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (c *call) deleteRecords(topic string, number int32, before int64) kmsg.DeleteRecordsResponseTopicPartition {
	out := kmsg.NewDeleteRecordsResponseTopicPartition()
	out.Partition, out.LowWatermark = number, -1
	_, log, failed := c.topics().partition(topic, number, broker.Delete)
	if failed == 0 && broker.Internal(topic) {
		failed = kerr.InvalidTopicException.Code
	}
	if out.ErrorCode = failed; failed != 0 {
		return out
	}
	if before == -1 {
		_, before = log.Offsets()
	}
	if before < 0 {
		out.ErrorCode = kerr.OffsetOutOfRange.Code
		return out
	}
	if err := log.Trim(before); err != nil {
		out.ErrorCode = code(err)
		return out
	}
	out.LowWatermark, _ = log.Offsets()
	broker.AuditChange(c.conn.view, "trim", broker.TopicResource, topic, "partition", number, "start", out.LowWatermark)
	return out
}
