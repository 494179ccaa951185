package kafka_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/kafka"
)

const theGroup = "billing"

// wantCode fails the test unless a code is that of an error; nil for none.
func wantCode(t testing.TB, what string, got int16, want *kerr.Error) {
	t.Helper()
	if want == nil {
		want = &kerr.Error{Message: "no error"}
	}
	if got != want.Code {
		t.Fatalf("%s: code %d (%v), want %s", what, got, kerr.ErrorForCode(got), want.Message)
	}
}

func TestThisBrokerCoordinatesEveryGroup(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{NodeID: 7}})
	c := b.dial()
	for version := range int16(7) {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKey, req.CoordinatorKeys = version, "a", []string{"a", "b"}
		resp := ask[*kmsg.FindCoordinatorResponse](c, req)
		if version < 4 {
			wantCode(t, "find", resp.ErrorCode, nil)
			nc, err := net.Dial("tcp", net.JoinHostPort(resp.Host, fmt.Sprint(resp.Port)))
			if err != nil || resp.NodeID != 7 {
				t.Fatalf("version %d: node %d: %v", version, resp.NodeID, err)
			}
			nc.Close()
			continue
		}
		if len(resp.Coordinators) != 2 || resp.Coordinators[1].Key != "b" || resp.Coordinators[1].NodeID != 7 {
			t.Errorf("version %d: %+v", version, resp.Coordinators)
		}
	}
}

func TestThereAreNoCoordinatorsOfTransactions(t *testing.T) {
	c := start(t, setup{}).dial()
	for version := int16(1); version < 7; version++ {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKey, req.CoordinatorKeys, req.CoordinatorType = version, "a", []string{"a"}, 1
		resp := ask[*kmsg.FindCoordinatorResponse](c, req)
		code, said := resp.ErrorCode, resp.ErrorMessage
		if version >= 4 {
			code, said = resp.Coordinators[0].ErrorCode, resp.Coordinators[0].ErrorMessage
		}
		wantCode(t, fmt.Sprintf("version %d", version), code, kerr.TransactionalIDAuthorizationFailed)
		if said == nil || !strings.Contains(*said, "no transactions") {
			t.Errorf("version %d: it is said %v", version, said)
		}
	}
}

func TestTheNewGroupProtocolIsRefused(t *testing.T) {
	c := start(t, setup{}).dial()
	for version := int16(0); version <= 1; version++ {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.SubscribedTopicNames = version, "billing", []string{"orders"}
		resp := ask[*kmsg.ConsumerGroupHeartbeatResponse](c, req)
		wantCode(t, fmt.Sprintf("version %d", version), resp.ErrorCode, kerr.UnsupportedVersion)
	}
}

// A member is a consumer that a test plays by hand.
type member struct {
	*client
	version    int16 // of JoinGroup; the others follow
	id         string
	instance   *string
	generation int32
}

func (b *bus) member(version int16) *member { return &member{client: b.dial(), version: version} }

func (m *member) joinRequest() *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = m.version, theGroup, m.id, m.instance
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = 30_000, 30_000, "consumer"
	metadata := kmsg.NewConsumerMemberMetadata()
	metadata.Topics = []string{"orders"}
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", metadata.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	return req
}

// join asks for membership, a second time if it is given an id first.
func (m *member) join() *kmsg.JoinGroupResponse {
	m.t.Helper()
	resp := ask[*kmsg.JoinGroupResponse](m.client, m.joinRequest())
	if resp.ErrorCode == kerr.MemberIDRequired.Code {
		m.id = resp.MemberID
		resp = ask[*kmsg.JoinGroupResponse](m.client, m.joinRequest())
	}
	m.id, m.generation = resp.MemberID, resp.Generation
	return resp
}

// sync brings the assignment, of which this member's part is "all".
func (m *member) sync() *kmsg.SyncGroupResponse {
	m.t.Helper()
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = min(m.version, 5), theGroup, m.id, m.instance, m.generation
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = m.id, []byte("all")
	req.GroupAssignment = append(req.GroupAssignment, a)
	return ask[*kmsg.SyncGroupResponse](m.client, req)
}

