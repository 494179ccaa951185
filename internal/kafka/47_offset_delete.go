package kafka

import (
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/coordinator"
)

// OffsetDelete, version 0: forgets committed offsets of a group, answered when
// that is on disk. Of a group with members only those in topics that none of them
// reads; while line consumers use it, none.
func init() {
	register(api{key: 47, min: 0, max: 0, handle: typed(offsetDelete), doc: "Answered when it is on disk."})
}

func offsetDelete(c *call, req *kmsg.OffsetDeleteRequest) {
	s := c.server
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	end, reads, err := s.beginDelete(req.Group)
	if err != nil {
		resp.ErrorCode = groupCode(err)
		c.reply(resp)
		return
	}
	doomed := c.chooseOffsets(req, resp, reads)
	c.async(func() { // it waits for the disk
		defer end()
		err := s.broker.DeleteOffsets(req.Group, doomed)
		if _, known := s.groups.Describe(req.Group); isUnknownGroup(err) && known == nil {
			err = nil // it has not committed yet
		}
		if resp.ErrorCode = groupCode(err); err != nil {
			resp.Topics = nil
		} else {
			c.did("positions were deleted", "group", req.Group, "topics", slices.Sorted(maps.Keys(doomed)))
		}
		c.reply(resp)
	})
}

// beginDelete keeps line consumers out of the group until end, and says which
// topics its members read.
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

// chooseOffsets picks the partitions whose offsets may go, and answers for all.
func (c *call) chooseOffsets(req *kmsg.OffsetDeleteRequest, resp *kmsg.OffsetDeleteResponse, reads map[string]bool) map[string][]int {
	doomed := make(map[string][]int)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			answer := kmsg.NewOffsetDeleteResponseTopicPartition()
			answer.Partition = p.Partition
			_, _, answer.ErrorCode = c.topics().partition(t.Topic, p.Partition)
			if reads[t.Topic] {
				answer.ErrorCode = kerr.GroupSubscribedToTopic.Code
			}
			if answer.ErrorCode == 0 {
				doomed[t.Topic] = append(doomed[t.Topic], int(p.Partition))
			}
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return doomed
}
