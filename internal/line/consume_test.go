package line_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/test/brokertest"
)

func TestDrainGivesEverythingOnceAndThenNothing(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second", "third")
	b.mustDrain("orders", "first\nsecond\nthird\n")
	for _, request := range []string{"orders", "orders?keyed", "orders?format=json", "orders?n=1", "orders?group=default"} {
		b.mustDrain(request, "")
	}
	b.mustDrain("orders?format=batch", ".\n")
	b.publish("orders", "fourth")
	b.mustDrain("orders", "fourth\n")
}

func TestUnknownTopicIsEmptyAndNotMade(t *testing.T) {
	b := start(t, setup{})
	b.mustDrain("orders", "")
	b.mustDrain("orders?format=json&group=a&n=5", "")
	b.mustDrain("orders?format=batch", ".\n")
	if _, err := b.broker.Topic("orders"); err == nil {
		t.Error("it was made")
	}
}

func TestPositionsSurviveARestart(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(10, 0)...)
	all := join(numbered(10, 0))
	b.mustDrain("orders?n=4", join(numbered(10, 0)[:4]))
	b.mustDrain("orders?group=billing", all)
	b.restart()
	b.mustDrain("orders?group=billing", "")
	b.mustDrain("orders", join(numbered(10, 0)[4:]))
	b.mustDrain("orders?group=new", all)
}

func TestGroupsHavePositionsOfTheirOwn(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	b.mustDrain("orders?group=billing&n=1", "first\n")
	b.mustDrain("orders", "first\nsecond\n")
	b.mustDrain("orders?group=billing", "second\n")
	b.mustDrain("orders?group=Billing", "first\nsecond\n")
	b.mustDrain("orders?group=__x", "first\nsecond\n")
}

func TestNIsTheMostThatIsGiven(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(1000, 30)
	b.publish("orders", messages...)
	at := 0
	for i := 0; at < len(messages); i++ {
		n := i*i%97 + 1
		end := min(at+n, len(messages))
		b.mustDrain("orders?n="+strconv.Itoa(n), join(messages[at:end]))
		at = end
	}
	b.mustDrain("orders?n=1", "")
	b.mustDrain("orders?group=b&n=1001", join(messages))
}

func TestNIsForAllPartitionsTogether(t *testing.T) {
	b := start(t, setup{partitions: 4})
	seen := map[string]int{}
	for _, m := range numbered(40, 0) {
		b.publish("orders", m) // each to the next partition
	}
	for range 8 {
		got := b.drain("orders?n=5")
		if strings.Count(got, "\n") != 5 {
			t.Fatalf("%q are not 5", got)
		}
		for line := range strings.Lines(got) {
			seen[line]++
		}
	}
	b.mustDrain("orders", "")
	if len(seen) != 40 {
		t.Errorf("%d messages came", len(seen))
	}
}

func TestMessagesThatComeDuringADrainAreForTheNext(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	messages := numbered(40_000, 500) // more than fits between broker and client
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	first := c.line()
	b.publish("orders", "late")
	c.mustEnd(join(messages)[len(first)+1:])
	b.mustDrain("orders", "late\n")
}

func TestNullAndEmptyInLines(t *testing.T) {
	b := start(t, setup{})
	var builder batch.Builder
	builder.Add(0, nil, nil)
	builder.Add(0, []byte{}, []byte{})
	builder.Add(0, []byte("k"), nil)
	builder.Add(0, nil, []byte("v"))
	builder.Close(0)
	if got := b.produce("orders?format=batch\n" + string(builder.Bytes())); got != "+4\n" {
		t.Fatalf("answered %q", got)
	}
	b.mustDrain("orders", "\n\n\nv\n")
	b.mustDrain("orders?keyed&group=a", "\t\n\t\nk\t\n\tv\n")
}

func TestJSONGivesWhatJSONBrought(t *testing.T) {
	b := start(t, setup{})
	sent := `{"key":"k1","payload":"21.5°","headers":["unit","C","none",null],"ts":1718017201000}
{"payload":null,"ts":1}
{"key":"","payload":"","ts":2}
{"key_base64":"/w==","payload_base64":"/gA=","ts":3,"headers_base64":["h","/w=="]}
{"ts":4,"tstype":"create","topic":"x","partition":9,"offset":9,"broker":9,"payload":"a\nb\u0000"}
`
	if got := b.produce("sensors?format=json\n" + sent); got != "+5\n" {
		t.Fatalf("answered %q", got)
	}
	first := b.drain("sensors?format=json")
	want := `{"topic":"sensors","partition":0,"offset":0,"tstype":"create","ts":1718017201000,"broker":1,"headers":["unit","C","none",null],"key":"k1","payload":"21.5°"}`
	if !strings.HasPrefix(first, want+"\n") {
		t.Errorf("%s\nis not\n%s", first, want)
	}
	if got := b.produce("sensors?format=json\n" + first); got != "+5\n" { // what a consumer prints a producer takes
		t.Fatalf("answered %q", got)
	}
	again := strings.Split(b.drain("sensors?format=json"), "\n")
	for i, line := range strings.Split(first, "\n") {
		line = strings.Replace(line, fmt.Sprintf(`"offset":%d`, i), fmt.Sprintf(`"offset":%d`, i+5), 1)
		if again[i] != line {
			t.Errorf("%s\nis not\n%s", again[i], line)
		}
	}
}

