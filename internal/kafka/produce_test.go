package kafka_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

func TestProduceAnswersTheOffsetInEveryVersion(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 2)
	c := b.dial()
	for version := int16(3); version <= 12; version++ {
		req := produceRequest(write{"orders", 0, messages(2)}, write{"orders", 1, messages(3)})
		req.Version = version
		resp := ask[*kmsg.ProduceResponse](c, req)
		for i, n := range []int64{2, 3} {
			p := resp.Topics[i].Partitions[0]
			if want := n * int64(version-3); p.ErrorCode != 0 || p.BaseOffset != want || p.LogAppendTime != -1 {
				t.Errorf("version %d: %+v, want offset %d", version, p, want)
			}
		}
	}
}

func TestProduceOfAnOldVersionIsRefusedForEachPartition(t *testing.T) {
	c := start(t, setup{}).dial()
	for version := int16(0); version < 3; version++ {
		req := produceRequest(write{"orders", 0, []byte("not a batch")})
		req.Version = version
		if p := produced(ask[*kmsg.ProduceResponse](c, req)); p.ErrorCode != kerr.UnsupportedVersion.Code {
			t.Errorf("version %d: code %d", version, p.ErrorCode)
		}
	}
}

// changed is a batch of which one header field is another, with the CRC as it was
// or created again.
func changed(at int, value byte, crc bool) []byte {
	p := messages(3)
	p[at] = value
	if crc {
		binary.BigEndian.PutUint32(p[17:], crcOf(p))
	}
	return p
}

// dueAt is a batch with a delivery time.
func dueAt(at string) []byte {
	var b batch.Builder
	b.Add(1000, nil, []byte("x"), batch.Header{Key: broker.HeaderDeliverAt, Value: []byte(at)})
	b.Close(0)
	return b.Bytes()
}

func TestProduceRefusesWhatIsNotABatchItCanTake(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxMessage = 1000 }})
	b.topic("orders", 1)
	if _, err := b.broker.CreateTopic("orders", 1, nil); !errors.Is(err, store.ErrTopicExists) {
		t.Fatal(err)
	}
	var large batch.Builder
	large.Add(1, nil, make([]byte, 2000+broker.BatchSlack))
	large.Close(0)
	c := b.dial()
	for name, test := range map[string]struct {
		write
		want *kerr.Error
	}{
		"an unknown topic":        {write{"nosuch", 0, messages(1)}, kerr.UnknownTopicOrPartition},
		"an unknown partition":    {write{"orders", 1, messages(1)}, kerr.UnknownTopicOrPartition},
		"a negative partition":    {write{"orders", -1, messages(1)}, kerr.UnknownTopicOrPartition},
		"a null batch":            {write{"orders", 0, nil}, kerr.InvalidRecord},
		"an empty batch":          {write{"orders", 0, []byte{}}, kerr.InvalidRecord},
		"no batch":                {write{"orders", 0, []byte("this is no batch")}, kerr.CorruptMessage},
		"two batches":             {write{"orders", 0, append(messages(1), messages(1)...)}, kerr.InvalidRecord},
		"half a batch":            {write{"orders", 0, messages(3)[:70]}, kerr.CorruptMessage},
		"a wrong CRC":             {write{"orders", 0, changed(70, 0xff, false)}, kerr.CorruptMessage},
		"a magic of 1":            {write{"orders", 0, changed(16, 1, true)}, kerr.InvalidRecord},
		"a magic of 3":            {write{"orders", 0, changed(16, 3, true)}, kerr.CorruptMessage},
		"a codec that is unknown": {write{"orders", 0, changed(22, 7, true)}, kerr.CorruptMessage},
		"a control batch":         {write{"orders", 0, changed(22, 0x20, true)}, kerr.CorruptMessage},
		"a transactional batch":   {write{"orders", 0, changed(22, 0x10, true)}, kerr.InvalidRecord},
		"log append time":         {write{"orders", 0, changed(22, 0x08, true)}, kerr.InvalidTimestamp},
		"delivery time":           {write{"orders", 0, dueAt("30s")}, kerr.InvalidTimestamp},
		"delivery in seconds":     {write{"orders", 0, dueAt("1893456000")}, kerr.InvalidTimestamp},
		"a count that is wrong":   {write{"orders", 0, changed(60, 9, true)}, kerr.CorruptMessage},
		"a batch too large":       {write{"orders", 0, large.Bytes()}, kerr.MessageTooLarge},
		"an internal topic":       {write{broker.PositionsTopic, 0, messages(1)}, kerr.InvalidTopicException},
	} {
		p := produced(ask[*kmsg.ProduceResponse](c, produceRequest(test.write)))
		if p.ErrorCode != test.want.Code {
			t.Errorf("%s: %v, want %v", name, kerr.ErrorForCode(p.ErrorCode), test.want)
		}
		if p.ErrorMessage == nil {
			t.Errorf("%s: there is no text", name)
		}
	}
	if base := c.publish("orders", 0, messages(1)); base != 0 {
		t.Errorf("the first batch that is taken has offset %d", base)
	}
}

