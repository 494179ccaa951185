package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// DeleteTopics, versions 0 to 6: by name, from version 6 on also by id; a topic that is
// damaged or missing by name. The topic and all positions in it are deleted when the response
// is sent. The broker's own topics are refused.
func init() {
	register(api{
		key: 20, min: 0, max: 6, handle: typed(deleteTopics),
		doc: "By name or by id.",
	})
}

func deleteTopics(c *call, req *kmsg.DeleteTopicsRequest) {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	for _, name := range req.TopicNames {
		resp.Topics = append(resp.Topics, c.deleteTopic(&name, [16]byte{}))
	}
	for _, t := range req.Topics {
		resp.Topics = append(resp.Topics, c.deleteTopic(t.Topic, t.TopicID))
	}
	c.reply(resp)
}

func (c *call) deleteTopic(name *string, id [16]byte) kmsg.DeleteTopicsResponseTopic {
	out := kmsg.NewDeleteTopicsResponseTopic()
	out.Topic, out.TopicID = name, id
	t, err := c.topics().find(value(name), id, name == nil, broker.Delete)
	switch {
	case err == nil:
		name = &t.Name
		out.Topic, out.TopicID = name, t.ID
		err = c.conn.view.DeleteTopicByID(t.ID)
	case errors.Is(err, broker.ErrUnusable):
		err = c.conn.view.DeleteTopic(*name)
	}
	out.ErrorCode, out.ErrorMessage = code(err), text(err)
	return out
}
