package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka takes a connection's next request when the one before is answered.
func TestWhatWasProducedBeforeOnTheConnectionIsSeen(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	for range 20 { // a large batch is synced while the next request is read
		c := b.dial()
		produce := produceRequest(write{"orders", 0, batchOf(64 << 10)})
		list := kmsg.NewPtrListOffsetsRequest()
		list.Version = 7
		list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "orders", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1, CurrentLeaderEpoch: -1}}}}
		del := kmsg.NewPtrDeleteRecordsRequest()
		del.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "orders", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
		var all []byte
		for i, req := range []kmsg.Request{produce, list, del, metadataFor(1, "orders")} {
			all = append(all, frame(req, int32(i+1))...)
		}
		if _, err := c.Write(all); err != nil {
			t.Fatal(err)
		}
		base := produced(c.receive(produce).(*kmsg.ProduceResponse)).BaseOffset
		if got := c.receive(list).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.Offset != base+1 {
			t.Fatalf("produced at %d, and the end is told to be %+v", base, got)
		}
		if got := c.receive(del).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.LowWatermark != base+1 {
			t.Fatalf("produced at %d, and deleted up to %+v", base, got)
		}
		c.receive(metadataFor(1, "orders"))
	}
}

func TestOnlyBrokersCanBeAskedFor(t *testing.T) {
	c := start(t, setup{}).dial()
	for kind, want := range map[int8]*kerr.Error{1: nil, 2: kerr.MismatchedEndpointType, 3: kerr.UnsupportedEndpointType} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = 2, kind
		resp := ask[*kmsg.DescribeClusterResponse](c, req)
		wantCode(t, "describe the cluster", resp.ErrorCode, want)
		if want == nil && len(resp.Brokers) != 1 {
			t.Errorf("%+v", resp)
		}
	}
}
