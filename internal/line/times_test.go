package line_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/test/brokertest"
)

// at is a batch of messages with these times, in milliseconds since 1970.
func at(times ...int64) batch.Batch {
	var b batch.Builder
	for _, ms := range times {
		b.Add(ms, nil, []byte("x"))
	}
	b.Close(0)
	return b.Bytes()
}

func TestTimesFarAheadAreRefused(t *testing.T) {
	b := start(t, setup{})
	now := time.Now()
	micros := now.UnixMicro() // for milliseconds
	for _, test := range []struct{ request, answers string }{
		{
			fmt.Sprintf("json?format=json\n{\"payload\":\"a\",\"ts\":%d}\n{\"payload\":\"b\",\"ts\":%d}\n{\"payload\":\"c\"}\n", now.UnixMilli(), micros),
			"+1\n-BADMESSAGE message 2: time out of bounds: ",
		},
		{fmt.Sprintf("json?format=json\n{\"payload\":\"a\",\"ts\":%d}\n", int64(math.MaxInt64)), "-BADMESSAGE message 1: time out of bounds: "},
		{
			"batch?format=batch\n" + text(at(now.UnixMilli()), at(now.UnixMilli(), now.Add(2*time.Hour).UnixMilli())),
			"+1\n-BADMESSAGE the batch that begins with message 2: time out of bounds: ",
		},
		{"new?format=batch\n" + text(at(micros)), "-BADMESSAGE the batch that begins with message 1: time out of bounds: "},
		{fmt.Sprintf("json?format=json\n{\"payload\":\"a\",\"ts\":%d}\n{\"payload\":\"b\",\"ts\":%d}\n", now.Add(50*time.Minute).UnixMilli(), int64(math.MinInt64)), "+2\n"},
		{"json?format=batch\n" + text(at(now.Add(50*time.Minute).UnixMilli())), "+1\n"},
		{fmt.Sprintf("json?format=json&delay=9000h\n{\"payload\":\"a\",\"ts\":%d}\n", now.UnixMilli()), "+1\n"},
		{fmt.Sprintf("json?format=json\n{\"payload\":\"a\",\"headers\":[\"mbus-deliver-at\",\"%d\"]}\n", now.Add(9000*time.Hour).UnixMilli()), "+1\n"},
		{"json?at=2099-01-01T00:00:00Z\nline\n", "+1\n"},
	} {
		if got := b.produce(test.request); !strings.HasPrefix(got, test.answers) {
			t.Errorf("%q is answered %q, not %q", brief(test.request), got, test.answers)
		}
	}
}

func TestDeliveryTimesThatCantBeReadAreRefused(t *testing.T) {
	b := start(t, setup{})
	var one batch.Builder
	one.Add(time.Now().UnixMilli(), nil, []byte("x"), batch.Header{Key: broker.HeaderDeliverAt, Value: []byte("30s")})
	one.Close(0)
	const good, bad = `{"payload":"a"}`, `{"payload":"b","headers":["mbus-deliver-at",%s]}`
	for _, test := range []struct{ request, answers string }{
		{"new?format=json\n" + good + "\n" + fmt.Sprintf(bad, `"soon"`) + "\n" + good + "\n", "+1\n-BADMESSAGE message 2: header \"mbus-deliver-at\": delivery time: "},
		{"new?format=json\n" + fmt.Sprintf(bad, "null") + "\n", "-BADMESSAGE message 1: "},
		{"new?format=json\n" + fmt.Sprintf(bad, `"1893456000"`) + "\n", "-BADMESSAGE message 1: "},
		{"new?format=json\n" + fmt.Sprintf(bad, `"2099-01-01T00:00:00Z"`) + "\n", "+1\n"},
		{"new?format=batch\n" + text(at(time.Now().UnixMilli())) + text(one.Bytes()), "+1\n-BADMESSAGE the batch that begins with message 2: header "},
		{"new?format=batch&delay=1h\n" + text(at(time.Now().UnixMilli())), "+1\n"},
		{"new?at=1893456000\nx\n", "-BADREQUEST option \"at\": delivery time: 1893456000 milliseconds since 1970 are 1970-01-22"},
		{"new?at=1893456000000000\nx\n", "-BADREQUEST option \"at\": delivery time: "},
		{"new?at=-1\nx\n", "-BADREQUEST option \"at\": "},
		{"new?at=0\nx\n", "+1\n"},
	} {
		if got := b.produce(test.request); !strings.HasPrefix(got, test.answers) {
			t.Errorf("%q is answered %q, not %q", brief(test.request), got, test.answers)
		}
	}
}

// A topic that takes times of the last minute takes those of lines, and what the broker
// moves itself: what was delayed, and what comes back from the dead letters.
func TestWhatTheBrokerMovesIsNotRefusedForItsTime(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	_, err := b.broker.CreateTopic("jobs", 1, map[string]string{broker.ConfigTimestampBefore: "300", broker.ConfigTimestampAfter: "0"})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.produce("jobs?delay=400ms\niron\n"); got != "+1\n" {
		t.Fatalf("%q", got)
	}
	c := b.dial(b.consumers, "jobs?group=house&follow&ack&attempts=1\n")
	c.mustSay("iron")
	c.send("-1 no water\n")
	await(t, "it is a dead letter", func() bool { return len(b.drain("jobs.dlq?from=beginning")) > 0 })
	c.finish()
	await(t, "it is too old to be published", func() bool {
		got := b.produce(fmt.Sprintf("jobs?format=json\n{\"payload\":\"old\",\"ts\":%d}\n", time.Now().Add(-time.Second).UnixMilli()))
		return strings.HasPrefix(got, "-BADMESSAGE ")
	})
	b.mustDrain("jobs.dlq?redrive", "+1\n")
	b.mustDrain("jobs?group=house", "iron\n")
}

// The latest time of a batch on the line port is that of its messages, whatever its
// header says: searches and retention go by it.
func TestTheLatestTimeOfABatchIsThatOfItsMessages(t *testing.T) {
	b := start(t, setup{})
	base := time.Now().Add(-time.Hour).UnixMilli()
	for i, claimed := range []int64{-1, 0, base, base + 1000, math.MaxInt64} {
		p := at(base, base+2000, base+1000)
		p.SetMaxTimestamp(claimed)
		if got := b.produce("orders?format=batch\n" + text(p)); got != "+1\n" && got != "+3\n" {
			t.Fatalf("%q", got)
		}
		topic, err := b.broker.Topic("orders")
		if err != nil {
			t.Fatal(err)
		}
		var c store.Chunk
		if err := topic.Partitions()[0].Fetch(int64(3*i), 1, &c); err != nil {
			t.Fatal(err)
		}
		stored, err := c.Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := batch.Batch(stored).MaxTimestamp(); got != base+2000 {
			t.Errorf("claimed %d: stored %d", claimed, got)
		}
		c.Release()
	}
}