func TestJSONNamesPartitionAndOffset(t *testing.T) {
	b := start(t, setup{partitions: 3})
	for range 4 {
		for i := range 3 {
			b.publish("orders", strconv.Itoa(i))
		}
	}
	next := make([]int64, 3)
	for line := range strings.Lines(b.drain("orders?format=json")) {
		var m struct {
			Partition int
			Offset    int64
			Payload   string
			TS        int64
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Offset != next[m.Partition] || m.Payload != strconv.Itoa(m.Partition) || m.TS < 1_700_000_000_000 {
			t.Errorf("%+v", m)
		}
		next[m.Partition]++
	}
	if !slices.Equal(next, []int64{4, 4, 4}) {
		t.Errorf("%v", next)
	}
}

func TestBatchStreamNamesPartitionsAndEnds(t *testing.T) {
	b := start(t, setup{partitions: 3})
	for i := range 9 {
		b.publish("orders", strconv.Itoa(i))
	}
	text := b.drain("orders?format=batch")
	if !strings.HasPrefix(text, "@0\n") || !strings.Contains(text, "@1\n") || !strings.Contains(text, "@2\n") {
		t.Errorf("%q", text)
	}
	got := readStream(t, text)
	if len(got.messages) != 9 || got.end != "." {
		t.Errorf("%+v", got)
	}
	for i, m := range got.messages {
		if m.partition != i/3 || m.offset != int64(i%3) || m.value != strconv.Itoa(i/3+i%3*3) {
			t.Errorf("message %d is %+v", i, m)
		}
	}
}

// The position and n cut batches at any place.
func TestBatchesThatAreCutKeepTheirOffsets(t *testing.T) {
	for _, codec := range batchtest.Codecs {
		t.Run(codec.String(), func(t *testing.T) {
			b := start(t, setup{})
			values := numbered(60, 20)
			for at := 0; at < len(values); at += 20 {
				sent := "orders?format=batch\n" + text(batchtest.Compress(t, codec, newBatch(values[at:at+20]...)))
				if got := b.produce(sent); got != "+20\n" {
					t.Fatalf("answered %q", got)
				}
			}
			at := 0
			for _, n := range []int{1, 7, 12, 1, 19, 15, 3, 10} {
				got := readStream(t, b.drain("orders?format=batch&n="+strconv.Itoa(n)))
				if want := min(n, len(values)-at); len(got.messages) != want || got.end != "." {
					t.Fatalf("%d messages, not %d, end %q", len(got.messages), want, got.end)
				}
				for _, m := range got.messages {
					if m.offset != int64(at) || m.value != values[at] {
						t.Fatalf("message %d is %+v", at, m)
					}
					at++
				}
			}
			if at != len(values) {
				t.Errorf("%d messages came", at)
			}
		})
	}
}

func TestLargeBacklogInEveryFormat(t *testing.T) {
	b := start(t, setup{})
	messages := append(numbered(20_000, 200), strings.Repeat("y", broker.DefaultMaxMessage), "", "last")
	b.publish("orders", messages...)
	b.mustDrain("orders?group=a", join(messages))
	got := readStream(t, b.drain("orders?group=b&format=batch"))
	if len(got.messages) != len(messages) || got.end != "." {
		t.Fatalf("%d messages, %q", len(got.messages), got.end)
	}
	for i, m := range got.messages {
		if m.offset != int64(i) || m.value != messages[i] {
			t.Fatalf("message %d is %s at %d", i, brief(m.value), m.offset)
		}
	}
	i := 0
	for line := range strings.Lines(b.drain("orders?group=c&format=json")) {
		var m struct{ Payload string }
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Payload != messages[i] {
			t.Fatalf("line %d is %s: %v", i, brief(line), err)
		}
		i++
	}
	if i != len(messages) {
		t.Errorf("%d lines of JSON", i)
	}
}

func TestRequestThatComesInPieces(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "")
	for _, piece := range []string{"ord", "ers?for", "mat=lines", "\r", "\n"} {
		c.send(piece)
	}
	c.mustEnd("first\n")
}

func TestWhatAConsumerSendsBehindItsRequestIsIgnored(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	b.publish("other", "not asked for")
	b.dial(b.consumers, "orders\nother\nother\n").mustEnd("first\n")
	b.mustDrain("orders", "")
}

func TestJSONNamesTheBroker(t *testing.T) {
	b := start(t, setup{node: 7})
	b.publish("orders", "first")
	if got := b.drain("orders?format=json"); !strings.Contains(got, `,"broker":7,`) {
		t.Errorf("%q", got)
	}
}
