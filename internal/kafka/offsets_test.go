package kafka_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// A position is what a test commits, and what it wants to fetch.
type position struct {
	topic     string
	partition int32
	offset    int64
}

// commitRequest is from outside the group.
func commitRequest(version int16, positions ...position) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = version, theGroup, -1
	for _, p := range positions {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = p.topic
		partition := kmsg.NewOffsetCommitRequestTopicPartition()
		partition.Partition, partition.Offset = p.partition, p.offset
		t.Partitions = append(t.Partitions, partition)
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (c *client) commit(version int16, positions ...position) int16 {
	c.t.Helper()
	return ask[*kmsg.OffsetCommitResponse](c, commitRequest(version, positions...)).Topics[0].Partitions[0].ErrorCode
}

// A committed offset is what a test fetches.
type committed struct {
	offset   int64
	epoch    int32
	metadata string
}

var nothing = committed{-1, -1, ""}

// fetchCommitted asks for one partition, or for all with an empty topic.
func (c *client) fetchCommitted(version int16, group, topic string, partition int32) map[string]committed {
	c.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = version, group
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	if topic != "" {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, []int32{partition}
		req.Topics = append(req.Topics, t)
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = topic, []int32{partition}
		g.Topics = append(g.Topics, gt)
	}
	req.Groups = append(req.Groups, g)
	resp := ask[*kmsg.OffsetFetchResponse](c, req)
	wantCode(c.t, "fetch offsets", resp.ErrorCode, nil)
	all := make(map[string]committed)
	add := func(topic string, partition int32, offset int64, epoch int32, metadata *string, code int16) {
		wantCode(c.t, "fetch an offset", code, nil)
		if metadata == nil {
			c.t.Fatal("the metadata are null")
		}
		all[fmt.Sprint(topic, "/", partition)] = committed{offset, epoch, *metadata}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			add(t.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode)
		}
	}
	for _, g := range resp.Groups {
		wantCode(c.t, "fetch a group's offsets", g.ErrorCode, nil)
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				add(t.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode)
			}
		}
	}
	return all
}

func TestCommittedOffsetIsFetchedInEveryVersion(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 2)
	c := b.dial()
	for version := range int16(10) {
		offset := int64(100 + version)
		wantCode(t, "commit", c.commit(version, position{"orders", 1, offset}), nil)
		want := committed{offset, -1, ""}
		for version := range int16(10) {
			got := c.fetchCommitted(version, theGroup, "orders", 1)
			if len(got) != 1 || got["orders/1"] != want {
				t.Errorf("version %d: got %v, want %v", version, got, want)
			}
			if got := c.fetchCommitted(version, theGroup, "orders", 0); got["orders/0"] != nothing {
				t.Errorf("version %d, nothing committed: %v", version, got)
			}
		}
	}
}

func TestAllOffsetsOfAGroupAreFetchedWithoutNamingTopics(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 2)
	own := b.topic("bills", 1).LeaderEpoch(0)
	c := b.dial()
	req := commitRequest(8, position{"orders", 0, 1}, position{"orders", 1, 2}, position{"bills", 0, 3})
	text := "from a test"
	req.Topics[2].Partitions[0].Metadata, req.Topics[2].Partitions[0].LeaderEpoch = &text, own
	req.Topics[0].Partitions[0].LeaderEpoch = 0 // of another cluster: it is not kept
	ask[*kmsg.OffsetCommitResponse](c, req)
	for version := int16(2); version <= 9; version++ {
		got := c.fetchCommitted(version, theGroup, "", 0)
		epoch := own
		if version < 5 {
			epoch = -1
		}
		if len(got) != 3 || got["orders/0"] != (committed{1, -1, ""}) || got["orders/1"].offset != 2 || got["bills/0"] != (committed{3, epoch, text}) {
			t.Errorf("version %d: got %v", version, got)
		}
	}
}

func TestVersions0And1HaveNoWordForAllTopics(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 1}), nil)
	for version := range int16(2) {
		if got := c.fetchCommitted(version, theGroup, "", 0); len(got) != 0 {
			t.Errorf("version %d: got %v", version, got)
		}
	}
}

