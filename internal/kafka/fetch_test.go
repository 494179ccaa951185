package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// newestFetch is the last version that names topics; see topic_id_test.go.
const newestFetch = 12

// fetched is the only partition of an answer.
func fetched(resp *kmsg.FetchResponse) kmsg.FetchResponseTopicPartition {
	return resp.Topics[0].Partitions[0]
}

func TestFetchGivesWholeBatchesInEveryVersion(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 2)
	c := b.dial()
	c.publish("orders", 0, messages(3))
	c.publish("orders", 0, messages(2))
	for version := int16(4); version <= newestFetch; version++ {
		resp := ask[*kmsg.FetchResponse](c, fetchRequest(version, read{"orders", 0, 1}, read{"orders", 1, 0}))
		if len(resp.Topics) != 2 || resp.SessionID != 0 || resp.ErrorCode != 0 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		p := fetched(resp)
		if p.ErrorCode != 0 || p.HighWatermark != 5 || p.LastStableOffset != 5 || version >= 5 && p.LogStartOffset != 0 {
			t.Errorf("version %d: %+v", version, p)
		}
		if got := values(t, p.RecordBatches); !slices.Equal(got, []string{"0", "1", "2", "0", "1"}) {
			t.Errorf("version %d: %q", version, got)
		}
		if empty := resp.Topics[1].Partitions[0]; empty.RecordBatches == nil || len(empty.RecordBatches) > 0 || empty.Partition != 1 {
			t.Errorf("version %d: the empty partition: %+v", version, empty)
		}
	}
}

func TestALargeAnswerIsTheSameAsSmallOnes(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 3)
	c := b.dial()
	var want []string
	for i := range 60 {
		var builder batch.Builder
		value := make([]byte, 20_000)
		copy(value, fmt.Sprint(i))
		builder.Add(1, nil, value)
		builder.Close(0)
		c.publish("orders", int32(i%3), builder.Bytes())
		want = append(want, string(value))
	}
	for _, version := range []int16{4, 11, newestFetch} {
		var got []string
		req := fetchRequest(version, read{"orders", 0, 0}, read{"orders", 1, 0}, read{"orders", 2, 0})
		req.MaxBytes = 2 << 20
		resp := ask[*kmsg.FetchResponse](c, req)
		for i := range resp.Topics {
			got = append(got, values(t, resp.Topics[i].Partitions[0].RecordBatches)...)
		}
		slices.SortFunc(got, func(x, y string) int { return slices.Index(want, x) - slices.Index(want, y) })
		if !slices.Equal(got, want) {
			t.Errorf("version %d: %d records", version, len(got))
		}
	}
}

func TestFetchKeepsToItsMaximaButForTheFirstBatch(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 2)
	c := b.dial()
	size := int32(len(messages(10)))
	for range 10 {
		c.publish("orders", 0, messages(10))
		c.publish("orders", 1, messages(10))
	}
	for name, test := range map[string]struct {
		max, partMax int32
		want         [2]int // batches
	}{
		"at least one batch":                  {1, 1 << 20, [2]int{1, 0}},
		"at least one batch of the partition": {1 << 20, 1, [2]int{1, 0}},
		"two of each":                         {1 << 20, 2 * size, [2]int{2, 2}},
		"three in all":                        {3*size + size/2, 1 << 20, [2]int{3, 0}},
		"one, and part of the next":           {1 << 20, size + size/2, [2]int{1, 1}},
		"all":                                 {1 << 20, 1 << 20, [2]int{10, 10}},
	} {
		req := fetchRequest(newestFetch, read{"orders", 0, 0}, read{"orders", 1, 0})
		req.MaxBytes = test.max
		for i := range req.Topics {
			req.Topics[i].Partitions[0].PartitionMaxBytes = test.partMax
		}
		resp := ask[*kmsg.FetchResponse](c, req)
		for i := range test.want {
			if n := len(resp.Topics[i].Partitions[0].RecordBatches) / int(size); n != test.want[i] {
				t.Errorf("%s: %d batches of partition %d, want %d", name, n, i, test.want[i])
			}
		}
	}
}

