package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// Metadata, versions 0 to 13: this broker, at its advertised address or the one that the
// client has connected to, leads everything; with it, all other nodes of its cluster. A named topic that does not exist is created if
// the request allows it; from version 10 on a topic may be named by its id. Authorized
// operations are not set.
func init() {
	register(api{
		key: 3, min: 0, max: 13, handle: typed(metadata),
		doc: "Creates named topics that are missing, if the request allows it. No authorized operations.",
	})
}

func metadata(c *call, req *kmsg.MetadataRequest) {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	for _, n := range c.nodes() {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = n.id, n.host, n.port
		resp.Brokers = append(resp.Brokers, b)
	}
	holders := c.server.holders()
	resp.ClusterID = &c.server.opts.ClusterID
	resp.ControllerID = c.server.opts.NodeID
	all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
	if all {
		for _, t := range c.topics().all() {
			resp.Topics = append(resp.Topics, describe(t, holders))
		}
	}
	create := req.Version < 4 || req.AllowAutoTopicCreation
	if create {
		var names []string
		for _, asked := range req.Topics {
			if asked.Topic != nil {
				names = append(names, *asked.Topic)
			}
		}
		c.topics().createMissing(names)
	}
	seen := make(map[string]bool)
	for _, asked := range req.Topics {
		topic := c.metadataOf(asked, create, holders)
		if name := topic.Topic; name == nil || !seen[*name] { // each once, however often it is named
			resp.Topics = append(resp.Topics, topic)
			if name != nil {
				seen[*name] = true
			}
		}
	}
	c.reply(resp)
}

// metadataOf describes one topic of the request.
func (c *call) metadataOf(asked kmsg.MetadataRequestTopic, create bool, holders []int32) kmsg.MetadataResponseTopic {
	if asked.Topic == nil {
		t, err := c.topics().byID(asked.TopicID, broker.Describe)
		if err == nil {
			return describe(t, holders)
		}
		out := kmsg.NewMetadataResponseTopic()
		out.TopicID, out.ErrorCode = asked.TopicID, code(err)
		return out
	}
	t, err := c.topics().orCreate(*asked.Topic, create)
	if err != nil {
		if code(err) == kerr.UnknownServerError.Code {
			c.server.log.Error("cannot create a topic", "topic", *asked.Topic, "client", c.client(), "reason", err)
		}
		out := kmsg.NewMetadataResponseTopic()
		out.Topic, out.ErrorCode = asked.Topic, code(err)
		return out
	}
	return describe(t, holders)
}

// describe describes a topic. The first of the holders leads all its partitions.
func describe(t *broker.Topic, holders []int32) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID = &t.Name, t.ID
	out.IsInternal = broker.Internal(t.Name)
	out.Partitions = partitionsOf(t, 0, len(t.Partitions()), holders)
	return out
}
