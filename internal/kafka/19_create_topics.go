package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/message"
)

// CreateTopics, versions 0 to 7: a topic with so many partitions, or as many as the broker's
// default (-1). As many replicas as the cluster has of each message, one on a single broker; assignments must name live brokers. Configurations that
// DescribeConfigs shows as not read-only are set; others must have their present value. A
// topic is on disk when the response is sent.
func init() {
	register(api{
		key: 19, min: 0, max: 7, handle: typed(createTopics),
		doc: "As many replicas as the cluster keeps, one on a single broker. Configurations as in AlterConfigs.",
	})
}

func createTopics(c *call, req *kmsg.CreateTopicsRequest) {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	times := make(map[string]int)
	for i := range req.Topics {
		times[req.Topics[i].Topic]++
	}
	resp.Topics = make([]kmsg.CreateTopicsResponseTopic, len(req.Topics))
	sideBySide(len(req.Topics), func(i int) {
		in, out := &req.Topics[i], &resp.Topics[i]
		*out = kmsg.NewCreateTopicsResponseTopic()
		out.Topic = in.Topic
		err := c.checkNewTopic(in)
		if times[in.Topic] > 1 {
			err = fmt.Errorf("%w: topic %q is named twice", kerr.InvalidRequest, in.Topic)
		}
		if err == nil {
			err = c.createTopic(in, req.ValidateOnly, out)
		}
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
	})
	c.reply(resp)
}

// checkNewTopic says why a topic cannot be created.
func (c *call) checkNewTopic(in *kmsg.CreateTopicsRequestTopic) error {
	s := c.server
	if err := message.CheckName("topic", in.Topic); err != nil {
		return fmt.Errorf("%w: %w", kerr.InvalidTopicException, err)
	}
	_, err := c.conn.view.Topic(in.Topic, broker.Create)
	switch {
	case errors.Is(err, broker.ErrDenied):
		return err
	case broker.Internal(in.Topic):
		return broker.ErrInternalTopic
	case err == nil:
		return fmt.Errorf("%w: topic %q", broker.ErrTopicExists, in.Topic)
	}
	if err := s.checkReplicas(in); err != nil {
		return err
	}
	own, err := c.settings().ofNew(in)
	if err != nil {
		return err
	}
	return s.broker.CheckConfig(own)
}

// ofNew is the settings of a new topic.
func (s settings) ofNew(in *kmsg.CreateTopicsRequestTopic) (map[string]string, error) {
	changes := make([]change, len(in.Configs))
	for i := range in.Configs {
		changes[i] = change{name: in.Configs[i].Name, value: in.Configs[i].Value}
	}
	own := make(map[string]string)
	return own, s.applyTo(own, s.topicDefaults(), changes)
}

// checkReplicas checks partitions and replication factor, or the assignment in their place.
func (s *Server) checkReplicas(in *kmsg.CreateTopicsRequestTopic) error {
	n := int(in.NumPartitions)
	if len(in.ReplicaAssignment) > 0 {
		if in.NumPartitions != -1 || in.ReplicationFactor != -1 {
			return fmt.Errorf("%w: an assignment comes with -1 partitions and replicas", kerr.InvalidRequest)
		}
		seen := make(map[int32]bool)
		for _, a := range in.ReplicaAssignment {
			if a.Partition < 0 || int(a.Partition) >= len(in.ReplicaAssignment) || seen[a.Partition] || !s.canHold(a.Replicas) {
				return fmt.Errorf("%w: %s, and partitions are numbered from 0", kerr.InvalidReplicaAssignment, s.whichHold())
			}
			seen[a.Partition] = true
		}
		n = len(in.ReplicaAssignment)
	} else if f := int(in.ReplicationFactor); f != s.replicas() && f != -1 {
		return fmt.Errorf("%w: %d, each message is on %d: it takes that number, or -1", kerr.InvalidReplicationFactor, f, s.replicas())
	}
	if n != -1 && (n < 1 || n > broker.MaxPartitions) {
		return fmt.Errorf("%w: %d, it takes 1 to %d", kerr.InvalidPartitions, n, broker.MaxPartitions)
	}
	return nil
}

// createTopic creates a topic that has been checked and describes it in out.
func (c *call) createTopic(in *kmsg.CreateTopicsRequestTopic, validateOnly bool, out *kmsg.CreateTopicsResponseTopic) error {
	s := c.settings()
	n := max(int(in.NumPartitions), len(in.ReplicaAssignment), 0)
	if n == 0 {
		n = s.broker.Options().Partitions
	}
	own, err := s.ofNew(in)
	if err != nil {
		return err
	}
	if !validateOnly {
		t, err := c.conn.view.CreateTopic(in.Topic, n, own)
		if err != nil {
			return err
		}
		out.TopicID = t.ID
	}
	out.NumPartitions, out.ReplicationFactor = int32(n), int16(s.replicas())
	for _, config := range s.topicConfigs(own) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.ReadOnly, c.Source = config.name, kmsg.StringPtr(config.value), !config.settable, int8(config.source)
		out.Configs = append(out.Configs, c)
	}
	return nil
}
