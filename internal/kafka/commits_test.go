package kafka_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// syncedLater has what is written to the positions' topic synced when the test allows it.
func syncedLater(wait *atomic.Pointer[chan struct{}]) func(store.Store) store.Store {
	return func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
			goOn := wait.Load()
			if topic != broker.PositionsTopic || goOn == nil {
				return store.Append(p, batches, done)
			}
			return store.Append(p, batches, func(base int64, err error) {
				go func() {
					<-*goOn
					done(base, err)
				}()
			})
		}}
	}
}

// offsetsRequest asks for one position.
func offsetsRequest(version int16, stable bool) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group, req.RequireStable = version, theGroup, stable
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{0}}}
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: theGroup, MemberEpoch: -1, Topics: []kmsg.OffsetFetchRequestGroupTopic{
		{Topic: "orders", Partitions: []int32{0}},
	}}}
	return req
}

// offsetIn is what the answer to offsetsRequest has.
func offsetIn(resp *kmsg.OffsetFetchResponse) int64 {
	if resp.Version < 8 {
		return resp.Topics[0].Partitions[0].Offset
	}
	return resp.Groups[0].Topics[0].Partitions[0].Offset
}

func TestAFetchOfOffsetsSeesTheCommitsThatWereSentBefore(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	offset := int64(0)
	for version := int16(1); version <= 9; version++ {
		for _, stable := range []bool{false, true} {
			offset++
			commit, fetch := commitRequest(min(version, 8), position{"orders", 0, offset}), offsetsRequest(version, stable)
			c.send(commit)
			c.send(fetch)
			wantCode(t, "commit", c.receive(commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, nil)
			if got := offsetIn(c.receive(fetch).(*kmsg.OffsetFetchResponse)); got != offset {
				t.Errorf("version %d, stable %v: offset %d, want %d", version, stable, got, offset)
			}
		}
	}
}

// A member commits without waiting, and hands over its partition in one way or another.
func TestTheNextOwnerBeginsAtTheLastCommitOfTheOneBefore(t *testing.T) {
	for _, way := range []string{"leaves", "joins again", "is gone"} {
		t.Run(way, func(t *testing.T) {
			var wait atomic.Pointer[chan struct{}]
			b := start(t, setup{wrap: syncedLater(&wait)})
			b.topic("orders", 1)
			first, next := b.active(7), b.member(7)
			next.id = ask[*kmsg.JoinGroupResponse](next.client, next.joinRequest()).MemberID
			join := next.joinRequest()
			next.send(join)
			await(t, "the rebalance begins", func() bool { return first.heartbeat() == kerr.RebalanceInProgress.Code })
			goOn := make(chan struct{})
			wait.Store(&goOn)
			commit := commitRequest(7, position{"orders", 0, 1000})
			commit.MemberID, commit.Generation = first.id, first.generation
			first.send(commit)
			switch way {
			case "leaves":
				leave := kmsg.NewPtrLeaveGroupRequest()
				leave.Version, leave.Group = 4, theGroup
				leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: first.id}}
				first.send(leave)
			case "joins again":
				first.send(first.joinRequest())
			case "is gone":
				second := b.dial()
				await(t, "the commit is on its way", func() bool { return b.broker.AwaitCommits([]string{theGroup}, func() {}) })
				leave := kmsg.NewPtrLeaveGroupRequest()
				leave.Version, leave.Group = 4, theGroup
				leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: first.id}}
				ask[*kmsg.LeaveGroupResponse](second, leave)
			}
			joined := next.receive(join).(*kmsg.JoinGroupResponse)
			wantCode(t, "join", joined.ErrorCode, nil)
			fetch := offsetsRequest(7, true)
			next.send(fetch)
			if way == "leaves" {
				if _, err := b.broker.UseGroup(theGroup, broker.UseLine); err == nil {
					t.Error("a consumer of lines may use the group before the commit is on disk")
				}
			}
			close(goOn)
			if got := offsetIn(next.receive(fetch).(*kmsg.OffsetFetchResponse)); got != 1000 {
				t.Errorf("it begins at %d, want 1000", got)
			}
			wantCode(t, "commit", first.receive(commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, nil)
		})
	}
}