func TestFetchSaysWhatIsWrong(t *testing.T) {
	b := start(t, setup{})
	orders := b.topic("orders", 1)
	c := b.dial()
	for range 3 {
		c.publish("orders", 0, messages(2))
	}
	if err := orders.Partitions()[0].Trim(2); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		read
		epoch int32
		want  *kerr.Error
	}{
		"above the end":   {read{"orders", 0, 7}, -1, kerr.OffsetOutOfRange},
		"below the start": {read{"orders", 0, 1}, -1, kerr.OffsetOutOfRange},
		"negative":        {read{"orders", 0, -1}, -1, kerr.OffsetOutOfRange},
		"no topic":        {read{"nosuch", 0, 0}, -1, kerr.UnknownTopicOrPartition},
		"no partition":    {read{"orders", 1, 0}, -1, kerr.UnknownTopicOrPartition},
		"a later leader":  {read{"orders", 0, 2}, orders.LeaderEpoch(0) + 1, kerr.UnknownLeaderEpoch},
	} {
		req := fetchRequest(newestFetch, test.read)
		req.Topics[0].Partitions[0].CurrentLeaderEpoch = test.epoch
		req.MaxWaitMillis = int32(patience.Milliseconds()) // it is not waited for
		p := fetched(ask[*kmsg.FetchResponse](c, req))
		if p.ErrorCode != test.want.Code {
			t.Errorf("%s: code %d", name, p.ErrorCode)
		}
		if test.want == kerr.OffsetOutOfRange && (p.HighWatermark != 6 || p.LogStartOffset != 2) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestFetchAtTheEndIsEmpty(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(2))
	p := fetched(ask[*kmsg.FetchResponse](c, fetchRequest(11, read{"orders", 0, 2})))
	if p.ErrorCode != 0 || p.HighWatermark != 2 || p.RecordBatches == nil || len(p.RecordBatches) > 0 {
		t.Errorf("%+v", p)
	}
}

func TestFetchWaitsForAMessage(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	waiting, writing := b.dial(), b.dial()
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis = int32(patience.Milliseconds())
	waiting.send(req)
	writing.publish("orders", 0, messages(1))
	p := fetched(waiting.receive(req).(*kmsg.FetchResponse))
	if got := values(t, p.RecordBatches); !slices.Equal(got, []string{"0"}) {
		t.Errorf("%q", got)
	}
}

func TestFetchWaitsForAsManyBytesAsItWants(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	waiting, writing := b.dial(), b.dial()
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis = int32(patience.Milliseconds())
	req.MinBytes = int32(3 * len(messages(1)))
	waiting.send(req)
	for range 3 {
		writing.publish("orders", 0, messages(1))
	}
	p := fetched(waiting.receive(req).(*kmsg.FetchResponse))
	if got := values(t, p.RecordBatches); !slices.Equal(got, []string{"0", "0", "0"}) {
		t.Errorf("%q", got)
	}
}

func TestFetchDoesNotWaitForMoreThanItsMaximaAllow(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	size := int32(len(messages(10)))
	for range 3 {
		c.publish("orders", 0, messages(10))
	}
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis = 1 << 30
	req.MaxBytes = size + size/2
	req.MinBytes = req.MaxBytes
	if p := fetched(ask[*kmsg.FetchResponse](c, req)); len(p.RecordBatches) != int(size) {
		t.Errorf("%d bytes", len(p.RecordBatches))
	}
}

func TestFetchEndsWithItsTimeAlthoughThereIsLessThanItWants(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(1))
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis, req.MinBytes = 10, 1<<20
	p := fetched(ask[*kmsg.FetchResponse](c, req))
	if got := values(t, p.RecordBatches); !slices.Equal(got, []string{"0"}) {
		t.Errorf("%q", got)
	}
}

func TestAFetchThatWaitsDelaysNoOtherConnection(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	waiting, other := b.dial(), b.dial()
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis = 1 << 30
	waiting.send(req)
	ask[*kmsg.MetadataResponse](other, kmsg.NewPtrMetadataRequest())
	waiting.Close() // and is forgotten
	await(t, "the fetch gives up", func() bool { return len(b.server.Connections()) == 1 })
}

func TestAFetchThatWaitsEndsWhenItsTopicIsDeleted(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := fetchRequest(11, read{"orders", 0, 0})
	req.MaxWaitMillis = int32(patience.Milliseconds())
	c.send(req)
	await(t, "the request waits", func() bool { return b.server.Waiting() == 1 })
	if err := b.broker.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if out := fetched(c.receive(req).(*kmsg.FetchResponse)); out.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("the answer has code %d", out.ErrorCode)
	}
}

