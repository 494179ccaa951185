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

// OffsetCommit, versions 0 to 10: answered when the offsets are on disk. It is for
// members of the group's present generation and, with generation -1, for anybody
// while the group has no members, as in version 0 always; NON_EMPTY_GROUP says that
// line consumers use the group. What a member has read of a topic of the same name
// that was deleted, which the former leader epoch tells, is
// UNKNOWN_TOPIC_OR_PARTITION; epochs that come from elsewhere, 0 for instance, are not
// kept. A negative offset is kept and told as it is, as in Kafka: a consumer then begins
// where its auto.offset.reset says, and a consumer of lines at the first message.
// In version 10 topics are named by their ids. Times and retention times are
// ignored: positions are kept until the group is deleted.
func init() {
	register(api{
		key: 8, min: 0, max: 10, handle: typed(offsetCommit),
		doc: "Answered when the offsets are on disk. POLICY_VIOLATION when positions have used their memory; UNKNOWN_TOPIC_OR_PARTITION for an offset that a member read before the topic was deleted and created again. Timestamps and retention times are ignored.",
	})
}

// maxMetadata is the longest text that goes with an offset, in bytes: Kafka's
// offset.metadata.max.bytes.
const maxMetadata = 4096

// firstCommitByID is the version from which topics are named by their ids.
const firstCommitByID = 10

func offsetCommit(c *call, req *kmsg.OffsetCommitRequest) {
	s := c.server
	who := coordinator.Committer{
		Group: req.Group, Member: req.MemberID, Instance: value(req.InstanceID), Generation: req.Generation,
	}
	end, err := s.groups.BeginCommit(who)
	resp, commits := c.commits(req, err)
	if err != nil {
		c.reply(resp)
		return
	}
	inTurn := func(queue func()) error { return s.groups.QueueCommit(who, queue) }
	if err := s.broker.CommitOffsetsIn(req.Group, commits, inTurn, func(errs []error) {
		end()
		if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
			s.log.Error("cannot commit offsets", "group", req.Group, "client", c.client(), "reason", errs[i])
		}
		fillCommits(resp, errs)
		c.reply(resp)
	}); err != nil { // a new generation has begun meanwhile
		end()
		resp, _ := c.commits(req, err)
		c.reply(resp)
	}
}

// commits picks what is to be committed, none if the request as a whole is
// refused. The answer says for all else why it is not.
func (c *call) commits(req *kmsg.OffsetCommitRequest, refused error) (*kmsg.OffsetCommitResponse, []group.Commit) {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	var commits []group.Commit
	for _, t := range req.Topics {
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		topic, unknown := c.topics().find(t.Topic, t.TopicID, req.Version >= firstCommitByID)
		for _, p := range t.Partitions {
			answer := kmsg.NewOffsetCommitResponseTopicPartition()
			answer.Partition = p.Partition
			if answer.ErrorCode = commitCode(refused, req.Version); refused == nil {
				answer.ErrorCode = checkCommit(topic, unknown, &p, req.Generation >= 0)
			}
			if answer.ErrorCode == 0 {
				commits = append(commits, commitOf(topic, &p))
			}
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, commits
}

// firstUnknownGroup is the version from which a member's commit to a group that is not known
// is answered with GROUP_ID_NOT_FOUND.
const firstUnknownGroup = 9

// commitCode is groupCode for a commit that is refused as a whole.
func commitCode(err error, version int16) int16 {
	if version < firstUnknownGroup && errors.Is(err, coordinator.ErrUnknownGroup) {
		return kerr.IllegalGeneration.Code
	}
	return groupCode(err)
}

// commitOf is what is kept. An epoch that is not the partition's own, which a tool has
// copied from another cluster, is not: with it consumers would not trust the offset.
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

// fillCommits says what has become of those commits that were not refused before.
func fillCommits(resp *kmsg.OffsetCommitResponse, errs []error) {
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode, errs = groupCode(errs[0]), errs[1:]
			}
		}
	}
}
