package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/kafka"
)

// alterList appends to a list, or subtracts from it, and returns the code.
func alterList(c *client, topic string, op kmsg.IncrementalAlterConfigOp, name, value string) int16 {
	c.t.Helper()
	req := alterRequest(topic, name, value)
	req.Resources[0].Configs[0].Op = op
	return ask[*kmsg.IncrementalAlterConfigsResponse](c, req).Resources[0].ErrorCode
}

// What Kafka knows and has no effect here is checked, kept and shown.
func TestSettingsWithoutEffectAreKeptAndShown(t *testing.T) {
	b := start(t, setup{})
	c := b.dial()
	values := []string{
		"compression.type", "gzip", "segment.bytes", "1000000", "segment.ms", "60000", "min.insync.replicas", "2",
		"unclean.leader.election.enable", "TRUE", "flush.messages", "1000", "flush.ms", "5000", "cleanup.policy", "delete",
		"delete.retention.ms", "1", "min.cleanable.dirty.ratio", "0.01", "file.delete.delay.ms", "0", "preallocate", "true",
		"index.interval.bytes", "0", "segment.index.bytes", "4096", "segment.jitter.ms", "5", "max.compaction.lag.ms", "7",
		"min.compaction.lag.ms", "0", "message.format.version", "2.8", "message.downconversion.enable", "false",
		"follower.replication.throttled.replicas", "0:1,1:1", "leader.replication.throttled.replicas", "*",
		"max.message.bytes", "1000000000", "message.timestamp.difference.max.ms", "9223372036854775807",
	}
	if made := ask[*kmsg.CreateTopicsResponse](c, newTopic("orders", 1, values...)).Topics[0]; made.ErrorCode != 0 {
		t.Fatalf("%+v: %s", made, *made.ErrorMessage)
	}
	b.topic("other", 1)
	if code := alter(c, "other", values...); code != 0 {
		t.Fatalf("code %d", code)
	}
	for range 2 {
		mustHave(c, "orders", values...)
		mustHave(c, "other", values...)
		c.publish("orders", 0, messages(3))
		if out := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, batchOf(b.broker.Limits.MaxBatch())}))); out.ErrorCode != kerr.MessageTooLarge.Code {
			t.Errorf("a batch above the broker's limit: %+v", out)
		}
		b.restart()
		c = b.dial()
	}
	for _, kept := range broker.KeptSettings {
		got := described(c, "orders", kept.Name)
		if got.ReadOnly || got.ConfigType == 0 {
			t.Errorf("%+v", got)
		}
		if code := alter(c, "other", kept.Name, kept.Default); code != 0 {
			t.Errorf("the default of %s, %q: code %d", kept.Name, kept.Default, code)
		}
	}
	if b.book.Lines("level=WARN") != nil {
		t.Errorf("%q", b.book.Lines("level=WARN"))
	}
}

func TestElementsAreAppendedToListsAndSubtracted(t *testing.T) {
	const appends, subtracts = kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	const name = "leader.replication.throttled.replicas"
	for i, step := range []struct {
		op          kmsg.IncrementalAlterConfigOp
		value, want string
	}{
		{appends, "0:1", "0:1"},
		{appends, " 1:1, 0:1", "0:1,1:1"},
		{subtracts, "0:1,7:7", "1:1"},
		{subtracts, "1:1", ""},
	} {
		if code := alterList(c, "orders", step.op, name, step.value); code != 0 {
			t.Fatalf("step %d: code %d", i, code)
		}
		mustHave(c, "orders", name, step.want)
	}
	if code := alterList(c, "orders", appends, "cleanup.policy", "delete"); code != 0 {
		t.Errorf("an element that the default has: code %d", code)
	}
}

func TestBlanksAroundAValueDoNotCount(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	if code := alter(c, "orders", "retention.ms", " 5000 ", "cleanup.policy", "delete ", "retention.bytes", "\t1MB"); code != 0 {
		t.Fatalf("code %d", code)
	}
	mustHave(c, "orders", "retention.ms", "5000", "cleanup.policy", "delete", "retention.bytes", "1000000")
}

