package kafka_test

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchByID asks for partition 0 of a topic, in a version that has no names.
func fetchByID(version int16, id [16]byte, offset int64) *kmsg.FetchRequest {
	req := fetchRequest(version, read{"", 0, offset})
	req.Topics[0].TopicID = id
	return req
}

func produceByID(id [16]byte, records []byte) *kmsg.ProduceRequest {
	req := produceRequest(write{"", 0, records})
	req.Version = 13
	req.Topics[0].TopicID = id
	return req
}

func TestFetchFindsATopicByItsID(t *testing.T) {
	b := start(t, setup{})
	id := b.topic("orders", 1).ID
	c := b.dial()
	c.publish("orders", 0, messages(3))
	for version := int16(13); version <= 18; version++ {
		resp := ask[*kmsg.FetchResponse](c, fetchByID(version, id, 0))
		p := fetched(resp)
		if resp.Topics[0].TopicID != id || p.ErrorCode != 0 || p.HighWatermark != 3 {
			t.Errorf("version %d: %+v", version, resp)
		}
		if got := values(t, p.RecordBatches); !slices.Equal(got, []string{"0", "1", "2"}) {
			t.Errorf("version %d: %q", version, got)
		}
		resp = ask[*kmsg.FetchResponse](c, fetchByID(version, [16]byte{7}, 0))
		if resp.Topics[0].TopicID != [16]byte{7} || fetched(resp).ErrorCode != kerr.UnknownTopicID.Code {
			t.Errorf("version %d, an unknown id: %+v", version, resp)
		}
	}
}

func TestProduceFindsATopicByItsID(t *testing.T) {
	b := start(t, setup{})
	id := b.topic("orders", 1).ID
	c := b.dial()
	c.publish("orders", 0, messages(3))
	resp := ask[*kmsg.ProduceResponse](c, produceByID(id, messages(2)))
	if out := produced(resp); resp.Topics[0].TopicID != id || out.ErrorCode != 0 || out.BaseOffset != 3 {
		t.Errorf("%+v", resp)
	}
	resp = ask[*kmsg.ProduceResponse](c, produceByID([16]byte{7}, messages(2)))
	if resp.Topics[0].TopicID != [16]byte{7} || produced(resp).ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("an unknown id: %+v", resp)
	}
}

func TestTheIDOfADeletedTopicIsNotThatOfTheNextOne(t *testing.T) {
	b := start(t, setup{})
	old := b.topic("orders", 1).ID
	c := b.dial()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	byID := kmsg.NewDeleteTopicsRequestTopic()
	byID.TopicID = old
	req.Topics = append(req.Topics, byID)
	if out := ask[*kmsg.DeleteTopicsResponse](c, req).Topics[0]; out.ErrorCode != 0 || *out.Topic != "orders" || out.TopicID != old {
		t.Errorf("%+v", out)
	}
	b.topic("orders", 1)
	if out := ask[*kmsg.DeleteTopicsResponse](c, req).Topics[0]; out.ErrorCode != kerr.UnknownTopicID.Code || out.Topic != nil {
		t.Errorf("%+v", out)
	}
	if out := produced(ask[*kmsg.ProduceResponse](c, produceByID(old, messages(2)))); out.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("%+v", out)
	}
	if out := fetched(ask[*kmsg.FetchResponse](c, fetchByID(18, old, 0))); out.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("%+v", out)
	}
	b.restart()
	c = b.dial()
	now, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if out := produced(ask[*kmsg.ProduceResponse](c, produceByID(now.ID, messages(2)))); out.ErrorCode != 0 {
		t.Errorf("after a restart: %+v", out)
	}
}

// commitByID commits offset 2 of a topic, and returns the code.
func commitByID(c *client, id [16]byte) int16 {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 10, "billing", -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.TopicID = id
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = 2
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	resp := ask[*kmsg.OffsetCommitResponse](c, req)
	if resp.Topics[0].TopicID != id {
		c.t.Errorf("the answer is for %x", resp.Topics[0].TopicID)
	}
	return resp.Topics[0].Partitions[0].ErrorCode
}

func TestOffsetsAreCommittedAndFetchedByID(t *testing.T) {
	b := start(t, setup{})
	orders, other := b.topic("orders", 1).ID, b.topic("other", 1).ID
	c := b.dial()
	c.publish("orders", 0, messages(3))
	if code := commitByID(c, orders); code != 0 {
		t.Errorf("code %d", code)
	}
	if code := commitByID(c, [16]byte{7}); code != kerr.UnknownTopicID.Code {
		t.Errorf("an unknown id: code %d", code)
	}
	for _, named := range [][][16]byte{nil, {orders, other, {7}}} {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version = 10
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = "billing"
		for _, id := range named {
			topic := kmsg.NewOffsetFetchRequestGroupTopic()
			topic.TopicID, topic.Partitions = id, []int32{0}
			g.Topics = append(g.Topics, topic)
		}
		req.Groups = append(req.Groups, g)
		topics := ask[*kmsg.OffsetFetchResponse](c, req).Groups[0].Topics
		if len(topics) != max(1, len(named)) || topics[0].TopicID != orders || topics[0].Partitions[0].Offset != 2 {
			t.Fatalf("%+v", topics)
		}
		if named == nil {
			continue
		}
		if p := topics[1].Partitions[0]; p.Offset != -1 || p.ErrorCode != 0 {
			t.Errorf("nothing is committed: %+v", p)
		}
		if p := topics[2].Partitions[0]; p.Offset != -1 || p.ErrorCode != kerr.UnknownTopicID.Code {
			t.Errorf("an unknown id: %+v", p)
		}
	}
}
