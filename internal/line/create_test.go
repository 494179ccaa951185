package line_test

import (
	"strings"
	"testing"
)

const createHead = "topic\tpartitions\tsettings\n"

func TestATopicIsMadeWhenThatIsAskedFor(t *testing.T) {
	b := start(t, setup{noCreate: true, partitions: 2})
	b.mustDrain("?create&topic=orders", createHead+"orders\t2\t-\n"+nothing)
	b.dial(b.producers, "orders\nm\n").mustRefuse("GONE", `"orders"`, "admin create -topic orders -execute")
	b.mustDrain("?create&topic=orders&partitions=3&retention=7d&retention-bytes=0&retention-unread=0&execute",
		createHead+"orders\t3\tmbus.retention.unread.ms=0 retention.bytes=-1 retention.ms=604800000\n")
	b.publish("orders", "m")
	b.restart()
	b.mustDrain("orders", "m\n")
	topic, err := b.broker.Topic("orders")
	if err != nil || len(topic.Partitions()) != 3 || topic.Config()["retention.ms"] != "604800000" {
		t.Errorf("the topic is %v with %v: %v", topic, topic.Config(), err)
	}
	b.dial(b.consumers, "?create&topic=orders&execute\n").mustRefuse("EXISTS", `"orders"`)
	b.dial(b.consumers, "?create&topic=__mbus_own&execute\n").mustRefuse("BADREQUEST", "__")
	b.dial(b.consumers, "?create&topic=other&partitions=1001&execute\n").mustRefuse("TOOLARGE", "1000")
	b.dial(b.consumers, "?create&topic=other&retention=soon&execute\n").mustRefuse("BADREQUEST", "7d")
	b.dial(b.consumers, "?create&execute\n").mustRefuse("BADREQUEST", "topic")
}

// Each way to publish on lines is refused, and neither it nor a look makes the topic.
func TestNoTopicMakesItselfWhereThatIsForbidden(t *testing.T) {
	b := start(t, setup{noCreate: true})
	for _, request := range []string{
		"ordres\nm\n", "ordres?keyed\nk\tm\n", "ordres?delay=1h\nm\n", "ordres?format=batch\n",
		"ordres?format=json\n" + `{"payload":"p"}` + "\n",
	} {
		b.dial(b.producers, request).mustRefuse("GONE", `"ordres"`, "-auto-create=false")
	}
	for _, request := range []string{"ordres", "ordres?from=beginning", "ordres?group=g&ack", "ordres.dlq?redrive"} {
		b.drain(request)
	}
	if topics := b.drain("?topics"); strings.Contains(topics, "ordres") {
		t.Errorf("a topic has made itself:\n%s", topics)
	}
}

// Nobody publishes a dead letter: the broker needs its topic.
func TestDeadLettersHaveATopicWhereNoneMakesItself(t *testing.T) {
	b := start(t, setup{noCreate: true})
	b.drain("?create&topic=orders&execute")
	b.publish("orders", "poison")
	bury(b, 1)
	b.mustDrain("orders.dlq", "poison\n")
}

// A line that begins with a dash is an error: no row of a table is one.
func TestNamesThatBeginWithADashAreListed(t *testing.T) {
	b := start(t, setup{})
	b.publish("-x", "m")
	b.publish("--", "m")
	b.publish("orders", "m")
	b.drain("orders?group=-g")
	await(t, "the drain has left the group", func() bool { return len(b.broker.Members("-g")) == 0 })
	for _, request := range []string{"?topics", "?topics&topic=-x", "?groups", "?groups&group=-g", "?delete&topic=-x", "?delete&group=-g", "?reset&group=-g&topic=orders&to=0"} {
		answer := b.drain(request)
		if strings.HasPrefix(answer, "-") || strings.Contains(answer, "\n-") || !strings.Contains(answer, "\n%2D") {
			t.Errorf("%s: answered %q", request, answer)
		}
		if answer := b.drain(request + "&format=json"); strings.Contains(answer, "%2D") {
			t.Errorf("%s in JSON: answered %q", request, answer)
		}
	}
	b.drain("?delete&topic=%2Dx&execute") // as it is in the table
	if topics := b.drain("?topics"); strings.Contains(topics, "%2Dx") {
		t.Errorf("the topic is there:\n%s", topics)
	}
}