func (m *member) heartbeat() int16 {
	m.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = min(m.version, 4), theGroup, m.id, m.instance, m.generation
	return ask[*kmsg.HeartbeatResponse](m.client, req).ErrorCode
}

func (m *member) leave() int16 {
	m.t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group, req.MemberID = min(m.version, 5), theGroup, m.id
	leaver := kmsg.NewLeaveGroupRequestMember()
	leaver.MemberID, leaver.InstanceID = m.id, m.instance
	req.Members = append(req.Members, leaver)
	resp := ask[*kmsg.LeaveGroupResponse](m.client, req)
	if req.Version < 3 || resp.ErrorCode != 0 {
		return resp.ErrorCode
	}
	return resp.Members[0].ErrorCode
}

// active has a member in a stable group.
func (b *bus) active(version int16) *member {
	b.t.Helper()
	m := b.member(version)
	wantCode(b.t, "join", m.join().ErrorCode, nil)
	wantCode(b.t, "sync", m.sync().ErrorCode, nil)
	return m
}

func TestMemberLivesInEveryVersion(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	for version := range int16(10) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			m := b.member(version)
			m.t = t
			resp := m.join()
			wantCode(t, "join", resp.ErrorCode, nil)
			if resp.LeaderID != m.id || len(resp.Members) != 1 || resp.Members[0].MemberID != m.id || *resp.Protocol != "range" {
				t.Errorf("joined %+v", resp)
			}
			if version >= 7 && *resp.ProtocolType != "consumer" {
				t.Errorf("protocol type %q", *resp.ProtocolType)
			}
			part := m.sync()
			wantCode(t, "sync", part.ErrorCode, nil)
			if string(part.MemberAssignment) != "all" {
				t.Errorf("assigned %q", part.MemberAssignment)
			}
			wantCode(t, "heartbeat", m.heartbeat(), nil)
			commit := commitRequest(min(version, 9), position{"orders", 0, 1})
			commit.MemberID, commit.Generation = m.id, m.generation
			if version > 0 { // which says nothing of the member
				wantCode(t, "commit", ask[*kmsg.OffsetCommitResponse](m.client, commit).Topics[0].Partitions[0].ErrorCode, nil)
			}
			wantCode(t, "leave", m.leave(), nil)
			wantCode(t, "leave again", m.leave(), kerr.UnknownMemberID)
		})
	}
}

func TestNewMemberIsGivenAnIDFirstFromVersion4(t *testing.T) {
	b := start(t, setup{})
	for version := range int16(10) {
		m := b.member(version)
		resp := ask[*kmsg.JoinGroupResponse](m.client, m.joinRequest())
		if required := resp.ErrorCode == kerr.MemberIDRequired.Code; required != (version >= 4) || resp.MemberID == "" {
			t.Errorf("version %d: code %d, id %q", version, resp.ErrorCode, resp.MemberID)
		}
		m.id = resp.MemberID
		wantCode(t, "leave", m.leave(), nil)
	}
}

func TestMembersOfUnknownGroupsAreUnknown(t *testing.T) {
	m := start(t, setup{}).member(5)
	m.id, m.generation = "from-before-a-restart", 3
	wantCode(t, "heartbeat", m.heartbeat(), kerr.UnknownMemberID)
	wantCode(t, "sync", m.sync().ErrorCode, kerr.UnknownMemberID)
	wantCode(t, "leave", m.leave(), kerr.UnknownMemberID)
	wantCode(t, "join", m.join().ErrorCode, kerr.UnknownMemberID)
}

func TestJoinSaysWhatIsWrong(t *testing.T) {
	b := start(t, setup{})
	for name, test := range map[string]struct {
		change func(*kmsg.JoinGroupRequest)
		want   *kerr.Error
	}{
		"short session":    {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5999 }, kerr.InvalidSessionTimeout},
		"negative session": {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = -1 }, kerr.InvalidSessionTimeout},
		"no group":         {func(r *kmsg.JoinGroupRequest) { r.Group = "" }, kerr.InvalidGroupID},
		"no protocols":     {func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }, kerr.InconsistentGroupProtocol},
	} {
		m := b.member(5)
		req := m.joinRequest()
		test.change(req)
		resp := ask[*kmsg.JoinGroupResponse](m.client, req)
		wantCode(t, name, resp.ErrorCode, test.want)
		if resp.Generation != -1 {
			t.Errorf("%s: generation %d", name, resp.Generation)
		}
	}
}

