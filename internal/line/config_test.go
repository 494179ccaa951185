package line_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
)

// configured makes a topic that has one configuration of its own.
func (b *bus) configured(topic, name, value string) *broker.Topic {
	b.t.Helper()
	t, err := b.broker.CreateTopic(topic, 1, map[string]string{name: value})
	if err != nil {
		b.t.Fatal(err)
	}
	return t
}

// sizes are the sizes of all batches stored.
func sizes(t *testing.T, topic *broker.Topic) (all []int) {
	t.Helper()
	log := topic.Partitions()[0]
	var c store.Chunk
	defer c.Release()
	for offset, high := log.Offsets(); offset < high; offset = c.Next {
		if err := log.Fetch(offset, 1, &c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Len())
	}
	return all
}

func TestLinesKeepToTheTopicsLargestBatch(t *testing.T) {
	const limit = 1000
	for format, message := range map[string]string{
		"":             "%s",
		"?keyed":       "k\t%s",
		"?format=json": `{"payload":"%s"}`,
	} {
		b := start(t, setup{})
		topic := b.configured("orders", broker.ConfigMaxBatch, fmt.Sprint(limit))
		line := func(size int) string { return fmt.Sprintf(message, strings.Repeat("x", size)) }
		fits := limit - batch.HeaderSize - batch.RecordOverhead - 1
		var messages []string
		for i := range 300 {
			messages = append(messages, line(i%fits+1))
		}
		b.publish("orders"+format, append(messages, line(fits))...)
		for _, size := range sizes(t, topic) {
			if size > limit {
				t.Errorf("%q: a batch has %d bytes", format, size)
			}
		}
		c := b.dial(b.producers, "orders"+format+"\n"+line(1)+"\n"+line(limit)+"\n")
		if got := c.rest(); !strings.HasPrefix(got, "+1\n-TOOLARGE message 2 ") {
			t.Errorf("%q: %q", format, got)
		}
	}
}

func TestBatchesKeepToTheTopicsLargest(t *testing.T) {
	b := start(t, setup{})
	p := text(newBatch(numbered(10, 50)...))
	b.configured("orders", broker.ConfigMaxBatch, fmt.Sprint(len(p)-1))
	b.dial(b.producers, "orders?format=batch\n"+p).mustRefuse("TOOLARGE", fmt.Sprint(len(p)-1))
	b.configured("others", broker.ConfigMaxBatch, fmt.Sprint(len(p)))
	b.dial(b.producers, "others?format=batch\n"+p).finish().mustEnd("+10\n")
}

func TestLinesGetTheTimeOfTheLog(t *testing.T) {
	b := start(t, setup{})
	b.configured("orders", broker.ConfigTimestamps, broker.LogAppendTime)
	before := time.Now().UnixMilli()
	b.publish("orders?format=json", `{"payload":"first","ts":1000}`)
	p := newBatch("second")
	p.SetAppendTime(1000) // it was read from such a topic
	b.dial(b.producers, "orders?format=batch\n"+text(p)).finish().mustEnd("+1\n")
	after := time.Now().UnixMilli()
	for i, line := range strings.Split(strings.TrimSpace(b.drain("orders?format=json")), "\n") {
		_, rest, ok := strings.Cut(line, `"tstype":"logappend","ts":`)
		if !ok {
			t.Fatalf("message %d: %s", i, line)
		}
		var ts int64
		if _, err := fmt.Sscan(strings.TrimRight(strings.SplitN(rest, ",", 2)[0], "}"), &ts); err != nil || ts < before || ts > after {
			t.Errorf("message %d: %s, not from %d to %d: %v", i, line, before, after, err)
		}
	}
}