// A topic can't ask for more syncs than the broker makes.
func TestATopicIsNotPromisedSyncsThatDoNotHappen(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{SyncEvery: 100 * time.Millisecond}})
	b.topic("orders", 1)
	c := b.dial()
	for _, test := range []struct {
		name, value string
		want        int16
	}{
		{"flush.messages", "1", kerr.InvalidConfig.Code},
		{"flush.ms", "99", kerr.InvalidConfig.Code},
		{"flush.ms", "100", 0},
		{"flush.messages", "9223372036854775807", 0},
	} {
		if code := alter(c, "orders", test.name, test.value); code != test.want {
			t.Errorf("%+v: code %d", test, code)
		}
	}
}

func TestTheBrokersConfigurationShowsItsFlags(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{MinSession: time.Second}, options: func(o *broker.Options) {
		o.NoAutoCreate, o.OffsetsRetention = true, 90*time.Second
	}})
	c := b.dial()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "0"}}
	told := make(map[string]string)
	for _, config := range ask[*kmsg.DescribeConfigsResponse](c, req).Resources[0].Configs {
		told[config.Name] = fmt.Sprint(*config.Value, " ", config.Source)
	}
	for name, want := range map[string]string{
		"auto.create.topics.enable":     fmt.Sprint("false ", kmsg.ConfigSourceStaticBrokerConfig),
		"group.min.session.timeout.ms":  fmt.Sprint("1000 ", kmsg.ConfigSourceStaticBrokerConfig),
		"group.max.session.timeout.ms":  fmt.Sprint("1800000 ", kmsg.ConfigSourceDefaultConfig),
		"offsets.retention.minutes":     fmt.Sprint("2 ", kmsg.ConfigSourceStaticBrokerConfig),
		"num.partitions":                fmt.Sprint("1 ", kmsg.ConfigSourceDefaultConfig),
		"log.segment.bytes":             fmt.Sprint("1073741824 ", kmsg.ConfigSourceDefaultConfig),
		"inter.broker.protocol.version": fmt.Sprint("3.9-IV0 ", kmsg.ConfigSourceDefaultConfig),
	} {
		if told[name] != want {
			t.Errorf("%s is %q, want %q", name, told[name], want)
		}
	}
	for version := int16(0); version <= 13; version++ { // no topic is made
		resp := ask[*kmsg.MetadataResponse](c, metadataFor(version, "orders"))
		wantCode(t, fmt.Sprint("version ", version), resp.Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
	}
	wantCode(t, "produce", produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, messages(1)}))).ErrorCode, kerr.UnknownTopicOrPartition)
	if made := ask[*kmsg.CreateTopicsResponse](c, newTopic("orders", 1)).Topics[0]; made.ErrorCode != 0 {
		t.Errorf("%+v", made)
	}
}

func TestTheShortestSessionTimeoutIsAFlag(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{MinSession: time.Second}})
	b.topic("orders", 1)
	for millis, want := range map[int32]*kerr.Error{999: kerr.InvalidSessionTimeout, 1000: nil} {
		m := b.member(3)
		req := m.joinRequest()
		req.SessionTimeoutMillis = millis
		resp := ask[*kmsg.JoinGroupResponse](m.client, req)
		wantCode(t, fmt.Sprint(millis), resp.ErrorCode, want)
	}
}

func TestOffsetsThatAreKeptForEverAreSaidToBeKeptAsLongAsKafkaKnows(t *testing.T) {
	c := start(t, setup{}).dial()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "0", ConfigNames: []string{"offsets.retention.minutes"}}}
	configs := ask[*kmsg.DescribeConfigsResponse](c, req).Resources[0].Configs
	if len(configs) != 1 || *configs[0].Value != "2147483647" {
		t.Errorf("told %+v", configs)
	}
}