func TestCommitsOfOthersAreRefusedWhileAGroupHasMembers(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	m := b.active(9)
	wantCode(t, "from outside", b.dial().commit(8, position{"orders", 0, 1}), kerr.UnknownMemberID)
	old := commitRequest(8, position{"orders", 0, 1})
	old.MemberID, old.Generation = m.id, m.generation-1
	wantCode(t, "of an old generation", ask[*kmsg.OffsetCommitResponse](m.client, old).Topics[0].Partitions[0].ErrorCode, kerr.IllegalGeneration)
	wantCode(t, "leave", m.leave(), nil)
	wantCode(t, "from outside", b.dial().commit(8, position{"orders", 0, 1}), nil)
}

func TestAMemberCommitsNothingOfATopicBeforeItWasMadeAnew(t *testing.T) {
	b := start(t, setup{})
	old := b.topic("orders", 1).LeaderEpoch(0)
	m := b.active(9)
	if err := b.broker.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	own := b.topic("orders", 1).LeaderEpoch(0)
	for _, test := range []struct {
		epoch  int32
		want   *kerr.Error
		offset int64
	}{
		{old, kerr.UnknownTopicOrPartition, -1},
		{own, nil, 0},
		{-1, nil, 0}, // it does not know
	} {
		req := commitRequest(8, position{"orders", 0, 0})
		req.MemberID, req.Generation = m.id, m.generation
		req.Topics[0].Partitions[0].LeaderEpoch = test.epoch
		got := ask[*kmsg.OffsetCommitResponse](m.client, req).Topics[0].Partitions[0].ErrorCode
		wantCode(t, fmt.Sprintf("epoch %d of %d", test.epoch, own), got, test.want)
		if c, ok := b.broker.CommittedOffset(theGroup, "orders", 0); ok != (test.offset >= 0) || ok && c.LeaderEpoch != test.epoch {
			t.Errorf("epoch %d of %d: committed is %+v, %v", test.epoch, own, c, ok)
		}
	}
}