func TestCommitThatIsNotOnDiskIsNotConfirmed(t *testing.T) {
	var full atomic.Bool
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(inner store.Partition, _ string, p []byte, done func(int64, error)) error {
			if full.Load() {
				return store.ErrFull
			}
			return store.Append(inner, p, done)
		}}
	}})
	b.topic("orders", 1)
	c := b.dial()
	full.Store(true)
	req := commitRequest(8, position{"orders", 0, 1}, position{"unknown", 0, 1})
	resp := ask[*kmsg.OffsetCommitResponse](c, req)
	wantCode(t, "commit", resp.Topics[0].Partitions[0].ErrorCode, kerr.CoordinatorNotAvailable)
	wantCode(t, "commit of an unknown topic", resp.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	full.Store(false)
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 1}), nil)
}

func TestUnknownGroupTopicAndPartitionHaveNoOffsetAndNoError(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	for version := range int16(10) {
		if got := c.fetchCommitted(version, "unknown", "orders", 0); got["orders/0"] != nothing {
			t.Errorf("version %d, unknown group: %v", version, got)
		}
		if got := c.fetchCommitted(version, theGroup, "unknown", 7); got["unknown/7"] != nothing {
			t.Errorf("version %d, unknown topic: %v", version, got)
		}
		if got := c.fetchCommitted(version, "unknown", "", 0); len(got) != 0 && version >= 2 {
			t.Errorf("version %d, all of an unknown group: %v", version, got)
		}
	}
}

func TestCommitThatCannotBeKeptIsRefusedByItself(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := commitRequest(8, position{"orders", 0, 5}, position{"orders", 1, 5}, position{"unknown", 0, 5}, position{"orders", 0, 5})
	long := strings.Repeat("x", 4097)
	req.Topics[3].Partitions[0].Metadata = &long
	resp := ask[*kmsg.OffsetCommitResponse](c, req)
	for i, want := range []*kerr.Error{nil, kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition, kerr.OffsetMetadataTooLarge} {
		wantCode(t, fmt.Sprintf("commit %d", i), resp.Topics[i].Partitions[0].ErrorCode, want)
	}
	if got := c.fetchCommitted(8, theGroup, "", 0); len(got) != 1 || got["orders/0"].offset != 5 {
		t.Errorf("got %v", got)
	}
}

func TestCommittedOffsetsSurviveARestart(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(50))
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 42}), nil)
	b.restart()
	if got := b.dial().fetchCommitted(8, theGroup, "orders", 0); got["orders/0"].offset != 42 {
		t.Errorf("got %v", got)
	}
}

func TestKafkaAndLineConsumersHaveOnePosition(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(50))
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 42}), nil)
	p := b.position(theGroup, "orders", 0)
	defer p.Close()
	if got := p.Committed(); got != 42 {
		t.Errorf("the position is %d", got)
	}
}

// A commit beyond the end is taken, as in Kafka. Line consumers then go on at the end.
func TestACommitBeyondTheEndIsTakenAndCountsUpToTheEndForLines(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(5))
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 100}), nil)
	if got := c.fetchCommitted(8, theGroup, "orders", 0); got["orders/0"].offset != 100 {
		t.Errorf("got %v", got)
	}
	p := b.position(theGroup, "orders", 0)
	if got := p.Committed(); got != 5 {
		t.Errorf("the position is %d", got)
	}
	p.Close()
	b.restart()
	if got := b.dial().fetchCommitted(8, theGroup, "orders", 0); got["orders/0"].offset != 5 {
		t.Errorf("after a restart: %v", got)
	}
}

