package line_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// kill has the messages of a topic that a group gets die, up to so many.
func kill(b *bus, topic, groupName string, n int64) {
	b.t.Helper()
	c := b.dial(b.consumers, topic+"?group="+groupName+"&follow&ack&window=1&attempts=1\n")
	for i := int64(1); i <= n; i++ {
		c.line()
		c.send("-" + itoa(i) + " bad\n")
	}
	c.finish().rest() // perhaps the next message, which is given back
}

// makeLetter puts a letter among those of orders, with these headers.
func makeLetter(b *bus, payload string, headers ...string) {
	b.t.Helper()
	for i, h := range headers {
		headers[i] = strconv.Quote(h)
	}
	b.produce("orders.dlq?format=json\n" + `{"payload":"` + payload + `","headers":[` + strings.Join(headers, ",") + "]}\n")
}

func TestALetterGoesBackToTheGroupThatFailedItAndToNoOther(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "charge 1", "charge 2", "charge 3")
	b.mustDrain("orders?group=billing", "charge 1\ncharge 2\ncharge 3\n")
	b.mustDrain("orders?group=mail&n=1", "charge 1\n")
	kill(b, "orders", "mail", 1)
	b.mustDrain("orders?group=mail", "charge 3\n")
	b.mustDrain("orders.dlq", "charge 2\n") // to look is no harm
	b.mustDrain("orders.dlq?redrive", "+1\n")
	b.mustDrain("orders.dlq?redrive", "+0\n")
	b.restart()
	b.mustDrain("orders?group=billing", "")
	b.mustDrain("orders?group=new", "charge 1\ncharge 2\ncharge 3\n")
	b.mustDrain("orders?group=mail", "charge 2\n")
	b.mustDrain("orders?group=mail", "")
}

func TestALetterGoesToAMemberAtOnceAndItsAttemptsAreCountedAnew(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "m")
	c := b.dial(b.consumers, "orders?group=g&follow&ack&attempts=2&retry=1ms\n")
	for i := range 3 {
		n := int64(2 * i)
		c.mustSay("m")
		c.send("-" + itoa(n+1) + " bad\n")
		c.mustSay("m")
		c.send("-" + itoa(n+2) + " bad\n")
		await(t, "it is redriven", func() bool { return b.drain("orders.dlq?redrive") == "+1\n" })
	}
	c.mustSay("m")
	c.send("+7\n")
	c.mustConfirm()
	b.mustDrain("orders?group=g", "")
	if letters := b.drain("orders.dlq"); letters != "m\nm\nm\n" {
		t.Errorf("the letters are %q", letters)
	}
}

// Members that have messages ordered by key get it when no other message of its key is under way.
func TestALetterGoesToMembersThatAreOrderedByKey(t *testing.T) {
	b := start(t, setup{})
	b.produce("orders?keyed\nk\t1\nk\t2\nj\t3\nk\t4\n")
	c := b.dial(b.consumers, "orders?group=g&follow&ack&ordered&window=2&attempts=1\n")
	c.mustSay("1", "3")
	c.send("-1 bad\n")
	c.mustSay("2")
	c.send("+2\n") // 1 and 3
	b.mustDrain("orders.dlq?redrive", "+1\n")
	c.send("+3\n") // 2
	got := []string{c.line()}
	c.mustBeSilent() // they have the same key
	c.send("+4\n")
	got = append(got, c.line())
	c.send("+5\n")
	c.mustConfirm()
	slices.Sort(got)
	if !slices.Equal(got, []string{"1", "4"}) {
		t.Errorf("behind 2 come %q", got)
	}
	b.mustDrain("orders?group=g", "")
}

// What can't go back stays, with the reason, and what is behind it goes.
func TestLettersThatCannotGoBackStayAndTheOthersGo(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(6, 0)...)
	b.publish("old", "one", "two")
	kill(b, "orders", "g", 6)
	kill(b, "old", "g", 1)
	b.drain("?delete&topic=old&execute")
	b.publish("old", "three", "four")
	b.drain("old?group=g")
	await(t, "it is a letter", func() bool { return b.drain("old.dlq?from=beginning") == "one\n" })
	makeLetter(b, "by hand")
	makeLetter(b, "p", "mbus-topic", "not a name")
	makeLetter(b, "p", "mbus-topic", "__delayed")
	makeLetter(b, "p", "mbus-topic", "none", "mbus-partition", "0", "mbus-offset", "0", "mbus-group", "g")
	makeLetter(b, "p", "mbus-topic", "orders", "mbus-partition", "7", "mbus-offset", "0", "mbus-group", "g")
	makeLetter(b, "p", "mbus-topic", "orders", "mbus-partition", "0", "mbus-offset", "99", "mbus-group", "g")
	makeLetter(b, "p", "mbus-topic", "orders", "mbus-partition", "0", "mbus-offset", "soon", "mbus-group", "g")
	makeLetter(b, "p", "mbus-topic", "orders", "mbus-partition", "-1", "mbus-offset", "0", "mbus-group", "g")
	makeLetter(b, "p", "mbus-topic", "orders", "mbus-partition", "0", "mbus-offset", "0", "mbus-group", "a b")
	makeLetter(b, "p", "mbus-topic", "orders", "mbus-partition", "0", "mbus-offset", "3", "mbus-group", "g") // the message is another
	makeLetter(b, "by hand, for orders", "mbus-topic", "orders")
	topic, err := b.broker.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Partitions()[0].Trim(2); err != nil {
		t.Fatal(err)
	}
	const again, byHand = "; redrive with to=all publishes again, for all groups\n", "; publish by hand what is still wanted\n"
	stay := "# 3 letters stay: the message is not in topic \"orders\" any more" + again +
		"# 1 letter stays: no header mbus-topic, which the broker gives to dead letters" + byHand +
		"# 1 letter stays: header mbus-topic is \"not a name\"" + byHand +
		"# 1 letter stays: topic \"__delayed\" takes none: " + broker.ErrInternalTopic.Error() + "; make the topic, or publish by hand to another one\n" +
		"# 1 letter stays: there is no topic \"none\"" + again +
		"# 1 letter stays: topic \"orders\" has no partition 7" + again +
		"# 1 letter stays: header mbus-offset is \"soon\"" + byHand +
		"# 1 letter stays: header mbus-partition is \"-1\"" + byHand +
		"# 1 letter stays: header mbus-group is \"a b\"" + byHand +
		"# 1 letter stays: topic \"orders\" has another message in that place: the topic was deleted and created again" + again
	b.mustDrain("orders.dlq?redrive", "+5\n"+stay)
	if got := b.drain("orders?group=g"); got != join(numbered(6, 0)[2:])+"by hand, for orders\n" {
		t.Errorf("the group gets %q", got)
	}
	b.mustDrain("orders.dlq?redrive", "+0\n"+stay)
	if again := b.drain("old.dlq?redrive"); !strings.Contains(again, "created again") {
		t.Errorf("of a topic that was created again: %q", again)
	}
	b.mustDrain("old?group=g", "")
}

