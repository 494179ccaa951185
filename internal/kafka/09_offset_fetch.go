package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/group"
)

// OffsetFetch, versions 0 to 10: the committed offsets of a group, from version 8 on of
// several groups, in version 10 by the topics' ids. Without a commit the offset is -1,
// without an error, also for groups and partitions that do not exist; only an unknown id is
// UNKNOWN_TOPIC_ID. The response waits for earlier commits of these groups on any connection,
// so that the next owner of a partition gets the offset of a member that commits without
// waiting and leaves. There are no transactions, so RequireStable waits for nothing more.
func init() {
	register(api{
		key: 9, min: 0, max: 10, handle: typed(offsetFetch),
		doc: "An unknown group or partition has offset -1. Waits for the commits of the group that came before. Member id and epoch are ignored.",
	})
}

// firstFetchOffsetsByID is the version from which topics are named by their ids.
const firstFetchOffsetsByID = 10

// noOffset is the offset without a commit.
const noOffset = -1

// noMetadata is the metadata of most commits.
var noMetadata = new(string)

func offsetFetch(c *call, req *kmsg.OffsetFetchRequest) {
	names := []string{req.Group}
	if req.Version >= 8 {
		names = names[:0]
		for _, g := range req.Groups {
			names = append(names, g.Group)
		}
	}
	if err := checkNames(names); err != nil {
		c.fail(err)
		return
	}
	reply := func() { c.reply(fetchedOffsets{c.topics()}.all(req)) }
	if !c.server.broker.AwaitCommits(names, func() { c.async(reply) }) {
		reply()
	}
}

// fetchedOffsets makes the response to an OffsetFetch.
type fetchedOffsets struct{ topics }

// all is the response to a request.
func (f fetchedOffsets) all(req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	failed := f.unusable()
	if req.Version < 8 {
		if denied := f.denied(req.Group); denied != 0 {
			resp.ErrorCode = denied
			return resp
		}
		resp.Topics, resp.ErrorCode = f.ofOldRequest(req), failed
		return resp
	}
	for _, g := range req.Groups {
		out := kmsg.NewOffsetFetchResponseGroup()
		out.Group, out.ErrorCode = g.Group, failed
		if denied := f.denied(g.Group); denied != 0 {
			out.ErrorCode = denied
			resp.Groups = append(resp.Groups, out)
			continue
		}
		if req.Version >= firstFetchOffsetsByID {
			out.Topics = f.ofGroupByID(g)
		} else {
			out.Topics = f.ofGroup(g)
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp
}

// unusable is an error code if positions cannot be used: without it clients would begin at
// the beginning or the end. They try again.
func (f fetchedOffsets) unusable() int16 {
	if f.broker.PositionsUnusable() != nil {
		return kerr.CoordinatorLoadInProgress.Code
	}
	return 0
}

// denied is the error code for a group that the client may not see; 0 if it may.
func (f fetchedOffsets) denied(groupName string) int16 {
	return code(f.view.Allow(broker.Describe, broker.GroupResource, groupName))
}

// ofGroup has the offsets of one group.
func (f fetchedOffsets) ofGroup(g kmsg.OffsetFetchRequestGroup) []kmsg.OffsetFetchResponseGroupTopic {
	if g.Topics == nil {
		return allOffsets(f.view.CommittedOffsets(g.Group))
	}
	topics := make([]kmsg.OffsetFetchResponseGroupTopic, 0, len(g.Topics))
	for _, t := range g.Topics {
		out := kmsg.NewOffsetFetchResponseGroupTopic()
		out.Topic = t.Topic
		for _, number := range t.Partitions {
			out.Partitions = append(out.Partitions, f.committed(g.Group, t.Topic, number))
		}
		topics = append(topics, out)
	}
	return topics
}

// ofGroupByID is ofGroup for versions with ids in place of names.
func (f fetchedOffsets) ofGroupByID(g kmsg.OffsetFetchRequestGroup) (topics []kmsg.OffsetFetchResponseGroupTopic) {
	if g.Topics == nil {
		for _, out := range f.ofGroup(g) {
			if t, err := f.view.Topic(out.Topic, broker.Describe); err == nil { // it may have been deleted
				out.TopicID = t.ID
				topics = append(topics, out)
			}
		}
		return topics
	}
	for _, in := range g.Topics {
		t, err := f.byID(in.TopicID, broker.Describe)
		out := kmsg.NewOffsetFetchResponseGroupTopic()
		out.TopicID = in.TopicID
		for _, number := range in.Partitions {
			var p kmsg.OffsetFetchResponseGroupTopicPartition
			if err == nil {
				p = f.committed(g.Group, t.Name, number)
			} else {
				p = notCommitted(number)
				p.ErrorCode = code(err)
			}
			out.Partitions = append(out.Partitions, p)
		}
		topics = append(topics, out)
	}
	return topics
}

// ofOldRequest has the offsets for a request before version 8, which is for one group: the
// same in other types.
func (f fetchedOffsets) ofOldRequest(req *kmsg.OffsetFetchRequest) []kmsg.OffsetFetchResponseTopic {
	g := kmsg.OffsetFetchRequestGroup{Group: req.Group}
	if req.Topics != nil {
		g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(req.Topics))
	}
	for i, t := range req.Topics {
		g.Topics[i].Topic, g.Topics[i].Partitions = t.Topic, t.Partitions
	}
	var topics []kmsg.OffsetFetchResponseTopic
	for _, t := range f.ofGroup(g) {
		out := kmsg.NewOffsetFetchResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			old := kmsg.NewOffsetFetchResponseTopicPartition()
			old.ErrorCode = p.ErrorCode
			old.Partition, old.Offset, old.LeaderEpoch, old.Metadata = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata
			out.Partitions = append(out.Partitions, old)
		}
		topics = append(topics, out)
	}
	return topics
}