// The commit of a member that has left is on its way when the group is deleted.
func TestAGroupIsDeletedAfterItsLastCommit(t *testing.T) {
	var wait atomic.Pointer[chan struct{}]
	b := start(t, setup{wrap: syncedLater(&wait)})
	b.topic("orders", 1)
	m := b.active(7)
	goOn := make(chan struct{})
	wait.Store(&goOn)
	commit := commitRequest(7, position{"orders", 0, 5})
	commit.MemberID, commit.Generation = m.id, m.generation
	m.send(commit)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group = 4, theGroup
	leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: m.id}}
	m.send(leave)
	await(t, "the member has left", func() bool { _, code := b.dial().state(); return code == "Empty" })
	del := kmsg.NewPtrDeleteGroupsRequest()
	del.Groups = []string{theGroup}
	c := b.dial()
	c.send(del)
	close(goOn)
	wantCode(t, "delete", c.receive(del).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, nil)
	wantCode(t, "commit", m.receive(commit).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode, nil)
	if got := c.fetchCommitted(8, theGroup, "orders", 0)["orders/0"]; got != nothing {
		t.Errorf("left over: %v", got)
	}
}

// state is how DescribeGroups sees theGroup.
func (c *client) state() (members int, state string) {
	c.t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{theGroup}
	g := ask[*kmsg.DescribeGroupsResponse](c, req).Groups[0]
	return len(g.Members), g.State
}

// What librdkafka sends for a consumer with group.instance.id and without subscribe.
func TestACommitWithoutAGenerationIsTakenWhateverItNames(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	instance := "instance-1"
	for version := int16(2); version <= 9; version++ {
		req := commitRequest(version, position{"orders", 0, int64(version)})
		req.MemberID = "somebody"
		if version >= 7 {
			req.InstanceID = &instance
		}
		wantCode(t, fmt.Sprintf("version %d", version), ask[*kmsg.OffsetCommitResponse](c, req).Topics[0].Partitions[0].ErrorCode, nil)
	}
	m := b.active(7)
	req := commitRequest(7, position{"orders", 0, 100})
	req.InstanceID = &instance
	wantCode(t, "while the group has a member", ask[*kmsg.OffsetCommitResponse](c, req).Topics[0].Partitions[0].ErrorCode, kerr.UnknownMemberID)
	wantCode(t, "leave", m.leave(), nil)
	wantCode(t, "after that", ask[*kmsg.OffsetCommitResponse](c, req).Topics[0].Partitions[0].ErrorCode, nil)
}

func TestAMembersCommitToAnUnknownGroupHasKafkasErrorCode(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	for version := int16(1); version <= 9; version++ {
		req := commitRequest(version, position{"orders", 0, 5})
		req.MemberID, req.Generation = "somebody", 5
		want := kerr.IllegalGeneration
		if version >= 9 {
			want = kerr.GroupIDNotFound
		}
		wantCode(t, fmt.Sprintf("version %d", version), ask[*kmsg.OffsetCommitResponse](c, req).Topics[0].Partitions[0].ErrorCode, want)
	}
}

func TestLeavingAnUnknownGroupIsAnErrorForEachMember(t *testing.T) {
	c := start(t, setup{}).dial()
	for version := range int16(6) {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group, req.MemberID = version, "unknown", "a"
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "a"}, {MemberID: "b"}}
		resp := ask[*kmsg.LeaveGroupResponse](c, req)
		if version < 3 {
			wantCode(t, "leave", resp.ErrorCode, kerr.UnknownMemberID)
			continue
		}
		wantCode(t, "leave", resp.ErrorCode, nil)
		if len(resp.Members) != 2 {
			t.Fatalf("version %d: %d members", version, len(resp.Members))
		}
		for _, m := range resp.Members {
			wantCode(t, m.MemberID, m.ErrorCode, kerr.UnknownMemberID)
		}
	}
}

// Java's consumer ends with codes that it does not expect in an answer to OffsetCommit.
func TestACommitThatTheDiskDoesNotTakeIsTriedAgain(t *testing.T) {
	for _, broken := range []error{store.ErrFull, store.ErrFailed, store.ErrClosed, fmt.Errorf("an error of the disk")} {
		var on atomic.Bool
		b := start(t, setup{wrap: func(s store.Store) store.Store {
			return &storefault.Store{Store: s, Append: func(inner store.Partition, _ string, p []byte, done func(int64, error)) error {
				if on.Load() {
					return broken
				}
				return store.Append(inner, p, done)
			}}
		}})
		b.topic("orders", 1)
		c := b.dial()
		wantCode(t, "commit", c.commit(8, position{"orders", 0, 1}), nil)
		on.Store(true)
		wantCode(t, broken.Error(), c.commit(8, position{"orders", 0, 2}), kerr.CoordinatorNotAvailable)
		if got := c.fetchCommitted(8, theGroup, "orders", 0)["orders/0"].offset; got != 1 {
			t.Errorf("%v: got %d, want 1", broken, got)
		}
		on.Store(false)
		wantCode(t, "commit", c.commit(8, position{"orders", 0, 3}), nil)
		b.stop()
	}
}

