package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/store"
)

// CreatePartitions, versions 0 to 3: a topic keeps the number of partitions it was
// made with, so that every request is refused with INVALID_PARTITIONS.
func init() {
	register(api{
		key: 37, min: 0, max: 3, handle: typed(createPartitions),
		doc: "Refused with INVALID_PARTITIONS: a topic keeps the number it was made with.",
	})
}

func createPartitions(c *call, req *kmsg.CreatePartitionsRequest) {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	for _, t := range req.Topics {
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = t.Topic
		err := error(store.ErrUnknownTopic)
		if found, unknown := c.server.broker.Topic(t.Topic); unknown == nil {
			err = fmt.Errorf("%w: the topic keeps its %d partitions", kerr.InvalidPartitions, len(found.Partitions))
		}
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		resp.Topics = append(resp.Topics, out)
	}
	c.reply(resp)
}
