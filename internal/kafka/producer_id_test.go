package kafka_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
)

// initProducer asks for a producer id, as one that has that id and epoch.
func (c *client) initProducer(version int16, id int64, epoch int16) *kmsg.InitProducerIDResponse {
	c.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.ProducerID, req.ProducerEpoch = version, id, epoch
	return ask[*kmsg.InitProducerIDResponse](c, req)
}

func TestEveryProducerGetsAnIDOfItsOwnWhateverItBrings(t *testing.T) {
	b := start(t, setup{})
	given := map[int64]bool{0: true, 1: true, 4711: true}
	for version := int16(0); version <= 5; version++ {
		for range 2 { // before a restart and behind it
			c := b.dial()
			for _, brought := range []struct {
				id    int64
				epoch int16
			}{{-1, -1}, {0, 0}, {0, 0}, {1, 0}, {4711, 7}, {4711, math.MaxInt16}, {math.MaxInt64, 0}, {0, -1}, {-1, 0}} {
				resp := c.initProducer(version, brought.id, brought.epoch)
				if resp.ErrorCode != 0 || resp.ProducerEpoch != 0 || resp.ProducerID < 0 || given[resp.ProducerID] {
					t.Errorf("version %d, %+v: %+v", version, brought, resp)
				}
				given[resp.ProducerID] = true
			}
			b.restart()
		}
	}
}

// TestProducersThatBringTheSameIDLoseNothing is @platformatic/kafka's way: each of its
// idempotent producers asks with id 0 and epoch 0.
func TestProducersThatBringTheSameIDLoseNothing(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	for i := range 3 {
		resp := c.initProducer(5, 0, 0)
		var one batch.Builder
		one.Add(1000, nil, fmt.Append(nil, "from producer ", i))
		one.Close(0)
		p := batchtest.Idempotent(one.Bytes(), resp.ProducerID, resp.ProducerEpoch, 0)
		for range 2 { // the second time it is one that is sent again
			if base := c.publish("orders", 0, p); base != int64(i) {
				t.Errorf("producer %d: offset %d", i, base)
			}
		}
	}
	got := ask[*kmsg.FetchResponse](c, fetchRequest(11, read{"orders", 0, 0})).Topics[0].Partitions[0]
	if all := values(t, got.RecordBatches); len(all) != 3 {
		t.Errorf("stored: %q", all)
	}
}

func TestASearchByTimeFindsNothingBelowTheLogStart(t *testing.T) {
	b := start(t, setup{})
	orders := b.topic("orders", 1).Partitions()[0]
	c := b.dial()
	timed := func(times ...int64) batch.Batch {
		var b batch.Builder
		for _, at := range times {
			b.Add(at, nil, nil)
		}
		b.Close(0)
		return b.Bytes()
	}
	c.publish("orders", 0, timed(5000, 1001, 1002, 1003, 1002))
	check := func(start int64, tests ...[3]int64) {
		t.Helper()
		if err := orders.Trim(start); err != nil {
			t.Fatal(err)
		}
		for _, test := range tests {
			if out := listOffsets(c, 7, test[0]); out.ErrorCode != 0 || out.Offset != test[1] || out.Timestamp != test[2] {
				t.Errorf("from %d, %d: %+v, want %v", start, test[0], out, test[1:])
			}
		}
	}
	check(0, [3]int64{1000, 0, 5000}, [3]int64{-3, 0, 5000})
	check(1, [3]int64{1000, 1, 1001}, [3]int64{1002, 2, 1002}, [3]int64{4000, -1, -1}, [3]int64{-3, 3, 1003})
	check(4, [3]int64{1000, 4, 1002}, [3]int64{-3, 4, 1002})
	c.publish("orders", 0, timed(3000, 2000))
	check(4, [3]int64{1003, 5, 3000}, [3]int64{-3, 5, 3000})
	check(7, [3]int64{1000, -1, -1}, [3]int64{-3, -1, -1})
}
