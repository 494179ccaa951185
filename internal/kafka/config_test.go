package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/kafka"
)

// alter sets and deletes configurations of a topic, one by one: a value of "-" stands
// for DELETE. It returns the code.
func alter(c *client, topic string, configs ...string) int16 {
	c.t.Helper()
	return ask[*kmsg.IncrementalAlterConfigsResponse](c, alterRequest(topic, configs...)).Resources[0].ErrorCode
}

func alterRequest(topic string, configs ...string) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for i := 0; i < len(configs); i += 2 {
		in := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		if in.Name = configs[i]; configs[i+1] == "-" {
			in.Op = kmsg.IncrementalAlterConfigOpDelete
		} else {
			in.Value = &configs[i+1]
		}
		r.Configs = append(r.Configs, in)
	}
	req.Resources = append(req.Resources, r)
	return req
}

// replace replaces all configurations of a topic, and returns the code.
func replace(c *client, check bool, topic string, configs ...string) int16 {
	c.t.Helper()
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version, req.ValidateOnly = 2, check
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for i := 0; i < len(configs); i += 2 {
		r.Configs = append(r.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: configs[i], Value: &configs[i+1]})
	}
	req.Resources = append(req.Resources, r)
	return ask[*kmsg.AlterConfigsResponse](c, req).Resources[0].ErrorCode
}

// described is one configuration of a topic.
func described(c *client, topic, name string) kmsg.DescribeConfigsResponseResourceConfig {
	c.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms = 4, true
	in := kmsg.NewDescribeConfigsRequestResource()
	in.ResourceType, in.ResourceName, in.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
	req.Resources = append(req.Resources, in)
	out := ask[*kmsg.DescribeConfigsResponse](c, req).Resources[0]
	if out.ErrorCode != 0 || len(out.Configs) != 1 {
		c.t.Fatalf("%s of %s: %+v", name, topic, out)
	}
	return out.Configs[0]
}

// mustHave compares a topic's configurations; "-" says that it has none of its own.
func mustHave(c *client, topic string, configs ...string) {
	c.t.Helper()
	for i := 0; i < len(configs); i += 2 {
		got := described(c, topic, configs[i])
		own := got.Source == kmsg.ConfigSourceDynamicTopicConfig
		if want := configs[i+1]; own != (want != "-") || own && *got.Value != want {
			c.t.Errorf("%s is %s, its own: %v; want %s", configs[i], *got.Value, own, want)
		}
	}
}

func TestATopicsConfigurationIsSetShownAndKept(t *testing.T) {
	b := start(t, setup{})
	c := b.dial()
	made := ask[*kmsg.CreateTopicsResponse](c, newTopic("orders", 1, "retention.ms", "1000", "message.timestamp.type", "LogAppendTime")).Topics[0]
	if made.ErrorCode != 0 {
		t.Fatalf("%+v", made)
	}
	for _, out := range made.Configs {
		if out.Name == "retention.ms" && (*out.Value != "1000" || out.ReadOnly || out.Source != int8(kmsg.ConfigSourceDynamicTopicConfig)) {
			t.Errorf("the answer says %+v", out)
		}
	}
	steps := []struct {
		change func() int16
		want   []string
	}{
		{func() int16 { return 0 }, []string{"retention.ms", "1000", "message.timestamp.type", "LogAppendTime", "retention.bytes", "-"}},
		{
			func() int16 {
				return alter(c, "orders", "retention.ms", "-", "retention.bytes", "5000", "max.message.bytes", "1000")
			},
			[]string{"retention.ms", "-", "retention.bytes", "5000", "max.message.bytes", "1000", "message.timestamp.type", "LogAppendTime"},
		},
		{func() int16 { return alter(c, "orders", "retention.ms", "-1", "retention.bytes", "-") }, []string{"retention.ms", "-1", "retention.bytes", "-", "max.message.bytes", "1000"}},
		{func() int16 { return replace(c, false, "orders", "retention.bytes", "77") }, []string{"retention.ms", "-", "retention.bytes", "77", "max.message.bytes", "-"}},
		{func() int16 { return replace(c, false, "orders") }, []string{"retention.bytes", "-"}},
	}
	for i, step := range steps {
		if code := step.change(); code != 0 {
			t.Fatalf("step %d: code %d", i, code)
		}
		mustHave(c, "orders", step.want...)
		b.restart()
		c = b.dial()
		mustHave(c, "orders", step.want...)
	}
}