// committed is one partition's offset.
func (f fetchedOffsets) committed(groupName, topic string, number int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	if failed := f.unusable(); failed != 0 {
		p := notCommitted(number)
		p.ErrorCode = failed
		return p
	}
	commit, ok := f.view.CommittedOffset(groupName, topic, int(number))
	if !ok {
		return f.notCommittedIn(topic, number)
	}
	return committedPartition(commit)
}

// notCommittedIn is notCommitted, or the log start offset if a position may have been lost,
// so that a client that begins at the end skips nothing.
func (f fetchedOffsets) notCommittedIn(topic string, number int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	t, log, failed := f.partition(topic, number, broker.Describe)
	if failed != 0 || !f.broker.PositionsLost(t, int(number)) {
		return notCommitted(number)
	}
	start, _ := log.Offsets()
	return committedPartition(group.Commit{Partition: int(number), Offset: start, LeaderEpoch: group.NoEpoch})
}

func notCommitted(number int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	return committedPartition(group.Commit{Partition: int(number), Offset: noOffset, LeaderEpoch: group.NoEpoch})
}

func committedPartition(commit group.Commit) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = int32(commit.Partition), commit.Offset, commit.LeaderEpoch
	p.Metadata = noMetadata
	if commit.Metadata != "" {
		p.Metadata = nullable(commit.Metadata)
	}
	return p
}

// allOffsets groups commits, sorted by topic, by their topics.
func allOffsets(commits []group.Commit) []kmsg.OffsetFetchResponseGroupTopic {
	var topics []kmsg.OffsetFetchResponseGroupTopic
	for _, commit := range commits {
		if n := len(topics); n == 0 || topics[n-1].Topic != commit.Topic {
			out := kmsg.NewOffsetFetchResponseGroupTopic()
			out.Topic = commit.Topic
			topics = append(topics, out)
		}
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, committedPartition(commit))
	}
	return topics
}
