package kafka

import (
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/coordinator"
	"mbus/internal/group"
)

// OffsetCommit, versions 0 to 10: the response is sent when the offsets are on disk. Members
// of the group's current generation may commit and, with generation -1, any client while the
// group has no members, as in version 0 always; NON_EMPTY_GROUP is for a group in use by line
// consumers. An offset that a member has read before the topic was deleted and created again,
// which its leader epoch shows, is UNKNOWN_TOPIC_OR_PARTITION; epochs of other clusters, such
// as 0, are not kept. A negative offset is kept and returned as it is, as in Kafka: a
// consumer then begins by its auto.offset.reset, and a line consumer at the first message. In
// version 10 topics are named by their ids. Times and retention times are ignored: positions
// are kept until the group is deleted.
func init() {
	register(api{
		key: 8, min: 0, max: 10, handle: typed(offsetCommit),
		doc: "The response is sent when the offsets are on disk. POLICY_VIOLATION when positions have used their memory; UNKNOWN_TOPIC_OR_PARTITION for an offset that a member read before the topic was deleted and created again. Timestamps and retention times are ignored.",
	})
}

// maxMetadata is the longest text with an offset, in bytes: Kafka's
// offset.metadata.max.bytes.
const maxMetadata = 4096

// firstCommitByID is the version from which topics are named by their ids.
const firstCommitByID = 10

func offsetCommit(c *call, req *kmsg.OffsetCommitRequest) {
	s := c.server
	committer := coordinator.Committer{
		Group: req.Group, Member: req.MemberID, Instance: value(req.InstanceID), Generation: req.Generation,
	}
	end, err := func() {}, c.mayUse(req.Group)
	if err == nil {
		end, err = s.groups.BeginCommit(committer)
	}
	resp, commits := c.commits(req, err)
	if err != nil {
		c.reply(resp)
		return
	}
	inTurn := func(queue func()) error { return s.groups.QueueCommit(committer, queue) }
	if err := c.conn.view.CommitOffsets(req.Group, commits, inTurn, func(errs []error) {
		end()
		if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
			s.log.Error("cannot commit offsets", "group", req.Group, "client", c.client(), "reason", errs[i])
		}
		fillCommits(resp, errs)
		c.reply(resp)
	}); err != nil { // a new generation has begun
		end()
		resp, _ := c.commits(req, err)
		c.reply(resp)
	}
}

// commits picks the offsets to commit; none if the request as a whole is refused. The
// response has an error for each of the others.
func (c *call) commits(req *kmsg.OffsetCommitRequest, refused error) (*kmsg.OffsetCommitResponse, []group.Commit) {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	var commits []group.Commit
	for _, t := range req.Topics {
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		topic, unknown := c.topics().find(t.Topic, t.TopicID, req.Version >= firstCommitByID, broker.Read)
		for _, p := range t.Partitions {
			result := kmsg.NewOffsetCommitResponseTopicPartition()
			result.Partition = p.Partition
			if result.ErrorCode = commitCode(refused, req.Version); refused == nil {
				result.ErrorCode = checkCommit(topic, unknown, &p, req.Generation >= 0)
			}
			if result.ErrorCode == 0 {
				commits = append(commits, commitOf(topic, &p))
			}
			out.Partitions = append(out.Partitions, result)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, commits
}

// firstUnknownGroup is the version from which a member's commit to an unknown group is
// GROUP_ID_NOT_FOUND.
const firstUnknownGroup = 9

// commitCode is groupCode for a request that is refused as a whole.
func commitCode(err error, version int16) int16 {
	if version < firstUnknownGroup && errors.Is(err, coordinator.ErrUnknownGroup) {
		return kerr.IllegalGeneration.Code
	}
	return groupCode(err)
}

// commitOf is the commit to keep. It has the leader epoch only if that is the partition's
// own: with one that a tool has copied from another cluster, consumers would not trust the
// offset.
func commitOf(t *broker.Topic, p *kmsg.OffsetCommitRequestTopicPartition) group.Commit {
	epoch := p.LeaderEpoch
	if epoch != leaderEpoch(t, p.Partition) {
		epoch = group.NoEpoch
	}
	return group.Commit{
		Topic: t.Name, Partition: int(p.Partition), Offset: p.Offset, LeaderEpoch: epoch, Metadata: value(p.Metadata),
	}
}

func checkCommit(t *broker.Topic, err error, p *kmsg.OffsetCommitRequestTopicPartition, byMember bool) int16 {
	if err != nil {
		return groupCode(err)
	}
	if _, code := partitionOf(t, nil, p.Partition); code != 0 {
		return code
	}
	switch {
	case byMember && isFormerEpoch(t, p.Partition, p.LeaderEpoch):
		return kerr.UnknownTopicOrPartition.Code
	case len(value(p.Metadata)) > maxMetadata:
		return kerr.OffsetMetadataTooLarge.Code
	}
	return 0
}

// fillCommits sets the outcome of the commits.
func fillCommits(resp *kmsg.OffsetCommitResponse, errs []error) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode, errs = groupCode(errs[0]), errs[1:]
			}
		}
	}
}