// One way to write them everywhere; Kafka's tools read numbers.
func TestDurationsAndSizesOfConfigurationsAreShownAsNumbers(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	if code := alter(c, "orders", "retention.ms", "7d", "retention.bytes", "10GB", "max.message.bytes", "64KiB", "message.timestamp.after.max.ms", "1d12h"); code != 0 {
		t.Fatalf("code %d", code)
	}
	mustHave(c, "orders", "retention.ms", "604800000", "retention.bytes", "10000000000", "max.message.bytes", "65536", "message.timestamp.after.max.ms", "129600000")
	for _, config := range [][2]string{{"retention.ms", "7 days"}, {"retention.ms", "1us"}, {"retention.ms", "-7d"}, {"retention.bytes", "much"}, {"retention.bytes", "-1k"}} {
		if code := alter(c, "orders", config[0], config[1]); code != kerr.InvalidConfig.Code {
			t.Errorf("%v: code %d", config, code)
		}
	}
	mustHave(c, "orders", "retention.ms", "604800000", "retention.bytes", "10000000000")
}

func TestDescribeConfigsSaysWhereAValueComesFrom(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	if code := alter(c, "orders", "max.message.bytes", "1000"); code != 0 {
		t.Fatalf("code %d", code)
	}
	set := described(c, "orders", "max.message.bytes")
	if *set.Value != "1000" || set.ReadOnly || set.Source != kmsg.ConfigSourceDynamicTopicConfig || set.ConfigType != kmsg.ConfigTypeInt {
		t.Errorf("%+v", set)
	}
	beneath := fmt.Sprint(b.broker.Limits.MaxBatch())
	if s := set.ConfigSynonyms; len(s) != 2 || s[0].Name != "max.message.bytes" || *s[0].Value != "1000" ||
		s[1].Name != "message.max.bytes" || *s[1].Value != beneath || s[1].Source != kmsg.ConfigSourceDefaultConfig {
		t.Errorf("%+v", s)
	}
	for name, value := range map[string]string{"min.insync.replicas": "1", "retention.bytes": "-1", "cleanup.policy": "delete", "max.message.bytes": beneath} {
		if name == "max.message.bytes" {
			alter(c, "orders", name, "-")
		}
		if got := described(c, "orders", name); *got.Value != value || got.ReadOnly || got.Source != kmsg.ConfigSourceDefaultConfig || len(got.ConfigSynonyms) != 0 {
			t.Errorf("what nobody has set: %+v", got)
		}
	}
	unset := described(c, "orders", "retention.ms")
	if *unset.Value != "-1" || unset.ReadOnly || unset.Source == kmsg.ConfigSourceDynamicTopicConfig {
		t.Errorf("%+v", unset)
	}
}

func TestSettingsShowWhenMessagesAreSynced(t *testing.T) {
	for every, want := range map[time.Duration][2]string{
		0:                      {"flush.messages", "1"},
		100 * time.Millisecond: {"flush.ms", "100"},
	} {
		b := start(t, setup{kafka: kafka.Options{SyncEvery: every}})
		b.topic("orders", 1)
		if got := described(b.dial(), "orders", want[0]); *got.Value != want[1] || got.Source != kmsg.ConfigSourceStaticBrokerConfig {
			t.Errorf("synced each %v: %+v", every, got)
		}
	}
}

