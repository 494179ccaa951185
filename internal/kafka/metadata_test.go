package kafka_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/kafka"
)

// metadataFor asks for topics by name, without making them.
func metadataFor(version int16, names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req
}

func TestMetadataDescribesTopicsInEveryVersion(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{NodeID: 5, ClusterID: "test"}})
	made := b.topic("orders", 3)
	c := b.dial()
	_, port, err := net.SplitHostPort(b.addr)
	if err != nil {
		t.Fatal(err)
	}
	for version := int16(0); version <= 13; version++ {
		resp := ask[*kmsg.MetadataResponse](c, metadataFor(version, "orders"))
		if n := resp.Brokers; len(n) != 1 || n[0].NodeID != 5 || n[0].Host != "127.0.0.1" || strconv.Itoa(int(n[0].Port)) != port {
			t.Errorf("version %d: brokers %+v", version, n)
		}
		if version >= 1 && resp.ControllerID != 5 || version >= 2 && *resp.ClusterID != "test" {
			t.Errorf("version %d: %+v", version, resp)
		}
		topic := resp.Topics[0]
		if *topic.Topic != "orders" || topic.ErrorCode != 0 || len(topic.Partitions) != 3 || topic.IsInternal {
			t.Fatalf("version %d: %+v", version, topic)
		}
		if version >= 10 && topic.TopicID != made.ID {
			t.Errorf("version %d: id %x", version, topic.TopicID)
		}
		for i, p := range topic.Partitions {
			if p.Partition != int32(i) || p.Leader != 5 || len(p.Replicas) != 1 || p.Replicas[0] != 5 || len(p.ISR) != 1 || p.ErrorCode != 0 {
				t.Errorf("version %d: partition %+v", version, p)
			}
		}
	}
}

func TestMetadataOfAllTopicsMakesNone(t *testing.T) {
	b := start(t, setup{})
	b.topic("a", 1)
	b.topic("b", 1)
	c := b.dial()
	for version := int16(0); version <= 13; version++ {
		if resp := ask[*kmsg.MetadataResponse](c, metadataFor(version)); len(resp.Topics) != 2 {
			t.Errorf("version %d: %d topics", version, len(resp.Topics))
		}
		req := metadataFor(version)
		req.Topics = []kmsg.MetadataRequestTopic{}
		want := 0
		if version == 0 {
			want = 2
		}
		if resp := ask[*kmsg.MetadataResponse](c, req); len(resp.Topics) != want {
			t.Errorf("version %d: none were asked for, %d came", version, len(resp.Topics))
		}
	}
}

func TestMetadataMakesATopicOnlyIfTheRequestAllowsIt(t *testing.T) {
	b := start(t, setup{partitions: 4})
	c := b.dial()
	resp := ask[*kmsg.MetadataResponse](c, metadataFor(12, "orders"))
	if resp.Topics[0].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%+v", resp.Topics[0])
	}
	if n := len(b.broker.Topics()); n != 0 {
		t.Errorf("there are %d topics", n)
	}
	req := metadataFor(12, "orders")
	req.AllowAutoTopicCreation = true
	if resp := ask[*kmsg.MetadataResponse](c, req); resp.Topics[0].ErrorCode != 0 || len(resp.Topics[0].Partitions) != 4 {
		t.Errorf("%+v", resp.Topics[0])
	}
	if resp := ask[*kmsg.MetadataResponse](c, metadataFor(3, "old")); resp.Topics[0].ErrorCode != 0 {
		t.Errorf("before version 4 it is always allowed: %+v", resp.Topics[0])
	}
	for _, name := range []string{"or/ders", "", "..", broker.PositionsTopic} {
		req := metadataFor(12, name)
		req.AllowAutoTopicCreation = true
		if resp := ask[*kmsg.MetadataResponse](c, req); resp.Topics[0].ErrorCode != kerr.InvalidTopicException.Code {
			t.Errorf("%q: code %d", name, resp.Topics[0].ErrorCode)
		}
	}
}

func TestMetadataFindsATopicByItsID(t *testing.T) {
	b := start(t, setup{})
	made := b.topic("orders", 1)
	c := b.dial()
	req := metadataFor(12)
	known, unknown := kmsg.NewMetadataRequestTopic(), kmsg.NewMetadataRequestTopic()
	known.TopicID, unknown.TopicID = made.ID, [16]byte{1}
	req.Topics = append(req.Topics, known, unknown)
	resp := ask[*kmsg.MetadataResponse](c, req)
	if *resp.Topics[0].Topic != "orders" || resp.Topics[1].ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("%+v", resp.Topics)
	}
}

// ListOffsets

func listOffsets(c *client, version int16, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	c.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = version
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "orders"
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.MaxNumOffsets = timestamp, 1
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	return ask[*kmsg.ListOffsetsResponse](c, req).Topics[0].Partitions[0]
}

func TestListOffsetsFindsEveryKindOfOffset(t *testing.T) {
	b := start(t, setup{})
	orders := b.topic("orders", 1)
	c := b.dial()
	if out := listOffsets(c, 7, -3); out.Offset != -1 || out.ErrorCode != 0 {
		t.Errorf("the latest record of an empty log: %+v", out)
	}
	for range 3 {
		c.publish("orders", 0, messages(4)) // at 1000 to 1003
	}
	if err := orders.Partitions()[0].Trim(2); err != nil {
		t.Fatal(err)
	}
	for version := int16(1); version <= 11; version++ {
		for _, test := range []struct{ timestamp, offset, at int64 }{
			{-1, 12, -1},
			{-2, 2, -1},
			{1003, 3, 1003},
			{1004, -1, -1},
			{-3, 3, 1003},
			{-4, 2, -1},
			{-5, -1, -1},
		} {
			out := listOffsets(c, version, test.timestamp)
			since := map[int64]int16{-3: 7, -4: 8, -5: 9}[test.timestamp]
			if version < since {
				wantCode(t, fmt.Sprintf("version %d, %d", version, test.timestamp), out.ErrorCode, kerr.UnsupportedVersion)
				continue
			}
			if out.ErrorCode != 0 || out.Offset != test.offset || out.Timestamp != test.at {
				t.Errorf("version %d, %d: %+v, want %+v", version, test.timestamp, out, test)
			}
		}
	}
	if out := listOffsets(c, 0, -1); len(out.OldStyleOffsets) != 1 || out.OldStyleOffsets[0] != 12 {
		t.Errorf("version 0: %+v", out)
	}
	if out := listOffsets(c, 8, -7); out.ErrorCode != kerr.UnsupportedVersion.Code {
		t.Errorf("-7: %+v", out)
	}
}
