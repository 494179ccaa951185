package line_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

const (
	topicsHead = "topic\tpartitions\tmessages\tbytes\toldest\n"
	groupsHead = "group\ttopic\tpartition\tposition\tend\tlag\tunacknowledged\twaiting\tmembers\tattempt\n"
	resetHead  = "group\ttopic\tpartition\tposition\tnew\n"
	nothing    = "# nothing has been changed: add execute to do it\n"
)

// size is what a topic's partitions hold, in bytes.
func (b *bus) size(name string) string {
	b.t.Helper()
	topic, err := b.broker.Topic(name)
	if err != nil {
		b.t.Fatal(err)
	}
	var size int64
	for _, log := range topic.Partitions() {
		size += log.Size()
	}
	return itoa(size)
}

func TestTopicsAreListed(t *testing.T) {
	b := start(t, setup{partitions: 2})
	b.timed(3)
	b.publish("stock", "a")
	all := b.drain("?topics")
	orders := "orders\t2\t3\t" + b.size("orders") + "\t2024-06-10T12:00:00Z\n"
	if !strings.HasPrefix(all, topicsHead) || !strings.Contains(all, "\n"+orders) || !strings.Contains(all, "\nstock\t2\t1\t") {
		t.Fatalf("answered %q", all)
	}
	b.mustDrain("?topics&topic=orders", topicsHead+orders)
	b.mustDrain("?topics&topic=orders&format=json",
		`{"topic":"orders","partitions":2,"messages":3,"bytes":`+b.size("orders")+`,"oldest":"2024-06-10T12:00:00Z","id":"`+b.id("orders")+`"}`+"\n")
	b.dial(b.consumers, "?topics&topic=none\n").mustRefuse("GONE", `"none"`)
}

func TestOldestOfATopicIsThatOfAllPartitions(t *testing.T) {
	b := start(t, setup{partitions: 2})
	b.produce("orders?format=json\n" + `{"payload":"late","ts":` + itoa(old.Add(time.Hour).UnixMilli()) + "}\n")
	b.produce("orders?format=json\n" + `{"payload":"early","ts":` + itoa(old.UnixMilli()) + "}\n")
	b.mustDrain("?topics&topic=orders", topicsHead+"orders\t2\t2\t"+b.size("orders")+"\t2024-06-10T12:00:00Z\n")
}

// As long as it takes something now and then it goes on.
func TestASlowReaderOfALargeTableGetsAllOfIt(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = 20 * moment }})
	name := strings.Repeat("o", 249)
	b.publish(name, "message")
	const groups = 20_000 // some 10 MB, more than the systems of both keep
	for i := range groups {
		p := b.position(fmt.Sprintf("%0249d", i), name, 0)
		defer p.Close()
	}
	c := b.dialWith(small, b.consumers, "?groups\n")
	begun, lines := time.Now(), 0
	for time.Since(begun) < 35*moment {
		c.line()
		if lines++; lines%16 == 0 {
			time.Sleep(moment / 10) // this is what the reader is slow with
		}
	}
	if lines += strings.Count(c.rest(), "\n"); lines < 1+groups {
		t.Errorf("%d lines", lines)
	}
}

func TestGroupsAreListed(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(10, 0)...)
	c := b.dial(b.consumers, "orders?group=billing&follow&ack&window=4&retry=1h\n")
	c.mustSay(numbered(4, 0)...)
	c.send("+1\n-3 later\n")
	c.mustSay(numbered(6, 0)[4:]...) // so both acknowledgements were read
	b.mustDrain("?groups&group=billing", groupsHead+"billing\torders\t0\t1\t10\t9\t4\t1\t1\t2\n")
	b.mustDrain("orders?group=mail&n=3", join(numbered(3, 0)))
	awaitMembers(b, "mail", 0)
	b.mustDrain("?groups&group=mail&topic=orders", groupsHead+"mail\torders\t0\t3\t10\t7\t0\t0\t0\t1\n")
	b.mustDrain("?groups&group=mail&format=json",
		`{"group":"mail","topic":"orders","partition":0,"position":3,"end":10,"lag":7,"unacknowledged":0,"waiting":0,"members":0,"attempt":1,"lost":0}`+"\n")
	all := b.drain("?groups")
	if !strings.HasPrefix(all, groupsHead) || !strings.Contains(all, "\nbilling\t") || !strings.Contains(all, "\nmail\t") {
		t.Fatalf("answered %q", all)
	}
	for _, of := range []string{"group=mail&", ""} { // a name that was mistyped
		b.mustDrain("?groups&"+of+"topic=none", groupsHead+"# there is no such topic or partition: \"none\"\n")
		b.mustDrain("?groups&"+of+"topic=none&format=json", "")
	}
	b.dial(b.consumers, "?groups&group=none\n").mustRefuse("GONE", `"none"`)
}

