package line_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

const growHead = "topic\tpartitions\tnew\n"

func TestGrowShowsWhatItWouldDoAndThenDoesIt(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	b.mustDrain("?grow&topic=orders&partitions=3", growHead+"orders\t1\t3\n"+nothing)
	if got := b.drain("?topics&topic=orders&format=json"); !strings.Contains(got, `"partitions":1,`) {
		t.Errorf("looking has changed something: %s", got)
	}
	b.mustDrain("?grow&topic=orders&partitions=3&execute", growHead+"orders\t1\t3\n")
	b.restart() // it is durable
	b.mustDrain("?grow&topic=orders&partitions=4&execute&format=json", `{"topic":"orders","partitions":3,"new":4}`+"\n")
	b.publish("orders", "second")
	if got := b.drain("orders"); got != "first\nsecond\n" {
		t.Errorf("%q", got)
	}
}

func TestGrowIsRefused(t *testing.T) {
	b := start(t, setup{partitions: 3})
	b.publish("orders", "first")
	for request, want := range map[string][2]string{
		"?grow&topic=orders&partitions=3":            {"BADREQUEST", "not more"},
		"?grow&topic=orders&partitions=2&execute":    {"BADREQUEST", "not more"},
		"?grow&topic=orders&partitions=1001&execute": {"BADREQUEST", "at most"},
		"?grow&topic=orders&partitions=0":            {"BADREQUEST", "from 1"},
		"?grow&topic=orders":                         {"BADREQUEST", `"partitions"`},
		"?grow&partitions=4":                         {"BADREQUEST", `"topic"`},
		"?grow&topic=none&partitions=4":              {"GONE", `"none"`},
		"?grow&topic=__delayed&partitions=4":         {"GONE", "__delayed"},
	} {
		b.dial(b.consumers, request+"\n").mustRefuse(want[0], want[1])
	}
}

// spread publishes messages one by one, so that each goes to the next partition.
func (b *bus) spread(name string, n int) (all []string) {
	b.t.Helper()
	for i := range n {
		m := fmt.Sprint(name, " ", i)
		b.publish("orders", m)
		all = append(all, m)
	}
	return all
}

// mustGet reads so many lines and compares them, in any order.
func (c *client) mustGet(want []string) {
	c.t.Helper()
	var got []string
	for range want {
		got = append(got, c.line())
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		c.t.Fatalf("%q came, not %q", got, want)
	}
}

// awaitBegun waits until a group has a position in the topic that is kept.
func awaitBegun(b *bus, group string) {
	b.t.Helper()
	await(b.t, "group "+group+" has begun", func() bool {
		_, kept := b.broker.CommittedOffset(group, "orders", 0)
		return kept
	})
}

func TestFollowersGetTheMessagesOfNewPartitions(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "old")
	var followers []*client
	for _, request := range []string{
		"orders?follow", "orders?follow&group=acks&ack", "orders?follow&group=late&start=end",
		"orders?follow&from=1", "orders?follow&group=ordered&ack&ordered",
	} {
		c := b.dial(b.consumers, request+"\n")
		if !strings.Contains(request, "end") && !strings.Contains(request, "=1") {
			c.mustSay("old")
		}
		followers = append(followers, c)
	}
	awaitBegun(b, "late")
	one := b.spread("one", 2)
	for _, c := range followers {
		c.mustGet(one)
	}
	for total := 2; total <= 5; total++ {
		b.drain(fmt.Sprintf("?grow&topic=orders&partitions=%d&execute", total))
		all := b.spread(fmt.Sprint("of ", total), 2*total)
		for _, c := range followers {
			c.mustGet(all)
		}
	}
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	for i, log := range topic.Partitions() {
		if _, high := log.Offsets(); high < 2 {
			t.Errorf("partition %d has got %d messages", i, high)
		}
	}
}

func TestAProducerThatIsConnectedSpreadsOverNewPartitions(t *testing.T) {
	b := start(t, setup{})
	for i, request := range []string{"orders", "orders?keyed", "orders?format=json"} {
		p := b.dial(b.producers, request+"\n")
		send := func(i int) {
			switch m := fmt.Sprint("m", i); {
			case strings.HasSuffix(request, "keyed"):
				p.send(m + "\t" + m + "\n")
			case strings.HasSuffix(request, "json"):
				p.send(`{"payload":"` + m + "\"}\n")
			default:
				p.send(m + "\n")
			}
			p.mustSay(fmt.Sprint("+", i+1))
		}
		send(0)
		b.drain(fmt.Sprintf("?grow&topic=orders&partitions=%d&execute", 2*i+3))
		for i := range 40 {
			send(i + 1)
		}
		topic, err := b.broker.Topic("orders")
		if err != nil {
			t.Fatal(err)
		}
		for n, log := range topic.Partitions() {
			if _, high := log.Offsets(); high == 0 {
				t.Errorf("%s: nothing is in partition %d", request, n)
			}
		}
	}
}

// A group that begins at the end where it has no position has one in a partition
// that comes later, whether or not a consumer is there to see it.
func TestAGroupWithoutConsumersMissesNothingOfANewPartition(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	b.publish("orders", "old")
	c := b.dial(b.consumers, "orders?group=late&start=end&follow&ack\n")
	awaitBegun(b, "late")
	c.finish().mustEnd("")
	b.drain("?grow&topic=orders&partitions=2&execute")
	all := b.spread("new", 4)
	b.restart()
	b.dial(b.consumers, "orders?group=late&start=end&n=4\n").mustGet(all)
}

func TestADrainEndsWhereTheTopicEndedWhenItCame(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(2000, 1000)
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.mustSay(messages[0]) // the drain has begun
	b.drain("?grow&topic=orders&partitions=3&execute")
	b.spread("new", 3)
	c.mustEnd(join(messages[1:]))
	c = b.dial(b.consumers, "orders\n")
	c.mustGet([]string{"new 0", "new 1", "new 2"})
}
