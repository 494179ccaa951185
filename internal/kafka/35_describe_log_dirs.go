package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// DescribeLogDirs, versions 0 to 4: the data directory, called "data", and the
// size of each partition in it. Without the size of the disk.
func init() {
	register(api{
		key: 35, min: 0, max: 4, handle: typed(describeLogDirs),
		doc: "One directory, called \"data\". Without the size of the disk.",
	})
}

func describeLogDirs(c *call, req *kmsg.DescribeLogDirsRequest) {
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = "data"
	dir.ErrorCode = code(c.conn.view.Allow(broker.Describe, broker.ClusterResource, ""))
	if dir.ErrorCode != 0 {
		resp.ErrorCode = dir.ErrorCode
		c.reply(resp)
		return
	}
	if req.Topics == nil {
		for _, t := range c.conn.view.Topics() {
			dir.Topics = append(dir.Topics, logSizes(t, nil))
		}
	}
	seen := make(map[string]bool)
	for _, asked := range req.Topics {
		if t, err := c.topics().existing(asked.Topic, broker.Describe); err == nil && !seen[t.Name] {
			seen[t.Name] = true
			dir.Topics = append(dir.Topics, logSizes(t, asked.Partitions))
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	c.reply(resp)
}

// logSizes are the sizes of a topic's partitions; of all if none is named.
func logSizes(t *broker.Topic, only []int32) kmsg.DescribeLogDirsResponseDirTopic {
	out := kmsg.NewDescribeLogDirsResponseDirTopic()
	out.Topic = t.Name
	for i, log := range t.Partitions() {
		if len(only) > 0 && !slices.Contains(only, int32(i)) {
			continue
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size = int32(i), log.Size()
		out.Partitions = append(out.Partitions, p)
	}
	return out
}