func TestALetterOfAGroupThatIsNotThereStays(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "m")
	kill(b, "orders", "g", 1)
	b.drain("?delete&group=g&execute")
	if got := b.drain("orders.dlq?redrive"); !strings.HasPrefix(got, "+0\n# 1 letter stays: group \"g\" has no position") {
		t.Errorf("answered %q", got)
	}
	b.mustDrain("orders.dlq?redrive&to=all", "+1\n")
	b.mustDrain("orders?group=g", "m\nm\n")
}

// A Kafka client knows nothing of what was consumed above its offset: it would get all of
// that again.
func TestLettersOfAGroupOfKafkaClientsStay(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "a", "b", "c")
	kill(b, "orders", "g", 1)
	kill(b, "orders", "free", 1)
	b.drain("orders?group=g")
	var leave func()
	await(t, "the consumers have left", func() (left bool) {
		var err error
		leave, err = b.broker.UseGroup("g", broker.UseKafka)
		return err == nil
	})
	got := b.drain("orders.dlq?redrive")
	if !strings.HasPrefix(got, "+1\n# 1 letter stays: group \"g\" is in use by Kafka clients") || !strings.Contains(got, "\n-BUSY ") {
		t.Errorf("answered %q", got)
	}
	done := make(chan []error, 1)
	b.broker.CommitOffsets("g", []group.Commit{{Topic: "orders", Offset: 3, LeaderEpoch: group.NoEpoch}}, func(errs []error) { done <- errs })
	<-done
	leave()
	if got := b.drain("orders.dlq?redrive"); !strings.HasPrefix(got, "+0\n# 1 letter stays: Kafka clients were the last in group \"g\"") {
		t.Errorf("answered %q", got)
	}
	b.mustDrain("orders?group=g", "")
	b.mustDrain("orders?group=free", "a\nb\nc\n")
}

// Nobody may lose a message because a letter counts as moved before it is: at the moment
// when the first thing is written, the letter is not consumed.
func TestALetterIsConsumedWhenItsMessageIsOpenForGood(t *testing.T) {
	b := start(t, setup{disk: crashfs.New()})
	b.publish("orders", "m")
	kill(b, "orders", "g", 1)
	disk := b.setup.disk
	g := newGate()
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && segmentOf(c, broker.PositionsTopic) {
			g.pass()
		}
		return nil
	})
	c := b.dial(b.consumers, "orders.dlq?redrive\n")
	<-g.held
	c.mustBeSilent()
	if at := b.position(broker.RedriveGroup, "orders.dlq", 0).Committed(); at != 0 {
		t.Errorf("before the group's position is durable the redrive is at %d", at)
	}
	disk.SetHook(nil)
	close(g.opened)
	c.mustEnd("+1\n")
	b.mustDrain("orders?group=g", "m\n")
}

// Whenever the power goes, what a redrive has told of is open in the group, once, and the
// rest is there or among the letters.
func TestWhatARedriveHasToldGoesBackOnceAfterACrash(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	b := start(t, setup{disk: crashfs.New()})
	const n = 1000
	b.publish("orders", numbered(n, 0)...)
	c := b.dial(b.consumers, "orders?group=g&follow&ack&attempts=1\n")
	for i := int64(1); i <= n; i++ {
		c.line()
		c.send("-" + itoa(i) + " bad\n")
	}
	c.mustConfirm()
	r := b.dial(b.consumers, "orders.dlq?redrive\n")
	told, err := strconv.Atoi(strings.TrimPrefix(r.line(), "+"))
	if err != nil || told >= n {
		t.Fatalf("told of %d of %d at first: %v", told, n, err)
	}
	disk := b.setup.disk.Crash(crashfs.Nothing())
	b.stop() // the dead one
	b = start(t, setup{disk: disk})
	open := strings.Count(b.drain("orders?group=g"), "\n")
	if open < told {
		t.Fatalf("%d were counted, and %d come", told, open)
	}
	b.drain("orders.dlq?redrive")
	again := strings.Count(b.drain("orders?group=g"), "\n")
	if all := open + again; all < n || all > n+256 {
		t.Errorf("%d and %d of %d come, of which %d were counted", open, again, n, told)
	}
}