func TestResetShowsWhatItWouldDoAndThenDoesIt(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(10, 0)...)
	b.mustDrain("orders?group=g&n=8", join(numbered(8, 0)))
	awaitMembers(b, "g", 0)
	const change = resetHead + "g\torders\t0\t8\t2\n"
	b.mustDrain("?reset&group=g&topic=orders&to=2", change+nothing)
	b.mustDrain("?groups&group=g", groupsHead+"g\torders\t0\t8\t10\t2\t0\t0\t0\t1\n")
	b.mustDrain("?reset&group=g&topic=orders&to=2&execute", change)
	b.restart() // it is durable
	b.mustDrain("orders?group=g", join(numbered(10, 0)[2:]))
	awaitMembers(b, "g", 0)
	b.mustDrain("?reset&group=g&topic=orders&to=-1&execute&format=json",
		`{"group":"g","topic":"orders","partition":0,"position":10,"new":9}`+"\n")
	b.mustDrain("orders?group=g", "message 9 \n")
}

func TestResetOfANewGroupMakesIt(t *testing.T) {
	b := start(t, setup{partitions: 2})
	for range 2 {
		b.publish("orders", "first")
		b.publish("orders", "second")
	}
	b.drain("?reset&group=new&topic=orders&to=0:1&execute")
	b.mustDrain("orders?group=new", "first\nsecond\nsecond\n")
}

func TestResetIsRefused(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?group=g&follow&ack\n")
	c.mustSay("first", "second")
	b.dial(b.consumers, "?reset&group=g&topic=orders&to=end&execute\n").mustRefuse("BUSY", "in use by consumers of lines: stop them first")
	b.mustDrain("?reset&group=g&topic=orders&to=end", resetHead+"g\torders\t0\t0\t2\n# group \"g\" is in use by consumers of lines: stop them first\n"+nothing)
	b.mustDrain("?reset&group=g&topic=orders&to=end&format=json", `{"group":"g","topic":"orders","partition":0,"position":0,"new":2}`+"\n")
	for _, execute := range []string{"", "&execute"} { // what is refused is refused before
		b.dial(b.consumers, "?delete&group=g"+execute+"\n").mustRefuse("BUSY", `"g" is in use by consumers of lines`)
	}
	c.finish().mustEnd("")
	b.mustDrain("?reset&group=g&topic=orders&to=end&execute", resetHead+"g\torders\t0\t0\t2\n")
	b.dial(b.consumers, "?reset&group=g&topic=none&to=end&execute\n").mustRefuse("GONE", `"none"`)
	b.dial(b.consumers, "?reset&group=g&topic=orders&to=3&execute\n").mustRefuse("BADREQUEST", "behind the end")
	for _, execute := range []string{"", "&execute"} { // otherwise partition 0 would begin again
		b.dial(b.consumers, "?reset&group=g&topic=orders&to=1:1"+execute+"\n").mustRefuse("BADREQUEST", "no partition 1")
	}
	b.dial(b.consumers, "?reset&group=g&topic=orders&to=stored\n").mustRefuse("BADREQUEST", `"stored"`)
	b.mustDrain("orders?group=g", "")
}