func TestGroupsMayHaveLongNames(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(1000))
	for length, want := range map[int]*kerr.Error{250: nil, 1000: nil, 1001: kerr.InvalidGroupID} {
		req := commitRequest(8, position{"orders", 0, int64(length)})
		req.Group = strings.Repeat("g", length)
		wantCode(t, fmt.Sprint(length), ask[*kmsg.OffsetCommitResponse](c, req).Topics[0].Partitions[0].ErrorCode, want)
	}
	b.restart()
	c = b.dial()
	for _, length := range []int{250, 1000} {
		if got := c.fetchCommitted(8, strings.Repeat("g", length), "orders", 0)["orders/0"].offset; got != int64(length) {
			t.Errorf("a name of %d bytes: %d", length, got)
		}
	}
}

// kafkajs commits -1 or -2 for a consumer that is to begin at the end, or at the beginning.
func TestANegativeOffsetIsKeptAndIsNoPosition(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(5))
	for _, offset := range []int64{-1, -2, -1 << 63} {
		wantCode(t, "commit", c.commit(8, position{"orders", 0, 3}), nil)
		wantCode(t, "commit", c.commit(8, position{"orders", 0, offset}), nil)
		if got := c.fetchCommitted(8, theGroup, "orders", 0)["orders/0"].offset; got != offset {
			t.Errorf("got %d, want %d", got, offset)
		}
		b.restart()
		c = b.dial()
		if got := c.fetchCommitted(8, theGroup, "", 0)["orders/0"].offset; got != offset {
			t.Errorf("after a restart: got %d, want %d", got, offset)
		}
		if n := b.broker.Positions(theGroup); len(n) != 1 || n[0].Committed != 0 {
			t.Errorf("the administrator sees %+v", n)
		}
		p := b.position(theGroup, "orders", 0)
		if got := p.Committed(); got != 0 {
			t.Errorf("consumers of lines begin at %d", got)
		}
		p.Close()
	}
	if _, state := c.state(); state != "Empty" {
		t.Errorf("the group is %s", state)
	}
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 4}), nil)
	if got := c.fetchCommitted(8, theGroup, "orders", 0)["orders/0"].offset; got != 4 {
		t.Errorf("got %d", got)
	}
}

// kafka-go's Client and others leave the leader epoch at 0, the first of Kafka's topics.
func TestAMemberMayCommitWithALeaderEpochFromElsewhere(t *testing.T) {
	b := start(t, setup{})
	own := b.topic("orders", 1).LeaderEpoch(0)
	m := b.active(7)
	for epoch, want := range map[int32]*kerr.Error{
		-1: nil, 0: nil, 1: nil, 999_999: nil, own: nil, own + 1: nil, 1<<31 - 1: nil, own - 1: kerr.UnknownTopicOrPartition,
	} {
		req := commitRequest(7, position{"orders", 0, 5})
		req.MemberID, req.Generation, req.Topics[0].Partitions[0].LeaderEpoch = m.id, m.generation, epoch
		wantCode(t, fmt.Sprint("epoch ", epoch), ask[*kmsg.OffsetCommitResponse](m.client, req).Topics[0].Partitions[0].ErrorCode, want)
	}
}

// librdkafka asks where the epoch ends that it was given with an offset to seek to.
func TestALeaderEpochFromElsewhereIsNoTruncation(t *testing.T) {
	b := start(t, setup{})
	own := b.topic("orders", 1).LeaderEpoch(0)
	c := b.dial()
	c.publish("orders", 0, messages(9))
	c.deleteRecords(2, "orders", 2)
	for asked, want := range map[int32]struct {
		epoch int32
		end   int64
	}{0: {own, 9}, 7: {own, 9}, own: {own, 9}, own - 1: {own - 1, 2}, own + 1: {-1, -1}, -1: {-1, -1}} {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version = 4
		req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{
			{Partition: 0, CurrentLeaderEpoch: -1, LeaderEpoch: asked},
		}}}
		got := ask[*kmsg.OffsetForLeaderEpochResponse](c, req).Topics[0].Partitions[0]
		if got.ErrorCode != 0 || got.LeaderEpoch != want.epoch || got.EndOffset != want.end {
			t.Errorf("epoch %d: code %d, epoch %d ends at %d, want %+v", asked, got.ErrorCode, got.LeaderEpoch, got.EndOffset, want)
		}
	}
}

// Kafka Streams says much with its join.
func TestAMemberMayJoinWithMuchToSay(t *testing.T) {
	b := start(t, setup{})
	m := b.member(3)
	req := m.joinRequest()
	req.Protocols[0].Metadata = append(req.Protocols[0].Metadata, make([]byte, 3<<20)...)
	wantCode(t, "join", ask[*kmsg.JoinGroupResponse](m.client, req).ErrorCode, nil)
}
