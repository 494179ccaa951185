package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/coordinator"
)

// OffsetDelete, version 0: deletes committed offsets of a group. The response is sent when
// that is on disk. If the group has members, only offsets in topics that none of them reads;
// if line consumers use it, none.
func init() {
	register(api{key: 47, min: 0, max: 0, handle: typed(offsetDelete), doc: "The response is sent when it is on disk."})
}

func offsetDelete(c *call, req *kmsg.OffsetDeleteRequest) {
	s := c.server
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	if err := c.conn.view.Allow(broker.Delete, broker.GroupResource, req.Group); err != nil {
		resp.ErrorCode = groupCode(err)
		c.reply(resp)
		return
	}
	end, reads, err := s.beginDelete(req.Group)
	if err != nil {
		resp.ErrorCode = groupCode(err)
		c.reply(resp)
		return
	}
	doomed := c.chooseOffsets(req, resp, reads)
	c.async(func() { // it waits for the disk
		defer end()
		err := c.conn.view.DeleteOffsets(req.Group, doomed)
		if _, known := s.groups.Describe(req.Group); isUnknownGroup(err) && known == nil {
			err = nil // it has not committed yet
		}
		if resp.ErrorCode = groupCode(err); err != nil {
			resp.Topics = nil
		}
		c.reply(resp)
	})
}

// beginDelete keeps line consumers out of the group until end is called, and returns the
// topics that its members read.
func (s *Server) beginDelete(name string) (end func(), reads map[string]bool, err error) {
	end, err = s.groups.Idle(name)
	if !errors.Is(err, coordinator.ErrNotEmpty) {
		return end, nil, err
	}
	reads, ok := s.groups.Subscribed(name)
	if !ok {
		return nil, nil, err
	}
	return func() {}, reads, nil
}

// chooseOffsets picks the partitions whose offsets may be deleted, and sets the error codes
// of all.
func (c *call) chooseOffsets(req *kmsg.OffsetDeleteRequest, resp *kmsg.OffsetDeleteResponse, reads map[string]bool) map[string][]int {
	doomed := make(map[string][]int)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			result := kmsg.NewOffsetDeleteResponseTopicPartition()
			result.Partition = p.Partition
			_, _, result.ErrorCode = c.topics().partition(t.Topic, p.Partition, broker.Read)
			if reads[t.Topic] {
				result.ErrorCode = kerr.GroupSubscribedToTopic.Code
			}
			if result.ErrorCode == 0 {
				doomed[t.Topic] = append(doomed[t.Topic], int(p.Partition))
			}
			out.Partitions = append(out.Partitions, result)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return doomed
}
