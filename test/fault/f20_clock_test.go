package fault

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/line"
	"mbus/test/brokertest"
)

// Injected: messages with times and due times from the beginning to the end of
// all, over the line protocol. Expected: no panic; they come back as they are, a
// look from a time on works, before and after a restart, and those that are due
// are delivered. A topic without that setting takes no times far ahead.
func TestF20TimesFromOneEndToTheOther(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	makeTopic(t, b, "wild", broker.ConfigTimestampAfter, fmt.Sprint(int64(math.MaxInt64)))
	times := []int64{
		0, -1, 1, 1718017201000, -1718017201000, 4102444800000, 253402300800000, -62135596800001,
		math.MaxInt32, math.MinInt32, math.MaxInt64 / 1000, math.MinInt64 / 1000, math.MaxInt64 - 1, math.MinInt64 + 1, math.MaxInt64, math.MinInt64,
	}
	var sent []string
	for _, ts := range times {
		sent = append(sent, fmt.Sprintf(`{"payload":"at %d","ts":%d}`, ts, ts))
	}
	b.Publish("wild?format=json", sent...) // in one batch, whose times are far apart
	for _, text := range sent {
		b.Publish("wild?format=json", text) // and one in each
	}
	for i, ts := range times {
		answer := publishOne(t, b, "tame?format=json", sent[i])
		if ahead := ts > time.Now().Add(time.Hour).UnixMilli(); ahead && !strings.HasPrefix(answer, "-BADMESSAGE ") || !ahead && answer != "+1" {
			t.Errorf("a message of time %d is answered %q", ts, answer)
		}
	}
	for range 2 {
		got := b.Drain("wild?from=beginning&format=json")
		for _, ts := range times {
			if n := strings.Count(got, fmt.Sprintf(`"ts":%d,`, ts)); n != 2 {
				t.Errorf("time %d comes %d times", ts, n)
			}
			if n := strings.Count(got, fmt.Sprintf(`"payload":"at %d"}`, ts)); n != 2 {
				t.Errorf("the message of time %d comes %d times", ts, n)
			}
		}
		for _, from := range []string{"2h", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "s@0", fmt.Sprint("s@", int64(math.MaxInt64))} {
			if answer := b.Drain("wild?from=" + from); strings.Contains(answer, "-INTERNAL") {
				t.Errorf("from %s was answered %q", from, answer)
			}
		}
		b.Drain("?topics")
		b.Restart()
	}
	due := 0
	for _, ts := range times {
		for _, answer := range []string{
			publishOne(t, b, fmt.Sprintf("due?at=%d", ts), fmt.Sprint(ts)), // what is no time is refused
			publishOne(t, b, "due?format=json", fmt.Sprintf(`{"payload":"%d","headers":["mbus-deliver-at","%d"]}`, ts, ts)),
		} {
			refused := strings.HasPrefix(answer, "-BADREQUEST ") || strings.HasPrefix(answer, "-BADMESSAGE ")
			switch mistake := ts > 0 && ts < 100_000_000_000 || ts > 253_402_300_799_999; {
			case answer != "+1" && !refused, mistake && !refused:
				t.Errorf("due at %d was answered %q", ts, answer)
			case answer == "+1" && ts <= time.Now().UnixMilli():
				due++
			}
		}
	}
	b.Restart()
	await(t, "what is due is there", func() bool {
		return strings.Count(b.Drain("due?from=beginning"), "\n") == due
	})
	if due < len(times)/2 {
		t.Errorf("only %d messages are due", due)
	}
	report(t, tally{Runs: len(times), Acked: 2 * len(times), Read: 2 * len(times)})
}

