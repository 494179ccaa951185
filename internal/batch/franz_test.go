package batch_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/batch/codec"
)

// A message is a record as these tests compare it; nil slices are null.
type message struct {
	offset, timestamp int64
	key, value        []byte
	headers           []kgo.RecordHeader
}

// messages are n records of every kind: null, empty and long fields, headers,
// and times that go back, below 0 and far.
func messages(n int) []message {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	texts := [][]byte{nil, {}, []byte("x"), []byte("grüße, 世界 🚌"), {0, '\n', 0xff}, bytes.Repeat([]byte("long "), 50)}
	pick := func() []byte { return texts[rnd.IntN(len(texts))] }
	var all []message
	for i := range n {
		m := message{offset: int64(i), key: pick(), value: pick(), timestamp: 1718017201000 + rnd.Int64N(20000) - 10000}
		switch rnd.IntN(10) {
		case 0:
			m.timestamp = -rnd.Int64N(1 << 40)
		case 1:
			m.value = fmt.Appendf(nil, "a value of its own, number %d", i)
		case 2:
			for range rnd.IntN(5) + 1 {
				m.headers = append(m.headers, kgo.RecordHeader{Key: string(pick()), Value: pick()})
			}
		}
		all = append(all, m)
	}
	return all
}

func build(b *batch.Builder, all []message) {
	for _, m := range all {
		var headers []batch.Header
		for _, h := range m.headers {
			headers = append(headers, batch.Header(h))
		}
		b.Add(m.timestamp, m.key, m.value, headers...)
	}
}

// read verifies all batches and returns their records.
func read(t *testing.T, batches []byte) []message {
	t.Helper()
	var it batch.Iterator
	var all []message
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(&it); err != nil {
			t.Fatal(err)
		}
		all = append(all, readBatch(t, &it, b)...)
		batches = rest
	}
	return all
}

func readBatch(t *testing.T, it *batch.Iterator, b batch.Batch) []message {
	t.Helper()
	if err := it.Reset(b); err != nil {
		t.Fatal(err)
	}
	var all []message
	for it.Next() {
		r := it.Record()
		m := message{r.Offset, r.Timestamp, bytes.Clone(r.Key), bytes.Clone(r.Value), nil}
		for k, v := range r.Headers() {
			m.headers = append(m.headers, kgo.RecordHeader{Key: string(k), Value: bytes.Clone(v)})
		}
		all = append(all, m)
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return all
}

func compare(t *testing.T, got, want []message) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("record %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

var codecs = map[codec.Codec]kgo.CompressionCodec{
	codec.None:   kgo.NoCompression(),
	codec.Gzip:   kgo.GzipCompression(),
	codec.Snappy: kgo.SnappyCompression(),
	codec.LZ4:    kgo.Lz4Compression(),
	codec.Zstd:   kgo.ZstdCompression(),
}

// produce has franz-go's producer send all to a broker and returns the batches
// that it sent, given the base offsets that the broker would give them.
func produce(t *testing.T, compression kgo.CompressionCodec, all []message) []byte {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	var mu sync.Mutex
	var sent []byte
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		cluster.KeepControl()
		sent = append(sent, req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records...)
		return nil, nil, false
	})

	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("orders"),
		kgo.ProducerBatchCompression(compression), kgo.ManualFlushing(), kgo.MaxBufferedRecords(len(all)+1))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, m := range all {
		r := &kgo.Record{Timestamp: time.UnixMilli(m.timestamp), Key: m.key, Value: m.value, Headers: m.headers}
		client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	stamp(t, sent)
	return sent
}

// stamp gives batches consecutive offsets from 0.
func stamp(t *testing.T, batches []byte) {
	t.Helper()
	for next := int64(0); len(batches) > 0; {
		b, rest, err := batch.Next(batches)
		if err != nil {
			t.Fatal(err)
		}
		b.Stamp(next, 0)
		next, batches = b.NextOffset(), rest
	}
}

func TestWhatFranzGoProducesIsRead(t *testing.T) {
	for used, option := range codecs {
		for _, n := range []int{1, 2, 100, 10000} {
			t.Run(fmt.Sprintf("%v/%d", used, n), func(t *testing.T) {
				want := messages(n)
				sent := produce(t, option, want)
				compare(t, read(t, sent), want)
				compareHeaders(t, sent)
				if n == 10000 && !hasCodec(sent, used) { // it leaves small batches as they are
					t.Errorf("franz-go did not use %v, so it was not tried", used)
				}
			})
		}
	}
}