func TestAConfigurationThatCanNotBeIsRefusedAndChangesNothing(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	if code := alter(c, "orders", "retention.ms", "1000"); code != 0 {
		t.Fatalf("code %d", code)
	}
	for _, configs := range [][]string{
		{"colour", "blue"},
		{"retention.ms", "-2"},
		{"retention.ms", "a day"},
		{"retention.bytes", ""},
		{"max.message.bytes", "1"},
		{"max.message.bytes", fmt.Sprint(1 << 31)},
		{"message.timestamp.type", "logappendtime"},
		{"cleanup.policy", "compact"},
		{"cleanup.policy", "compact,delete"},
		{"compression.type", "rar"},
		{"min.insync.replicas", "0"},
		{"min.cleanable.dirty.ratio", "1.1"},
		{"min.cleanable.dirty.ratio", "NaN"},
		{"segment.ms", "0"},
		{"segment.bytes", "1GiB"},
		{"preallocate", "yes"},
		{"remote.storage.enable", "true"},
		{"leader.replication.throttled.replicas", "all"},
		{"retention.bytes", "5000", "colour", "blue"}, // all or nothing
	} {
		if code := alter(c, "orders", configs...); code != kerr.InvalidConfig.Code {
			t.Errorf("%q: code %d", configs, code)
		}
		if code := replace(c, false, "orders", configs...); code != kerr.InvalidConfig.Code {
			t.Errorf("%q in place of all: code %d", configs, code)
		}
		if out := ask[*kmsg.CreateTopicsResponse](c, newTopic("new", 1, configs...)).Topics[0]; out.ErrorCode != kerr.InvalidConfig.Code {
			t.Errorf("%q: a topic is made: %+v", configs, out)
		}
	}
	for want, codes := range map[*kerr.Error]int16{
		kerr.InvalidRequest:          alter(c, "orders", "retention.ms", "1", "retention.ms", "2"),
		kerr.UnknownTopicOrPartition: alter(c, "nosuch", "retention.ms", "1"),
	} {
		if codes != want.Code {
			t.Errorf("code %d, want %v", codes, want)
		}
	}
	for _, test := range []struct {
		op          kmsg.IncrementalAlterConfigOp
		name, value string
	}{
		{kmsg.IncrementalAlterConfigOpAppend, "retention.ms", "1"},
		{kmsg.IncrementalAlterConfigOpSubtract, "compression.type", "gzip"},
		{kmsg.IncrementalAlterConfigOpAppend, "cleanup.policy", "compact"},
		{kmsg.IncrementalAlterConfigOpSubtract, "cleanup.policy", "delete"},
		{kmsg.IncrementalAlterConfigOpAppend, "leader.replication.throttled.replicas", "x"},
	} {
		if code := alterList(c, "orders", test.op, test.name, test.value); code != kerr.InvalidConfig.Code {
			t.Errorf("%+v: code %d", test, code)
		}
	}
	mustHave(c, "orders", "retention.ms", "1000", "retention.bytes", "-", "max.message.bytes", "-")
}

func TestValidatingAConfigurationChangesNothing(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := alterRequest("orders", "retention.ms", "1000")
	req.ValidateOnly = true
	if out := ask[*kmsg.IncrementalAlterConfigsResponse](c, req).Resources[0]; out.ErrorCode != 0 {
		t.Errorf("%+v", out)
	}
	if code := replace(c, true, "orders", "retention.ms", "1000"); code != 0 {
		t.Errorf("code %d", code)
	}
	bad := alterRequest("orders", "retention.ms", "x")
	bad.ValidateOnly = true
	if out := ask[*kmsg.IncrementalAlterConfigsResponse](c, bad).Resources[0]; out.ErrorCode != kerr.InvalidConfig.Code {
		t.Errorf("%+v", out)
	}
	mustHave(c, "orders", "retention.ms", "-")
}

