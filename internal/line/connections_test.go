package line_test

import (
	"io"
	"testing"

	"mbus/internal/tcpserver"
)

func TestConnectionsAreShownAndClosed(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	follower := b.dial(b.consumers, "orders?group=billing&follow\n")
	follower.mustSay("first")
	producer := b.dial(b.producers, "stock\nmessage\n")
	producer.mustSay("+1")
	silent := b.dial(b.consumers, "")
	uses := make(map[tcpserver.Use]uint64)
	await(t, "three are shown", func() bool {
		all := b.server.Connections()
		for _, c := range all {
			uses[c.Use] = c.ID
			if c.Protocol != "line" || c.Client == "" || c.Since.IsZero() {
				t.Fatalf("a connection is %+v", c)
			}
		}
		return len(all) == 3
	})
	id := uses[tcpserver.Use{Topic: "orders", Group: "billing", Does: "follow"}]
	if id == 0 || uses[tcpserver.Use{Topic: "stock", Does: "publish"}] == 0 || uses[tcpserver.Use{}] == 0 {
		t.Fatalf("uses %+v", uses)
	}
	if b.server.Disconnect(1 << 60) {
		t.Fatal("there is a connection of any id")
	}
	if !b.server.Disconnect(id) {
		t.Error("the follower can't be closed")
	}
	if n, err := follower.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the follower got %d bytes, %v: no reset", n, err)
	}
	awaitMembers(b, "billing", 0)
	silent.Close()
	producer.Close()
}