func TestKafkaMembersAndLineConsumersExcludeEachOther(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	release, err := b.broker.UseGroup(theGroup, broker.UseLine)
	if err != nil {
		t.Fatal(err)
	}
	m := b.member(3)
	wantCode(t, "join", m.join().ErrorCode, kerr.InconsistentGroupProtocol)
	wantCode(t, "commit", m.commit(8, position{"orders", 0, 1}), kerr.NonEmptyGroup)
	if len(b.book.Lines("a member cannot join", theGroup)) == 0 {
		t.Error("the refusal was not logged")
	}
	release()
	m.id = ""
	wantCode(t, "join", m.join().ErrorCode, nil)
	if _, err := b.broker.UseGroup(theGroup, broker.UseLine); err == nil {
		t.Error("a line consumer was let in")
	}
	wantCode(t, "leave", m.leave(), nil)
	release, err = b.broker.UseGroup(theGroup, broker.UseLine)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestStopAnswersMembersThatWait(t *testing.T) {
	b := start(t, setup{})
	b.active(3)
	waiting := b.member(3)
	req := waiting.joinRequest()
	waiting.send(req)
	await(t, "the rebalance begins", func() bool { return b.describe(5, theGroup).State == "PreparingRebalance" })
	b.stop()
	wantCode(t, "join", waiting.receive(req).(*kmsg.JoinGroupResponse).ErrorCode, kerr.CoordinatorNotAvailable)
	if n := len(b.broker.Members(theGroup)); n != 0 {
		t.Errorf("the group is still used by %d", n)
	}
}

func TestStopAnswersMembersThatWaitForTheirPart(t *testing.T) {
	b := start(t, setup{})
	leader, follower := b.active(3), b.member(3)
	join := follower.joinRequest()
	follower.send(join)
	await(t, "the rebalance begins", func() bool { return b.describe(5, theGroup).State == "PreparingRebalance" })
	wantCode(t, "join again", leader.join().ErrorCode, nil)
	resp := follower.receive(join).(*kmsg.JoinGroupResponse)
	wantCode(t, "join", resp.ErrorCode, nil)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, theGroup, resp.MemberID, resp.Generation
	follower.send(sync)
	await(t, "the follower waits", func() bool { return b.server.Waiting() > 0 })
	b.stop()
	wantCode(t, "sync", follower.receive(sync).(*kmsg.SyncGroupResponse).ErrorCode, kerr.CoordinatorNotAvailable)
}

func (b *bus) describe(version int16, group string) kmsg.DescribeGroupsResponseGroup {
	b.t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = version, []string{group}
	return ask[*kmsg.DescribeGroupsResponse](b.dial(), req).Groups[0]
}

func TestGroupIsDescribedInEveryVersion(t *testing.T) {
	b := start(t, setup{})
	m := b.active(5)
	for version := range int16(7) {
		g := b.describe(version, theGroup)
		if g.ErrorCode != 0 || g.State != "Stable" || g.ProtocolType != "consumer" || g.Protocol != "range" || len(g.Members) != 1 {
			t.Fatalf("version %d: %+v", version, g)
		}
		got := g.Members[0]
		if got.MemberID != m.id || got.ClientHost != "/127.0.0.1" || string(got.MemberAssignment) != "all" || len(got.ProtocolMetadata) == 0 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

func TestGroupsWithoutKafkaMembersAreDescribed(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	wantCode(t, "commit", b.dial().commit(8, position{"orders", 0, 1}), nil)
	if g := b.describe(5, "unknown"); g.ErrorCode != 0 || g.State != "Dead" {
		t.Errorf("unknown: %+v", g)
	}
	if g := b.describe(6, "unknown"); g.ErrorCode != kerr.GroupIDNotFound.Code || g.ErrorMessage == nil {
		t.Errorf("unknown: %+v", g)
	}
	if g := b.describe(6, theGroup); g.ErrorCode != 0 || g.State != "Empty" || g.ProtocolType != "" {
		t.Errorf("only offsets: %+v", g)
	}
	for _, name := range []string{theGroup, "without offsets"} {
		release, err := b.broker.UseGroup(name, group.Membership{Protocol: "line", Topic: "orders", Client: "127.0.0.1:54321"})
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		g := b.describe(6, name)
		if g.ErrorCode != 0 || g.State != "Stable" || g.ProtocolType != "consumer" || len(g.Members) != 1 {
			t.Fatalf("line consumers: %+v", g)
		}
		if m := g.Members[0]; m.MemberID != "line-127.0.0.1:54321-orders" || m.ClientID != "line" || m.ClientHost != "/127.0.0.1" {
			t.Errorf("a line consumer: %+v", m)
		}
		if got := b.list(5, []string{"Stable"}, nil); !slices.Contains(got, name+" Stable classic") {
			t.Errorf("listed are %q", got)
		}
	}
}

// list asks for groups and gives each as "name state type".
func (b *bus) list(version int16, states, types []string) (all []string) {
	b.t.Helper()
	req := kmsg.NewPtrListGroupsRequest()
	req.Version, req.StatesFilter, req.TypesFilter = version, states, types
	for _, g := range ask[*kmsg.ListGroupsResponse](b.dial(), req).Groups {
		all = append(all, strings.TrimSpace(fmt.Sprintln(g.Group, g.GroupState, g.GroupType)))
	}
	return all
}

func TestGroupsAreListedByStateAndType(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	b.active(5)
	req := commitRequest(8, position{"orders", 0, 1})
	req.Group = "alone"
	ask[*kmsg.OffsetCommitResponse](b.dial(), req)
	for _, test := range []struct {
		version       int16
		states, types []string
		want          []string
	}{
		{0, nil, nil, []string{"alone", "billing"}},
		{4, nil, nil, []string{"alone Empty", "billing Stable"}},
		{5, nil, nil, []string{"alone Empty classic", "billing Stable classic"}},
		{5, []string{"stable"}, nil, []string{"billing Stable classic"}},
		{5, []string{"Dead", "EMPTY"}, nil, []string{"alone Empty classic"}},
		{5, nil, []string{"Classic"}, []string{"alone Empty classic", "billing Stable classic"}},
		{5, nil, []string{"consumer"}, nil},
	} {
		if got := b.list(test.version, test.states, test.types); !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}

func (c *client) deleteGroup(version int16, group string) int16 {
	c.t.Helper()
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Version, req.Groups = version, []string{group}
	return ask[*kmsg.DeleteGroupsResponse](c, req).Groups[0].ErrorCode
}

func TestGroupIsDeletedWithItsOffsetsForGood(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	for version := range int16(4) {
		wantCode(t, "unknown", c.deleteGroup(version, theGroup), kerr.GroupIDNotFound)
		wantCode(t, "without a name", c.deleteGroup(version, ""), kerr.InvalidGroupID)
		m := b.active(5)
		wantCode(t, "with a member", c.deleteGroup(version, theGroup), kerr.NonEmptyGroup)
		wantCode(t, "leave", m.leave(), nil)
		wantCode(t, "that never committed", c.deleteGroup(version, theGroup), nil)
		wantCode(t, "commit", c.commit(8, position{"orders", 0, 1}), nil)
		wantCode(t, "with offsets", c.deleteGroup(version, theGroup), nil)
		if got := c.fetchCommitted(8, theGroup, "", 0); len(got) != 0 {
			t.Errorf("left over: %v", got)
		}
	}
	wantCode(t, "commit", c.commit(8, position{"orders", 0, 1}), nil)
	release, err := b.broker.UseGroup(theGroup, broker.UseLine)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, "with line consumers", c.deleteGroup(2, theGroup), kerr.NonEmptyGroup)
	release()
	wantCode(t, "without them", c.deleteGroup(2, theGroup), nil)
	b.restart()
	if got := b.list(4, nil, nil); len(got) != 0 {
		t.Errorf("after a restart: %q", got)
	}
}

func TestStaticMemberComesBackOverTheWire(t *testing.T) {
	b := start(t, setup{})
	name := "one"
	m := b.member(9)
	m.instance = &name
	wantCode(t, "join", m.join().ErrorCode, nil)
	wantCode(t, "sync", m.sync().ErrorCode, nil)
	again := b.member(9)
	again.instance = &name
	resp := again.join()
	wantCode(t, "join again", resp.ErrorCode, nil)
	if again.id == m.id || again.generation != m.generation || !resp.SkipAssignment {
		t.Errorf("joined again: %+v", resp)
	}
	wantCode(t, "heartbeat of the former self", m.heartbeat(), kerr.FencedInstanceID)
	if got := b.describe(5, theGroup).Members; len(got) != 1 || got[0].InstanceID == nil || *got[0].InstanceID != name {
		t.Errorf("described as %+v", got)
	}
	again.id = "" // by its instance id alone, as administrators do
	wantCode(t, "leave", again.leave(), nil)
}

func TestRebalanceDelayIsAnOption(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{RebalanceDelay: time.Hour}})
	m := b.member(3)
	m.send(m.joinRequest())
	await(t, "the delay begins", func() bool { return b.describe(5, theGroup).State == "PreparingRebalance" })
}

// A request that names groups many times, or many groups, is made to cost much:
// the connection is closed.
func TestNoRequestNamesAGroupTwiceOrTenThousand(t *testing.T) {
	b := start(t, setup{})
	twice := []string{"a", "b", "a"}
	many := make([]string, 10_001)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, names := range [][]string{twice, many} {
		describe, remove := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrDeleteGroupsRequest()
		describe.Version, describe.Groups = 5, names
		remove.Version, remove.Groups = 2, names
		find, fetch := kmsg.NewPtrFindCoordinatorRequest(), kmsg.NewPtrOffsetFetchRequest()
		find.Version, find.CoordinatorKeys = 4, names
		fetch.Version = 8
		for _, name := range names {
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = name
			fetch.Groups = append(fetch.Groups, g)
		}
		for _, req := range []kmsg.Request{describe, remove, find, fetch} {
			c := b.dial()
			c.send(req)
			c.mustBeClosed()
		}
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group, leave.Members = 5, theGroup, make([]kmsg.LeaveGroupRequestMember, 10_001)
	c := b.dial()
	c.send(leave)
	c.mustBeClosed()
}