func TestAServerThatStopsAnswersAFetchThatWaits(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis = 1 << 30
	c.send(kmsg.NewPtrApiVersionsRequest())
	c.receive(kmsg.NewPtrApiVersionsRequest())
	c.send(req)
	await(t, "the fetch has come", func() bool { return b.server.Waiting() == 1 })
	b.stop()
	if p := fetched(c.receive(req).(*kmsg.FetchResponse)); p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
		t.Errorf("%+v", p)
	}
}

func TestAServerThatStopsAnswersAsManyFetchesAsMayWait(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.StopTime = 10 * patience }}) // too late for within
	b.topic("orders", 1)
	c := b.dial()
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis = 1 << 30
	for range broker.InFlight {
		c.send(req)
	}
	await(t, "all fetches have come", func() bool { return b.server.Waiting() == broker.InFlight })
	b.stop()
	for range broker.InFlight {
		if p := fetched(c.receive(req).(*kmsg.FetchResponse)); p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
			t.Errorf("%+v", p)
		}
	}
}

func TestASessionIsDeclined(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.SessionEpoch = 0 // may there be one?
	if resp := ask[*kmsg.FetchResponse](c, req); resp.SessionID != 0 || resp.ErrorCode != 0 {
		t.Errorf("%+v", resp)
	}
	req.SessionID, req.SessionEpoch = 7, 1
	if resp := ask[*kmsg.FetchResponse](c, req); resp.ErrorCode != kerr.FetchSessionIDNotFound.Code {
		t.Errorf("%+v", resp)
	}
}

func TestDamageIsAnErrorAndAGapIsPassedOver(t *testing.T) {
	var fail atomic.Pointer[error]
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Read: func(inner store.Partition, _ string, offset int64, maxBytes int, c *store.Chunk) error {
			if err := fail.Load(); err != nil && offset < 2 {
				return *err
			}
			return inner.Read(offset, maxBytes, c)
		}}
	}})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(2))
	c.publish("orders", 0, messages(3))
	for _, test := range []struct {
		err  error
		want *kerr.Error
	}{
		{&store.DamageError{Topic: "orders", First: 0, Next: 2, Reason: errors.New("bits")}, kerr.CorruptMessage},
		{errors.New("an I/O error"), kerr.KafkaStorageError},
		{store.ErrDeleted, kerr.UnknownTopicOrPartition},
		{store.ErrClosed, kerr.NotLeaderForPartition},
		{store.ErrMoved, kerr.NotLeaderForPartition},
		{store.ErrUnavailable, kerr.LeaderNotAvailable},
	} {
		fail.Store(&test.err)
		if p := fetched(ask[*kmsg.FetchResponse](c, fetchRequest(newestFetch, read{"orders", 0, 0}))); p.ErrorCode != test.want.Code {
			t.Errorf("%v: code %d", test.err, p.ErrorCode)
		}
	}
	if b.book.Lines("reads damaged or lost records", "offsets 0 to 1") == nil {
		t.Error("the damage is not logged")
	}
	var gap error = &store.GapError{Topic: "orders", First: 0, Next: 2}
	fail.Store(&gap)
	p := fetched(ask[*kmsg.FetchResponse](c, fetchRequest(newestFetch, read{"orders", 0, 0})))
	if got := values(t, p.RecordBatches); p.ErrorCode != 0 || !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("code %d, %q", p.ErrorCode, got)
	}
}

func TestAFetchWithoutMemoryWaitsForIt(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 1000 }})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(20))
	if !b.broker.Budget.Take(900) {
		t.Fatal("the budget is used")
	}
	req := fetchRequest(newestFetch, read{"orders", 0, 0})
	req.MaxWaitMillis = int32(patience.Milliseconds())
	c.send(req)
	await(t, "the fetch waits", func() bool { return b.server.Waiting() == 1 })
	b.broker.Budget.Give(900)
	if p := fetched(c.receive(req).(*kmsg.FetchResponse)); len(values(t, p.RecordBatches)) != 20 {
		t.Errorf("%+v", p)
	}
	await(t, "the budget is given back", func() bool { return b.broker.Budget.Take(1000) })
}
