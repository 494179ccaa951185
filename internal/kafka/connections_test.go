package kafka_test

import (
	"testing"

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