func TestProduceKeepsToTheTopicsLargestBatch(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	b.topic("other", 1)
	c := b.dial()
	p := messages(50)
	if code := alter(c, "orders", "max.message.bytes", fmt.Sprint(len(p)-1)); code != 0 {
		t.Fatalf("code %d", code)
	}
	if out := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, p}))); out.ErrorCode != kerr.MessageTooLarge.Code {
		t.Errorf("%+v", out)
	}
	c.publish("other", 0, p)
	if code := alter(c, "orders", "max.message.bytes", fmt.Sprint(len(p))); code != 0 {
		t.Fatalf("code %d", code)
	}
	c.publish("orders", 0, p)
}

func TestLogAppendTimeIsTheTimeOfTheLog(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(2)) // with the producer's times: 1000 and 1001
	if code := alter(c, "orders", "message.timestamp.type", "LogAppendTime"); code != 0 {
		t.Fatalf("code %d", code)
	}
	before := time.Now().UnixMilli()
	var last int64
	for range 3 {
		out := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, messages(2)})))
		if out.ErrorCode != 0 || out.LogAppendTime < max(before, last) || out.LogAppendTime > time.Now().UnixMilli() {
			t.Fatalf("%+v", out)
		}
		last = out.LogAppendTime
	}
	if code := alter(c, "orders", "message.timestamp.type", "-"); code != 0 {
		t.Fatalf("code %d", code)
	}
	if out := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, messages(2)}))); out.LogAppendTime != -1 {
		t.Errorf("%+v", out)
	}
	p := fetched(ask[*kmsg.FetchResponse](c, fetchRequest(newestFetch, read{"orders", 0, 0}))).RecordBatches
	if n := len(values(t, p)); n != 10 { // which checks the CRC, too
		t.Fatalf("%d records", n)
	}
	for i := range 5 {
		stored, rest, err := batch.Next(p)
		if err != nil {
			t.Fatal(err)
		}
		stamped := i > 0 && i < 4
		if stored.LogAppendTime() != stamped || stored.BaseTimestamp() != 1000 || stamped && stored.MaxTimestamp() < before ||
			!stamped && stored.MaxTimestamp() != 1001 {
			t.Errorf("batch %d: log append time %v, %d to %d", i, stored.LogAppendTime(), stored.BaseTimestamp(), stored.MaxTimestamp())
		}
		p = rest
	}
	if out := listOffsets(c, 7, before); out.Offset != 2 || out.Timestamp < before {
		t.Errorf("by time: %+v", out)
	}
}

func TestABatchThatIsSentAgainIsAnsweredWithItsLogAppendTime(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	if code := alter(c, "orders", "message.timestamp.type", "LogAppendTime"); code != 0 {
		t.Fatalf("code %d", code)
	}
	numbered := func() []byte { return batchtest.Idempotent(messages(2), 77, 0, 0) }
	first := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, numbered()})))
	if first.ErrorCode != 0 || first.LogAppendTime < 0 {
		t.Fatalf("%+v", first)
	}
	for range 2 {
		again := produced(ask[*kmsg.ProduceResponse](c, produceRequest(write{"orders", 0, numbered()})))
		if again.ErrorCode != 0 || again.BaseOffset != 0 || again.LogAppendTime != first.LogAppendTime {
			t.Errorf("%+v, the first time %+v", again, first)
		}
		b.restart()
		c = b.dial()
	}
}

func TestTheBrokersConfigurationCanNotBeAltered(t *testing.T) {
	b := start(t, setup{})
	c := b.dial()
	for value, want := range map[string]int16{"true": 0, "false": kerr.InvalidConfig.Code} {
		req := alterRequest("0", "delete.topic.enable", value)
		req.Resources[0].ResourceType = kmsg.ConfigResourceTypeBroker
		if out := ask[*kmsg.IncrementalAlterConfigsResponse](c, req).Resources[0]; out.ErrorCode != want {
			t.Errorf("%s: %+v", value, out)
		}
	}
}