func TestDeleteOfATopicShowsWhatItWouldDoAndThenDoesIt(t *testing.T) {
	b := start(t, setup{})
	b.timed(2)
	b.mustDrain("orders?n=1", "m0\n")
	awaitMembers(b, "default", 0)
	gone := topicsHead + "orders\t1\t2\t" + b.size("orders") + "\t2024-06-10T12:00:00Z\n"
	b.mustDrain("?delete&topic=orders", gone+nothing)
	b.mustDrain("orders?from=0", "m0\nm1\n")
	b.mustDrain("?delete&topic=orders&execute", gone)
	b.mustDrain("orders", "")
	b.dial(b.consumers, "?delete&topic=orders&execute\n").mustRefuse("GONE", `"orders"`)
	b.publish("orders", "new")
	b.restart()
	b.mustDrain("orders", "new\n") // the position is gone too
}

func TestDeleteOfAnInternalTopicIsRefused(t *testing.T) {
	b := start(t, setup{})
	b.dial(b.consumers, "?delete&execute&topic="+broker.PositionsTopic+"\n").mustRefuse("GONE")
	b.publish("orders", "first")
	b.mustDrain("orders", "first\n")
	await(t, "there is a topic of positions", func() bool {
		_, err := b.broker.Topic(broker.PositionsTopic)
		return err == nil
	})
	for _, execute := range []string{"", "&execute"} {
		b.dial(b.consumers, "?delete&topic="+broker.PositionsTopic+execute+"\n").mustRefuse("BADREQUEST", "the broker's own")
	}
}

func TestDeleteOfATopicSaysWhoReadsIt(t *testing.T) {
	b := start(t, setup{partitions: 2})
	b.publish("orders", "first")
	for range 2 {
		b.dial(b.consumers, "orders?group=g&follow\n")
	}
	const note = "# consumers of group \"g\" read it now and get -GONE: 2 or more\n"
	await(t, "both are named", func() bool { return strings.Contains(b.drain("?delete&topic=orders"), note+nothing) })
	if got := b.drain("?delete&topic=orders&execute"); !strings.HasSuffix(got, note) {
		t.Errorf("answered %q", got)
	}
}

func TestDeleteOfAGroupShowsWhatItWouldDoAndThenDoesIt(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	b.mustDrain("orders?group=g&n=1", "first\n")
	awaitMembers(b, "g", 0)
	const gone = "group\ttopic\tpartition\tposition\ng\torders\t0\t1\n"
	b.mustDrain("?delete&group=g", gone+nothing)
	c := b.dial(b.consumers, "orders?group=g&follow&ack\n")
	c.mustSay("second")
	b.dial(b.consumers, "?delete&group=g&execute\n").mustRefuse("BUSY", "in use")
	c.finish().mustEnd("")
	b.mustDrain("?delete&group=g&execute", gone)
	b.dial(b.consumers, "?delete&group=g&execute\n").mustRefuse("GONE", `"g"`)
	b.restart()
	b.mustDrain("orders?group=g", "first\nsecond\n")
}

func TestAdministrationThatMakesNoSenseIsRefused(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	for request, words := range map[string]string{
		"?": `"?"`, "?nothing": "?delete, ?groups, ?grow, ?reset or ?topics", "?topics&group=x": "knows format, topic",
		"?groups&execute": "knows format, group, topic", "?topics&topic=a/b": `"a/b"`, "?topics&topic=": "topic",
		"?groups&format=batch": "for messages", "?reset": `"group"`, "?reset&group=g&topic=orders": `"to"`,
		"?reset&group=g&to=0": `"topic"`, "?reset&group=g&topic=orders&to=x": `"x"`, "?delete": "not both",
		"?delete&group=g&topic=orders": "not both", "?delete&topic=orders&execute=yes": "no value",
		"?topics&topic=a&topic=b": "twice",
	} {
		b.dial(b.consumers, request+"\n").mustRefuse("BADREQUEST", words)
	}
	b.dial(b.producers, "?topics\n").mustRefuse("BADREQUEST", "port for consumers")
	b.mustDrain("orders", "first\n") // nothing was deleted
}