func TestProduceRefusesAcksThatAreUnknownAndTransactions(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := produceRequest(write{"orders", 0, messages(1)})
	req.Acks = 2
	if p := produced(ask[*kmsg.ProduceResponse](c, req)); p.ErrorCode != kerr.InvalidRequiredAcks.Code {
		t.Errorf("acks=2: code %d", p.ErrorCode)
	}
	req = produceRequest(write{"orders", 0, messages(1)})
	req.TransactionID = kmsg.StringPtr("t")
	if p := produced(ask[*kmsg.ProduceResponse](c, req)); p.ErrorCode != kerr.TransactionalIDAuthorizationFailed.Code {
		t.Errorf("a transactional id: code %d", p.ErrorCode)
	}
}

func TestABatchThatLeavesOutItsLatestTimeGetsThatOfItsRecords(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	p := messages(5) // at 1000 to 1004
	const posMaxTime, posCRC = 35, 17
	binary.BigEndian.PutUint64(p[posMaxTime:], 1<<64-1) // -1
	binary.BigEndian.PutUint32(p[posCRC:], crcOf(p))
	c.publish("orders", 0, p)
	if out := listOffsets(c, 7, -3); out.Offset != 4 || out.Timestamp != 1004 {
		t.Errorf("the latest record: %+v", out)
	}
}

func TestProduceWithoutAcksIsNotAnswered(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := produceRequest(write{"orders", 0, messages(1)})
	req.Acks = 0
	c.send(req)
	c.read++ // no answer for it
	if base := c.publish("orders", 0, messages(1)); base != 1 {
		t.Errorf("the second batch has offset %d", base)
	}
	req = produceRequest(write{"nosuch", 0, messages(1)})
	req.Acks = 0
	c.send(req)
	c.mustBeClosed()
	if said := b.book.Lines("level=WARN", "acks=0", "nosuch"); len(said) != 1 {
		t.Errorf("why the connection was closed is said %d times", len(said))
	}
}

func TestProducesArePipelinedAndAnsweredInOrder(t *testing.T) {
	const n = 40
	release := make(chan struct{})
	appended := make(chan struct{}, n)
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(inner store.Partition, _ string, p []byte, done func(int64, error)) error {
			appended <- struct{}{}
			return store.Append(inner, p, func(base int64, err error) {
				go func() {
					<-release
					done(base, err)
				}()
			})
		}}
	}})
	b.topic("orders", 1)
	c := b.dial()
	req := produceRequest(write{"orders", 0, messages(1)})
	for range n {
		c.send(req)
	}
	for range n {
		<-appended // though none has been answered
	}
	close(release)
	for i := range int64(n) {
		if p := produced(c.receive(req).(*kmsg.ProduceResponse)); p.BaseOffset != i {
			t.Fatalf("answer %d has offset %d", i, p.BaseOffset)
		}
	}
}

func TestAFullDiskIsAnErrorThatClientsTryAgain(t *testing.T) {
	full := errors.New("no space")
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(store.Partition, string, []byte, func(int64, error)) error {
			return fmt.Errorf("%w: %w", store.ErrFull, full)
		}}
	}})
	b.topic("orders", 1)
	p := produced(ask[*kmsg.ProduceResponse](b.dial(), produceRequest(write{"orders", 0, messages(1)})))
	if p.ErrorCode != kerr.KafkaStorageError.Code || !kerr.IsRetriable(kerr.ErrorForCode(p.ErrorCode)) {
		t.Errorf("code %d", p.ErrorCode)
	}
}

// After UNKNOWN_TOPIC_OR_PARTITION and NOT_LEADER_OR_FOLLOWER clients ask for metadata: then the
// topic is there or not.
func TestAProducerGetsWhyTheLogHasEnded(t *testing.T) {
	for err, want := range map[error]*kerr.Error{
		store.ErrDeleted: kerr.UnknownTopicOrPartition, store.ErrClosed: kerr.NotLeaderForPartition, store.ErrMoved: kerr.NotLeaderForPartition, store.ErrUnavailable: kerr.LeaderNotAvailable,
	} {
		for _, when := range []string{"refused", "not durable"} {
			b := start(t, setup{wrap: func(s store.Store) store.Store {
				return &storefault.Store{Store: s, Append: func(p store.Partition, _ string, batches []byte, done func(int64, error)) error {
					if when == "refused" {
						return err
					}
					return store.Append(p, batches, func(base int64, _ error) { done(base, err) })
				}}
			}})
			b.topic("orders", 1)
			if p := produced(ask[*kmsg.ProduceResponse](b.dial(), produceRequest(write{"orders", 0, messages(1)}))); p.ErrorCode != want.Code {
				t.Errorf("%v, %s: code %d", err, when, p.ErrorCode)
			}
		}
	}
}

