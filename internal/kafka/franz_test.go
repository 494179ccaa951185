package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/test/brokertest"
)

// franz is a franz-go client of the bus.
func (b *bus) franz(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.addr), kgo.AllowAutoTopicCreation(), kgo.FetchMaxWait(time.Second),
	}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cl.Close)
	return cl
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// poll reads n records.
func poll(t testing.TB, cl *kgo.Client, n int) (all []*kgo.Record) {
	t.Helper()
	ctx := patient(t)
	for len(all) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(all), n, err)
		}
		fetches.EachError(func(topic string, partition int32, err error) { t.Fatalf("%s/%d: %v", topic, partition, err) })
		all = append(all, fetches.Records()...)
	}
	return all
}

func TestFranzProducesAndConsumesWithEveryCodec(t *testing.T) {
	b := start(t, setup{})
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			cl := b.franz(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(name),
				kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			const n = 1000
			var sent []*kgo.Record
			for i := range n {
				sent = append(sent, &kgo.Record{
					Key: fmt.Append(nil, "key ", i), Value: fmt.Append(nil, "value ", i),
					Headers:   []kgo.RecordHeader{{Key: "h", Value: fmt.Append(nil, i)}},
					Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)),
				})
			}
			if err := cl.ProduceSync(patient(t), sent...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			for i, r := range poll(t, cl, n) {
				want := sent[i]
				if r.Offset != int64(i) || string(r.Key) != string(want.Key) || string(r.Value) != string(want.Value) ||
					!r.Timestamp.Equal(want.Timestamp) || len(r.Headers) != 1 || string(r.Headers[0].Value) != fmt.Sprint(i) {
					t.Fatalf("record %d came as %+v", i, r)
				}
			}
		})
	}
}

func TestFranzProducesWithEveryKindOfAcknowledgement(t *testing.T) {
	b := start(t, setup{})
	for name, acks := range map[string]kgo.Acks{"none": kgo.NoAck(), "leader": kgo.LeaderAck()} {
		cl := b.franz(kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite(), kgo.DefaultProduceTopic(name),
			kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		for range 3 {
			if err := cl.ProduceSync(patient(t), kgo.StringRecord("message")).FirstErr(); err != nil {
				t.Fatalf("acks %s: %v", name, err)
			}
		}
		poll(t, cl, 3)
	}
}

func TestFranzGoesOnProducingOverARestartWithoutDuplicates(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	cl := b.franz(kgo.DefaultProduceTopic("orders"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerLinger(0))
	const n = 300
	results := make(chan error, n)
	for i := range n {
		cl.Produce(patient(t), kgo.StringRecord(fmt.Sprint(i)), func(_ *kgo.Record, err error) { results <- err })
		if i == n/2 {
			b.restart()
		}
	}
	for range n {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range poll(t, cl, n) {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("record %d has value %s", i, r.Value)
		}
	}
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, high := topic.Partitions()[0].Offsets(); high != n {
		t.Fatalf("%d records are stored, not %d", high, n)
	}
}

func TestFranzConsumesFromStartEndOffsetAndTime(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	for range 3 {
		c.publish("orders", 0, messages(10)) // at 1000 to 1009
	}
	for name, from := range map[string]struct {
		offset kgo.Offset
		want   int64
	}{
		"start":        {kgo.NewOffset().AtStart(), 0},
		"offset":       {kgo.NewOffset().At(17), 17},
		"before end":   {kgo.NewOffset().AtEnd().Relative(-4), 26},
		"time":         {kgo.NewOffset().AfterMilli(1005), 5},
		"a later time": {kgo.NewOffset().AfterMilli(2000), 30},
		"end, nothing": {kgo.NewOffset().AtEnd(), 30},
	} {
		t.Run(name, func(t *testing.T) {
			cl := b.franz(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: from.offset}}))
			if from.want < 30 {
				if got := poll(t, cl, 1)[0].Offset; got != from.want {
					t.Errorf("the first record has offset %d, not %d", got, from.want)
				}
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			if got := cl.PollFetches(ctx).Records(); len(got) > 0 {
				t.Errorf("there should be nothing: %v", got)
			}
		})
	}
}

func TestFranzFallsBackFromTheNewGroupProtocol(t *testing.T) {
	b := start(t, setup{})
	if err := b.franz().ProduceSync(patient(t), &kgo.Record{Topic: "orders", Value: []byte("first order")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl := b.franz(kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("billing"), kgo.ServerSideBalancer(),
		kgo.Balancers(kgo.RangeBalancer()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if got := poll(t, cl, 1)[0]; string(got.Value) != "first order" {
		t.Errorf("%+v", got)
	}
}