// After damage to the positions log a group of which nothing is kept may be one that was lost:
// a client that begins at the end (auto.offset.reset=latest) is given the first message.
func TestAGroupWhosePositionMayBeLostBeginsAtTheFirstMessage(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(5))
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 3}), nil)
	b.stop()
	name := filepath.Join(b.setup.dir, "topics", broker.PositionsTopic, "0", "00000000000000000000.log")
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p[80] ^= 1
	if err := os.WriteFile(name, p, 0o600); err != nil {
		t.Fatal(err)
	}
	b.restart()
	c = b.dial()
	c.publish("orders", 0, messages(5))
	if got := c.fetchCommitted(8, theGroup, "orders", 0); got["orders/0"] != (committed{0, -1, ""}) {
		t.Errorf("got %v", got)
	}
	if got := c.fetchCommitted(8, theGroup, "", 0); len(got) > 0 {
		t.Errorf("of all that is kept: %v", got)
	}
	b.topic("later", 1)
	if got := c.fetchCommitted(8, theGroup, "later", 0); got["later/0"] != nothing {
		t.Errorf("in a topic that is later: %v", got)
	}
}

// A client without a committed offset begins at the beginning or the end.
func TestPositionsThatCannotBeUsedAreAnErrorThatClientsTryAgain(t *testing.T) {
	b := start(t, setup{})
	id := b.topic("orders", 1).ID
	c := b.dial()
	c.publish("orders", 0, messages(5))
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 3}), nil)
	b.stop()
	if err := os.Rename(filepath.Join(b.setup.dir, "topics", broker.PositionsTopic), filepath.Join(b.setup.dir, "lost")); err != nil {
		t.Fatal(err)
	}
	b.restart()
	c = b.dial()
	want := kerr.CoordinatorLoadInProgress.Code
	for version := int16(0); version <= 10; version++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version, req.Group = version, theGroup
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{0}}}
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: theGroup, MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{
			{Topic: "orders", TopicID: id, Partitions: []int32{0}},
		}}}
		resp := ask[*kmsg.OffsetFetchResponse](c, req)
		switch {
		case version >= 8 && (resp.Groups[0].ErrorCode != want || resp.Groups[0].Topics[0].Partitions[0].ErrorCode != want),
			version >= 2 && version < 8 && resp.ErrorCode != want,
			version < 8 && resp.Topics[0].Partitions[0].ErrorCode != want:
			t.Errorf("version %d: %+v", version, resp)
		}
	}
}

// deleteOffset gives the code of the whole, and that of the partition.
func (c *client) deleteOffset(topic string, partition int32) (int16, int16) {
	c.t.Helper()
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = theGroup
	t := kmsg.NewOffsetDeleteRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetDeleteRequestTopicPartition()
	p.Partition = partition
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp := ask[*kmsg.OffsetDeleteResponse](c, req)
	if len(resp.Topics) == 0 {
		return resp.ErrorCode, 0
	}
	return resp.ErrorCode, resp.Topics[0].Partitions[0].ErrorCode
}

func TestOffsetsOfAGroupThatDoesNotSayWhatItReadsAreNotDeleted(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	m := b.member(3)
	req := m.joinRequest()
	req.ProtocolType = "connect"
	wantCode(t, "join", ask[*kmsg.JoinGroupResponse](m.client, req).ErrorCode, nil)
	whole, _ := m.deleteOffset("orders", 0)
	wantCode(t, "delete", whole, kerr.NonEmptyGroup)
}

func TestOffsetsOfAGroupThatHasNotCommittedCanBeDeleted(t *testing.T) {
	b := start(t, setup{})
	b.topic("bills", 1)
	b.active(5)
	whole, one := b.dial().deleteOffset("bills", 0)
	wantCode(t, "delete", whole, nil)
	wantCode(t, "delete", one, nil)
}

