package line_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mbus/internal/commitlog"
)

// old is the time of the messages that timed publishes: an hour apart from it on.
var old = time.Date(2024, 6, 10, 12, 0, 0, 0, time.UTC)

// timed publishes n messages, one an hour.
func (b *bus) timed(n int) {
	b.t.Helper()
	for i := range n {
		at := old.Add(time.Duration(i) * time.Hour).UnixMilli()
		b.produce("orders?format=json\n" + fmt.Sprintf(`{"payload":"m%d","ts":%d}`, i, at) + "\n")
	}
}

func TestFromFindsItsPlaceAndConsumesNothing(t *testing.T) {
	b := start(t, setup{})
	b.timed(4)
	b.publish("orders", "now")
	b.mustDrain("orders?n=1", "m0\n")
	const all = "m0\nm1\nm2\nm3\nnow\n"
	for from, want := range map[string]string{
		"beginning": all, "end": "", "0": all, "3": "m3\nnow\n", "5": "",
		"-1": "now\n", "-2": "m3\nnow\n", "-100": all, "-0": "",
		"1h": "now\n", "7d": "now\n", "36500d": all,
		"2024-06-10T13:00:00Z": "m1\nm2\nm3\nnow\n", "2024-06-10T15:00:00%2b02:00": "m1\nm2\nm3\nnow\n",
		"2024-06-10T15:00:00+02:00": "m1\nm2\nm3\nnow\n", "2024-06-10T13:00:01Z": "m2\nm3\nnow\n",
		"2999-01-01T00:00:00Z": "", "s@0": all, fmt.Sprintf("s@%d", old.Add(2*time.Hour).UnixMilli()): "m2\nm3\nnow\n",
		"0:4": "now\n", "0:5": "",
	} {
		if got := b.drain("orders?from=" + from); got != want {
			t.Errorf("from=%s gives %q, not %q", from, got, want)
		}
	}
	b.mustDrain("orders?from=stored&n=1", "m1\n") // consumes, as without from
	b.mustDrain("orders", "m2\nm3\nnow\n")
}

func TestFromOfEachPartition(t *testing.T) {
	b := start(t, setup{partitions: 3})
	for i := range 6 {
		b.publish("orders", fmt.Sprint("m", i)) // on partition i%3
	}
	b.mustDrain("orders?from=1:1,2:2", "m0\nm3\nm4\n")
	b.mustDrain("orders?from=-1", "m3\nm4\nm5\n")
	b.mustDrain("orders", "m0\nm3\nm1\nm4\nm2\nm5\n")
}

func TestSomePartitions(t *testing.T) {
	b := start(t, setup{partitions: 3})
	for i := range 6 {
		b.publish("orders", fmt.Sprint("m", i)) // on partition i%3
	}
	b.mustDrain("orders?partition=2,0&from=beginning", "m0\nm3\nm2\nm5\n")
	b.mustDrain("orders?partition=1", "m1\nm4\n")
	c := b.dial(b.consumers, "orders?partition=2,2&follow&ack\n")
	c.mustSay("m2", "m5")
	c.send("+2\n")
	c.mustConfirm()
	b.mustDrain("orders", "m0\nm3\n")
	for _, request := range []string{"orders?partition=3\n", "orders?partition=0,3&follow\n", "orders?partition=99999999999&from=end\n"} {
		b.dial(b.consumers, request).mustRefuse("BADREQUEST", "the topic has 3, counted from 0")
	}
	later := b.dial(b.consumers, "bills?partition=3&follow\n")
	b.publish("bills", "first")
	later.mustRefuse("BADREQUEST", "the topic has 3, counted from 0")
}

func TestFromFollows(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?from=-1&follow\n")
	c.mustSay("second")
	news := b.dial(b.consumers, "orders?from=end&follow\n")
	news.mustBeSilent()
	b.publish("orders", "third")
	c.mustSay("third")
	news.mustSay("third")
	b.mustDrain("orders", "first\nsecond\nthird\n")
}

func TestFromThatIsNoPlaceIsRefused(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	for from, words := range map[string]string{
		"": "from", "x": `"x"`, "+1": `"+1"`, "1.5": `"1.5"`, "-1h": `"-1h"`, "0s": `"0s"`, "s@-1": `"s@-1"`, "s@": `"s@"`,
		"0:1,": `"0:1,"`, "0:1,0:2": "0:1,0:2", "0:-1": "0:-1", "-1:0": "-1:0", ":": `":"`, "2024-06-31": "2024-06-31",
		"9223372036854775808": "9223372036854775808", "2": "behind the end", "0:2": "behind the end",
		"1:0": "no partition 1: the topic has 1", "0:0,2147483647:0": "no partition 2147483647",
	} {
		b.dial(b.consumers, "orders?from="+from+"\n").mustRefuse("BADREQUEST", words)
	}
	for _, with := range []string{"group=x", "ack", "start=end", "redrive"} {
		b.dial(b.consumers, "orders.dlq?from=0&"+with+"\n").mustRefuse("BADREQUEST", "exclude")
	}
}

func TestFromBeforeTheStartOfTheLogSaysSo(t *testing.T) {
	b := start(t, setup{log: commitlog.Options{SegmentBytes: 10_000}, retain: 20_000})
	messages := numbered(100, 1000)
	for _, m := range messages {
		b.publish("orders", m)
	}
	b.broker.Retain(time.Now())
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := topic.Partitions()[0].Offsets()
	if first == 0 {
		t.Fatal("retention has taken nothing")
	}
	gap := fmt.Sprintf("first=%d", first)
	b.dial(b.consumers, "orders?from=0\n").mustRefuse("GAP", gap)
	b.dial(b.consumers, "orders?from=0&follow\n").mustRefuse("GAP", gap)
	b.dial(b.consumers, "orders?from=0:0\n").mustRefuse("GAP", gap)
	for _, from := range []string{"beginning", "-1000", "s@0", itoa(first)} {
		if got := b.drain("orders?from=" + from); got != join(messages[first:]) {
			t.Errorf("from=%s gives %s", from, brief(got))
		}
	}
}

func TestFromEndsAfterNMessages(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(10, 0)...)
	for _, follow := range []string{"", "&follow"} {
		if got := b.drain("orders?from=3&n=2" + follow); got != strings.Join(numbered(5, 0)[3:], "\n")+"\n" {
			t.Fatalf("gives %q", got)
		}
	}
}
