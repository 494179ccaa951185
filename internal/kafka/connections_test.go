package kafka_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestConnectionsAreShownAndClosed(t *testing.T) {
	b := start(t, setup{})
	c := b.dial()
	req := kmsg.NewPtrMetadataRequest()
	c.send(req)
	c.receive(req)
	all := b.server.Connections()
	if len(all) != 1 || all[0].Protocol != "kafka" || all[0].Does != "Metadata" || all[0].ID == 0 || all[0].Client == "" || all[0].Since.IsZero() {
		t.Fatalf("connections %+v", all)
	}
	if b.server.Disconnect(all[0].ID + 1) {
		t.Error("another connection was closed")
	}
	if !b.server.Disconnect(all[0].ID) {
		t.Error("there is no such connection")
	}
	c.mustBeClosed()
}

func TestConnectionsNameTheirTopicAndGroup(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	b.fill(1, 3)
	w := b.worker()
	wantOwned(t, 1, w)
	wantRead(t, 1, 3, w)
	await(t, "a connection names its topic, and one its group", func() bool {
		topic, group := false, false
		for _, c := range b.server.Connections() {
			topic = topic || c.Topic == "orders" && c.Does == "Fetch"
			group = group || c.Group == theGroup
		}
		return topic && group
	})
}

// What a connection shows of its latest requests is no reason to keep them: a JoinGroup may have 16 MiB.
func TestConnectionsKeepNoRequests(t *testing.T) {
	const connections, size = 8, 4 << 20
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools keep things for one round
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	b := start(t, setup{})
	refused, join := b.dial(), &kmsg.JoinGroupRequest{
		Version: 3, SessionTimeoutMillis: 10_000, ProtocolType: "consumer",
		Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, size)}},
	}
	before := heap()
	if got := ask[*kmsg.JoinGroupResponse](refused, join); got.ErrorCode != kerr.InvalidGroupID.Code {
		t.Errorf("a group without a name: %+v", got)
	}
	ask[*kmsg.HeartbeatResponse](refused, &kmsg.HeartbeatRequest{Version: 3, Group: "of others"})
	if all := b.server.Connections(); all[0].Group != "" {
		t.Errorf("a client that is no member: %+v", all)
	}
	for i := range connections {
		join.Group = fmt.Sprint("g", i)
		joined := ask[*kmsg.JoinGroupResponse](b.dial(), join)
		left := ask[*kmsg.LeaveGroupResponse](refused, &kmsg.LeaveGroupRequest{Group: join.Group, MemberID: joined.MemberID})
		if joined.ErrorCode != 0 || left.ErrorCode != 0 { // the coordinator has a copy of a member's metadata
			t.Fatalf("%+v, %+v", joined, left)
		}
	}
	if all := b.server.Connections(); len(all) != 1+connections || all[1].Group != "g0" {
		t.Errorf("connections %+v", all)
	}
	if kept := heap() - before; kept > connections*size/2 {
		t.Errorf("%d connections keep %d bytes", connections, kept)
	}
	runtime.KeepAlive(join)
}