func TestOffsetsAreDeletedUnlessAMemberReadsTheTopic(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	b.topic("bills", 2)
	c := b.dial()
	want := func(what string, topic string, partition int32, whole, one *kerr.Error) {
		t.Helper()
		gotWhole, gotOne := c.deleteOffset(topic, partition)
		wantCode(t, what, gotWhole, whole)
		wantCode(t, what, gotOne, one)
	}
	want("unknown group", "orders", 0, kerr.GroupIDNotFound, nil)
	ask[*kmsg.OffsetCommitResponse](c, commitRequest(8, position{"orders", 0, 1}, position{"bills", 0, 2}, position{"bills", 1, 3}))
	want("unknown partition", "orders", 1, nil, kerr.UnknownTopicOrPartition)
	want("without members", "bills", 1, nil, nil)
	m := b.active(5)
	want("of a topic that is read", "orders", 0, nil, kerr.GroupSubscribedToTopic)
	want("of another topic", "bills", 0, nil, nil)
	if got := c.fetchCommitted(8, theGroup, "", 0); len(got) != 1 || got["orders/0"].offset != 1 {
		t.Errorf("left over: %v", got)
	}
	wantCode(t, "leave", m.leave(), nil)
	release, err := b.broker.UseGroup(theGroup, broker.UseLine)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	want("while line consumers use it", "orders", 0, kerr.NonEmptyGroup, nil)
}

func TestAtTheLimitOfPositionsNewOnesAreRefusedAndTheOthersGoOn(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxPositions = 2 * (group.PositionCost + 32) }})
	b.topic("orders", 3)
	c := b.dial()
	wantCode(t, "the first", c.commit(8, position{"orders", 0, 1}), nil)
	wantCode(t, "the second", c.commit(8, position{"orders", 1, 1}), nil)
	req := commitRequest(8, position{"orders", 2, 9}, position{"orders", 0, 9})
	got := ask[*kmsg.OffsetCommitResponse](c, req).Topics
	wantCode(t, "the third", got[0].Partitions[0].ErrorCode, kerr.PolicyViolation)
	wantCode(t, "the first again, beside the third", got[1].Partitions[0].ErrorCode, nil)
	if all := c.fetchCommitted(8, theGroup, "", 0); len(all) != 2 || all["orders/0"].offset != 9 {
		t.Errorf("committed are %v", all)
	}
	req = commitRequest(8, position{"orders", 0, 10})
	text := strings.Repeat("m", 4000)
	req.Topics[0].Partitions[0].Metadata = &text
	wantCode(t, "with more metadata than there is room for",
		ask[*kmsg.OffsetCommitResponse](c, req).Topics[0].Partitions[0].ErrorCode, kerr.PolicyViolation)
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{theGroup}
	wantCode(t, "delete", ask[*kmsg.DeleteGroupsResponse](c, del).Groups[0].ErrorCode, nil)
	wantCode(t, "the third, after a deletion", c.commit(8, position{"orders", 2, 9}), nil)
}

// The disk takes the commit, and its sync does not end.
func TestOffsetsThatAreNotDurableAreNotShown(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	var hold atomic.Bool
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(p store.Partition, _ string, batches []byte, done func(int64, error)) error {
			if !hold.CompareAndSwap(true, false) {
				return store.Append(p, batches, done)
			}
			close(begun)
			return store.Append(p, batches, func(base int64, err error) {
				go func() {
					<-goOn
					done(base, err)
				}()
			})
		}}
	}})
	b.topic("orders", 1)
	wantCode(t, "commit", b.dial().commit(8, position{"orders", 0, 1}), nil)
	hold.Store(true)
	told := make(chan int16)
	writer, reader := b.dial(), b.dial()
	go func() { told <- writer.commit(8, position{"orders", 0, 2}) }()
	<-begun
	if got, _ := b.broker.CommittedOffset(theGroup, "orders", 0); got.Offset != 1 {
		t.Errorf("while 2 is not durable: got %d", got.Offset)
	}
	other := kmsg.NewPtrOffsetFetchRequest()
	other.Version, other.Group = 7, "another"
	ask[*kmsg.OffsetFetchResponse](reader, other) // other groups don't wait
	shown := make(chan int64)
	go func() { shown <- reader.fetchCommitted(8, theGroup, "orders", 0)["orders/0"].offset }()
	select {
	case code := <-told:
		t.Errorf("while it is not durable it is answered: %d", code)
	case offset := <-shown:
		t.Errorf("while 2 is not durable %d is shown", offset)
	default:
	}
	close(goOn)
	wantCode(t, "commit", <-told, nil)
	if got := <-shown; got != 2 {
		t.Errorf("%d is shown", got)
	}
}