// makeTopic makes a topic with configurations, as Kafka's clients do.
func makeTopic(t *testing.T, b *brokertest.Broker, name string, configs ...string) {
	t.Helper()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	for i := 0; i < len(configs); i += 2 {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = configs[i], &configs[i+1]
		topic.Configs = append(topic.Configs, config)
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics, create.Version = append(create.Topics, topic), 2
	k := dialKafka(t, b.Kafka())
	defer k.Close()
	resp, err := k.ask(create)
	if err != nil || resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 0 {
		t.Fatalf("topic %q: %+v, %v", name, resp, err)
	}
}

// Injected: the clock jumps ten years ahead and back, is put back ten years and
// right again, and then goes ahead for good, while messages are published and
// retention does its work. Expected: no message is removed because of it, until
// it is older than its retention by the time that has really passed; what is
// delayed comes once.
func TestF20JumpingClockRemovesNothing(t *testing.T) {
	const years, keep = 10 * 365 * 24 * time.Hour, time.Hour
	for _, flag := range []time.Duration{keep, 0, time.Millisecond} { // -retention; else the topic's own counts
		c := newClocked(t, flag)
		if flag != keep {
			c.create("clocked", broker.ConfigRetention, fmt.Sprint(keep.Milliseconds()))
		}
		c.sweep()
		for _, jump := range []time.Duration{years, -years, -years, years, 0, keep / 2, keep / 2, keep, years} {
			c.publish(5)
			c.ahead.Add(int64(jump))
			for range 3 {
				c.sweep()
			}
			c.publish(5)
			c.sweep()
		}
		c.ahead.Store(0)
		c.sweep()
		got := c.read("clocked?from=beginning")
		report(t, tally{Runs: 9, Acked: len(c.sent), Read: len(lines(got))})
		if got != strings.Join(c.sent, "\n")+"\n" {
			t.Errorf("-retention %v: %d messages are left of %d", flag, len(lines(got)), len(c.sent))
		}
		if c.book.Lines("jumped ahead") == nil {
			t.Error("nothing is said of the jumps")
		}

		// The negative control: without a jump the same messages go when they are old.
		c.broker.Retain(time.Now().Add(2 * years))
		if got := c.read("clocked?from=beginning"); got != "" {
			t.Errorf("retention removes nothing at all: %d messages are left", len(lines(got)))
		}
	}
}

// Injected: while messages wait for next year, and a topic is stamped by the log, the
// clock is ten years ahead for a moment, again and again, and then ten years behind.
// Expected: nothing is delivered, and nothing is stamped with a time ahead.
func TestF20WrongClockForAMomentNeitherDeliversNorStamps(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	c := newClocked(t, time.Hour)
	c.create("stamped", broker.ConfigTimestamps, broker.LogAppendTime)
	acked := 0
	publish := func(request, text string) {
		t.Helper()
		conn := brokertest.Dial(t, c.producers, request+"\n"+text+"\n")
		defer conn.Close()
		if line := brokertest.ReadLine(t, bufio.NewReader(conn)); line != "+1" {
			t.Fatalf("%s: the publisher was answered %q", request, line)
		}
		acked++
	}
	for _, jump := range []time.Duration{0, years, 0, 2 * years, 0, -years, 0} {
		c.ahead.Store(int64(jump))
		publish(fmt.Sprintf("later?at=%d", time.Now().Add(years/10).UnixMilli()), "next year")
		if jump >= 0 { // by a clock that is behind the year is over too early
			publish("later?delay=8760h", "in a year")
		}
		publish("stamped", fmt.Sprint("x", jump))
		if got := c.read("?reset&group=house&topic=stamped&to=1h&format=json"); jump > 0 && !strings.Contains(got, `"new":0}`) {
			t.Errorf("an hour ago is %q", got)
		}
	}
	got := c.read("stamped?from=beginning&format=json")
	for _, found := range regexp.MustCompile(`"ts":(\d+)`).FindAllStringSubmatch(got, -1) {
		if ms, err := strconv.ParseInt(found[1], 10, 64); err != nil || ms > time.Now().Add(time.Hour).UnixMilli() {
			t.Errorf("a message is stamped %q, %v", found[1], err)
		}
	}
	report(t, tally{Runs: 7, Acked: acked, Read: len(lines(got))})
	if n := len(lines(got)); n != 7 {
		t.Errorf("%d messages are there, not 7", n)
	}
	if got := c.read("later?from=beginning"); got != "" {
		t.Errorf("%d messages of next year are delivered", len(lines(got)))
	}

	// The negative control: a clock that is believed delivers them.
	publish(fmt.Sprintf("later?at=%d", time.Now().UnixMilli()-1), "due")
	if got := c.read("later?from=beginning"); got != "due\n" {
		t.Errorf("what is due is %q", got)
	}
}

// A clocked broker runs in the test's process, with a clock of its own.
type clocked struct {
	t                    *testing.T
	ahead                atomic.Int64 // of the system's clock
	broker               *inside
	producers, consumers string
	book                 *brokertest.LogBook
	sent                 []string
}

func newClocked(t *testing.T, keep time.Duration) *clocked {
	t.Helper()
	c := &clocked{t: t, book: new(brokertest.LogBook)}
	log := slog.New(slog.NewTextHandler(c.book, nil))
	s, err := commitlog.Open(t.TempDir(), commitlog.Options{SegmentBytes: 1000, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(s, broker.Options{
		Limits: broker.DefaultLimits(), Retention: keep, Log: log,
		Now: func() time.Time { return time.Now().Round(0).Add(time.Duration(c.ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.broker = insideOf(b)
	server := line.NewServer(b)
	c.producers, c.consumers = c.listen(server.ServeProducers), c.listen(server.ServeConsumers)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Stop(ctx)
		if err := c.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// create makes a topic with configurations.
func (c *clocked) create(name string, configs ...string) {
	c.t.Helper()
	own := make(map[string]string)
	for i := 0; i < len(configs); i += 2 {
		own[configs[i]] = configs[i+1]
	}
	if _, err := c.broker.CreateTopic(name, 1, own); err != nil {
		c.t.Fatal(err)
	}
}

func (c *clocked) listen(serve func(net.Listener)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	go serve(l)
	return l.Addr().String()
}

// sweep has retention look, as it does each minute.
func (c *clocked) sweep() { c.broker.Sweep() }

// publish publishes messages with the time of the clock and has the group default
// consume them.
func (c *clocked) publish(n int) {
	c.t.Helper()
	now := time.Now().Add(time.Duration(c.ahead.Load())).UnixMilli()
	for range n {
		text := fmt.Sprintf("message %d %s", len(c.sent), strings.Repeat("x", 200))
		c.sent = append(c.sent, text)
		conn := brokertest.Dial(c.t, c.producers, fmt.Sprintf("clocked?format=json\n{\"payload\":%q,\"ts\":%d}\n", text, now))
		if line := brokertest.ReadLine(c.t, bufio.NewReader(conn)); line != "+1" {
			c.t.Fatalf("the publisher was answered %q", line)
		}
		conn.Close()
	}
	c.read("clocked")
	await(c.t, "the group has consumed them, durably", func() bool { // as retention wants it
		at, ok := c.broker.CommittedOffset("default", "clocked", 0)
		return ok && at.Offset == int64(len(c.sent))
	})
}

// read reads the answer to a consumer's request to its end.
func (c *clocked) read(request string) string {
	c.t.Helper()
	conn := brokertest.Dial(c.t, c.consumers, request+"\n")
	defer conn.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(conn); err != nil {
		c.t.Fatal(err)
	}
	return answer.String()
}
