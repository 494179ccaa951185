package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/coordinator"
	"mbus/internal/group"
)

// OffsetCommit, versions 0 to 10: answered when the offsets are on disk. It is for
// members of the group's present generation and, with generation -1, for anybody
// while the group has no members, as in version 0 always; NON_EMPTY_GROUP says that line consumers use
// the group. In version 10 topics are named by their ids. Times and retention times are ignored: positions are kept until the
// group is deleted.
func init() {
	register(api{
		key: 8, min: 0, max: 10, handle: typed(offsetCommit),
		doc: "Answered when the offsets are on disk. POLICY_VIOLATION when there is no room for more positions. Timestamps and retention times are ignored.",
	})
}

// maxMetadata is the longest text that goes with an offset, in bytes: Kafka's
// offset.metadata.max.bytes.
const maxMetadata = 4096

// firstCommitByID is the version from which topics are named by their ids.
const firstCommitByID = 10

func offsetCommit(c *call, req *kmsg.OffsetCommitRequest) {
	s := c.server
	end, err := s.groups.BeginCommit(coordinator.Committer{
		Group: req.Group, Member: req.MemberID, Instance: value(req.InstanceID), Generation: req.Generation,
	})
	resp, commits := s.commits(req, err)
	if err != nil {
		c.reply(resp)
		return
	}
	s.broker.CommitOffsets(req.Group, commits, func(errs []error) {
		end()
		if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
			s.log.Error("cannot commit offsets", "group", req.Group, "client", c.client(), "reason", errs[i])
		}
		fillCommits(resp, errs)
		c.reply(resp)
	})
}

// commits picks what is to be committed, none if the request as a whole is
// refused. The answer says for all else why it is not.
func (s *Server) commits(req *kmsg.OffsetCommitRequest, refused error) (*kmsg.OffsetCommitResponse, []group.Commit) {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	var commits []group.Commit
	for _, t := range req.Topics {
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		topic, unknown := s.find(t.Topic, t.TopicID, req.Version >= firstCommitByID)
		for _, p := range t.Partitions {
			answer := kmsg.NewOffsetCommitResponseTopicPartition()
			answer.Partition = p.Partition
			if answer.ErrorCode = groupCode(refused); refused == nil {
				answer.ErrorCode = checkCommit(topic, unknown, &p)
			}
			if answer.ErrorCode == 0 {
				commits = append(commits, group.Commit{
					Topic: topic.Name, Partition: int(p.Partition), Offset: p.Offset,
					LeaderEpoch: p.LeaderEpoch, Metadata: value(p.Metadata),
				})
			}
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, commits
}

func checkCommit(t *broker.Topic, err error, p *kmsg.OffsetCommitRequestTopicPartition) int16 {
	if _, code := partitionOf(t, err, p.Partition); code != 0 {
		return code
	}
	switch {
	case p.Offset < 0:
		return kerr.OffsetOutOfRange.Code
	case len(value(p.Metadata)) > maxMetadata:
		return kerr.OffsetMetadataTooLarge.Code
	}
	return 0
}

// fillCommits says what has become of those commits that were not refused before.
func fillCommits(resp *kmsg.OffsetCommitResponse, errs []error) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode, errs = code(errs[0]), errs[1:]
			}
		}
	}
}
