package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreatePartitions, versions 0 to 3: a topic gets more partitions, never fewer. An assignment
// must name brokers that live for each new one. They are on disk when the response is sent.
// Consumers see them with their next Metadata request; groups that have a position in the
// topic begin at the first message of each.
func init() {
	register(api{
		key: 37, min: 0, max: 3, handle: typed(createPartitions),
		doc: "More, never fewer. Groups that have a position in the topic begin at the first message of the new partitions.",
	})
}

func createPartitions(c *call, req *kmsg.CreatePartitionsRequest) {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	times := make(map[string]int)
	for i := range req.Topics {
		times[req.Topics[i].Topic]++
	}
	for i := range req.Topics {
		in := &req.Topics[i]
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = in.Topic
		err := c.checkGrowth(in)
		if times[in.Topic] > 1 {
			err = fmt.Errorf("%w: topic %q is named twice", kerr.InvalidRequest, in.Topic)
		}
		if err == nil && !req.ValidateOnly {
			err = c.conn.view.AddPartitions(in.Topic, int(in.Count))
		}
		out.ErrorCode, out.ErrorMessage = code(err), text(err)
		resp.Topics = append(resp.Topics, out)
	}
	c.reply(resp)
}

// checkGrowth says why a topic cannot have so many partitions.
func (c *call) checkGrowth(in *kmsg.CreatePartitionsRequestTopic) error {
	s := c.server
	t, err := c.conn.view.CheckGrowth(in.Topic, int(in.Count))
	if err != nil || len(in.Assignment) == 0 {
		return err
	}
	if n := int(in.Count) - len(t.Partitions()); len(in.Assignment) != n {
		return fmt.Errorf("%w: it is for %d partitions, %d are new", kerr.InvalidReplicaAssignment, len(in.Assignment), n)
	}
	for _, a := range in.Assignment {
		if !s.canHold(a.Replicas) {
			return fmt.Errorf("%w: %s", kerr.InvalidReplicaAssignment, s.whichHold())
		}
	}
	return nil
}