func TestTheBytesProducedAreTheBytesFetched(t *testing.T) {
	b := start(t, setup{})
	orders := b.topic("orders", 1)
	c := b.dial()
	sent := messages(5)
	c.publish("orders", 0, messages(2))
	c.publish("orders", 0, sent)
	resp := ask[*kmsg.FetchResponse](c, fetchRequest(11, read{"orders", 0, 4}))
	got := resp.Topics[0].Partitions[0].RecordBatches
	sent.Stamp(2, orders.LeaderEpoch(0))
	if !bytes.Equal(got, sent) {
		t.Errorf("sent %x\ngot  %x", []byte(sent), got)
	}
}

// The second batch for a partition begins a segment, for which the first one has to be
// synced: that is its own connection's to do.
func TestAPartitionMayBeNamedTwiceInARequest(t *testing.T) {
	b := start(t, setup{log: commitlog.Options{SegmentBytes: 4 << 10}})
	b.topic("orders", 2)
	c := b.dial()
	var writes []write
	for range 50 {
		writes = append(writes, write{"orders", 0, messages(20)}, write{"orders", 1, messages(20)})
	}
	within(t, "the request is answered", func() {
		resp := ask[*kmsg.ProduceResponse](c, produceRequest(writes...))
		n := 0
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if want := int64(n / 2 * 20); p.ErrorCode != 0 || p.BaseOffset != want {
					t.Errorf("batch %d: code %d, offset %d, want %d", n, p.ErrorCode, p.BaseOffset, want)
				}
				n++
			}
		}
		if n != len(writes) {
			t.Errorf("%d batches were answered, want %d", n, len(writes))
		}
	})
}

func TestTimesThatATopicDoesNotTakeAreInvalid(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	at := func(times ...int64) batch.Batch {
		var builder batch.Builder
		for _, ms := range times {
			builder.Add(ms, nil, []byte("x"))
		}
		builder.Close(0)
		return bytes.Clone(builder.Bytes())
	}
	now := time.Now().UnixMilli()
	refused := func(p batch.Batch, want bool) {
		t.Helper()
		out := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, p})))
		if (out.ErrorCode == kerr.InvalidTimestamp.Code) != want || !want && out.ErrorCode != 0 {
			t.Errorf("latest time %d: code %d", p.MaxTimestamp(), out.ErrorCode)
		}
	}
	refused(at(now, time.Now().UnixMicro()), true)
	refused(at(0, now+1800_000), false)
	if code := alter(c, "orders", "message.timestamp.after.max.ms", "1000", "message.timestamp.before.max.ms", "60000"); code != 0 {
		t.Fatalf("code %d", code)
	}
	refused(at(now+1800_000), true)
	refused(at(now, now-120_000), true)
	refused(at(-1), false) // none
	refused(at(now), false)
	mustHave(c, "orders", "message.timestamp.after.max.ms", "1000", "message.timestamp.before.max.ms", "60000")
	if code := alter(c, "orders", "message.timestamp.after.max.ms", "-1"); code != kerr.InvalidConfig.Code {
		t.Errorf("code %d", code)
	}
}

// What a producer claims of the latest time misleads no search: segmentio/kafka-go's
// Conn gives the time of the last record, others give -1 or the time of their own clock.
func TestSearchesByTimeGoByTheRecords(t *testing.T) {
	for _, claimed := range []int64{-1, 2000, 9_999_999} {
		b := start(t, setup{})
		b.topic("orders", 1)
		c := b.dial()
		var builder batch.Builder
		for _, ms := range []int64{1000, 9000, 2000} {
			builder.Add(ms, nil, []byte("x"))
		}
		builder.Close(0)
		p := builder.Bytes()
		binary.BigEndian.PutUint64(p[35:], uint64(claimed))
		binary.BigEndian.PutUint32(p[17:], crcOf(p))
		c.publish("orders", 0, p)
		for _, search := range []int64{-3, 9000, 2001} { // -3 is the latest
			if out := listOffsets(c, 7, search); out.ErrorCode != 0 || out.Offset != 1 || out.Timestamp != 9000 {
				t.Errorf("claimed %d: a search for %d finds offset %d, time %d, code %d", claimed, search, out.Offset, out.Timestamp, out.ErrorCode)
			}
		}
	}
}
