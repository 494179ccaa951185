package kafka_test

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/store"
	"mbus/internal/store/storefault"
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
			t.Fatalf("produced at %d, and the end is %+v", base, got)
		}
		if got := c.receive(del).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.LowWatermark != base+1 {
			t.Fatalf("produced at %d, and deleted up to %+v", base, got)
		}
		c.receive(metadataFor(1, "orders"))
	}
}

// To delete all records is not to delete what was produced afterwards.
func TestWhatIsProducedBehindADeletionOfRecordsStays(t *testing.T) {
	var held atomic.Pointer[func()]
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(inner store.Partition, topic string, p []byte, done func(int64, error)) error {
			return store.Append(inner, p, func(base int64, err error) {
				answer := func() { done(base, err) }
				if topic != "orders" || base > 0 || !held.CompareAndSwap(nil, &answer) {
					answer()
				}
			})
		}}
	}})
	topic := b.topic("orders", 1)
	b.topic("others", 1)
	c, other := b.dial(), b.dial()
	produce := produceRequest(write{"orders", 0, messages(1)})
	del := kmsg.NewPtrDeleteRecordsRequest()
	del.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "orders", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}
	for _, req := range []kmsg.Request{produce, del, produce} {
		c.send(req)
	}
	await(t, "the first message is stored", func() bool { return held.Load() != nil })
	for range 20 { // meanwhile the rest would be read
		other.publish("others", 0, messages(1))
	}
	(*held.Load())()
	c.receive(produce)
	if got := c.receive(del).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.LowWatermark != 1 {
		t.Errorf("deleted: %+v", got)
	}
	if base := produced(c.receive(produce).(*kmsg.ProduceResponse)).BaseOffset; base != 1 {
		t.Errorf("the message behind has offset %d", base)
	}
	if first, end := topic.Partitions()[0].Offsets(); first != 1 || end != 2 {
		t.Errorf("the log begins at %d and ends at %d", first, end)
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