func hasCodec(batches []byte, want codec.Codec) bool {
	for {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return false
		}
		if b.Codec() == want {
			return true
		}
		batches = rest
	}
}

// compareHeaders compares the fields of each batch with what franz-go reads.
func compareHeaders(t *testing.T, batches []byte) {
	t.Helper()
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			t.Fatal(err)
		}
		var want kmsg.RecordBatch
		if err := want.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
		got := kmsg.RecordBatch{
			FirstOffset: b.BaseOffset(), Length: int32(len(b) - 12), PartitionLeaderEpoch: b.LeaderEpoch(),
			Magic: 2, CRC: int32(b.CRC()), Attributes: int16(b.Attributes()), LastOffsetDelta: b.LastOffsetDelta(),
			FirstTimestamp: b.BaseTimestamp(), MaxTimestamp: b.MaxTimestamp(), ProducerID: b.ProducerID(),
			ProducerEpoch: b.ProducerEpoch(), FirstSequence: b.BaseSequence(), NumRecords: int32(b.Count()),
			Records: b[batch.HeaderSize:],
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("header is\n%+v, want\n%+v", got, want)
		}
		batches = rest
	}
}

// consume has franz-go's consumer read batches.
func consume(t *testing.T, batches []byte) []message {
	t.Helper()
	p := kmsg.NewFetchResponseTopicPartition()
	p.RecordBatches = batches
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{}, &p, kgo.DefaultDecompressor(), nil)
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	var all []message
	for _, r := range got.Records {
		all = append(all, message{r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers})
	}
	return all
}

func TestFranzGoReadsWhatIsBuilt(t *testing.T) {
	for _, n := range []int{1, 2, 100, 10000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			want := messages(n)
			var b batch.Builder
			build(&b, want[:n/2])
			b.Close(0)
			build(&b, want[n/2:])
			b.Close(int64(n / 2))
			compareHeaders(t, b.Bytes())
			compare(t, consume(t, b.Bytes()), want)
			compare(t, read(t, b.Bytes()), want)
		})
	}
}

func TestExtremeTimesAreReadAsFranzGoReadsThem(t *testing.T) {
	var b batch.Builder
	times := []int64{math.MinInt64, math.MaxInt64, 0, -1, math.MaxInt64, math.MinInt64, 1}
	var want []message
	for i, ts := range times {
		b.Add(ts, nil, []byte("x"))
		want = append(want, message{offset: int64(i), timestamp: ts, value: []byte("x")})
	}
	b.Close(0)
	compare(t, read(t, b.Bytes()), want)
	compareHeaders(t, b.Bytes())
	records := b.Bytes()[batch.HeaderSize:]
	for i, ts := range times {
		var r kmsg.Record
		if err := r.ReadFrom(records); err != nil {
			t.Fatal(err)
		}
		if got := times[0] + r.TimestampDelta64; got != ts {
			t.Errorf("record %d: franz-go reads the time %d, want %d", i, got, ts)
		}
		records = records[len(r.AppendTo(nil)):]
	}
}

// recompress puts the records of b through franz-go's compressor.
func recompress(t *testing.T, b batch.Batch, want codec.Codec) batch.Batch {
	t.Helper()
	c, err := kgo.DefaultCompressor(codecs[want])
	if err != nil {
		t.Fatal(err)
	}
	var dst bytes.Buffer
	records, used := c.Compress(&dst, b[batch.HeaderSize:])
	if codec.Codec(used) != want {
		t.Fatalf("compressed as %d, not %v", used, want)
	}
	var out kmsg.RecordBatch
	if err := out.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	out.Records = bytes.Clone(records)
	out.Attributes |= int16(want)
	out.Length = int32(49 + len(records))
	p := out.AppendTo(nil)
	out.CRC = int32(crc32.Checksum(p[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out.AppendTo(nil)
}

func TestCompressedBatchesAreReadAsFranzGoReadsThem(t *testing.T) {
	want := messages(5000)
	var b batch.Builder
	build(&b, want)
	b.Close(0)
	for c := range codecs {
		if c == codec.None {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			p := recompress(t, b.Bytes(), c)
			compare(t, consume(t, p), want)
			compare(t, read(t, p), want)
		})
	}
}
