package kafka_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/kafka"
)

// newTopic is a request to make a topic, of the newest version.
func newTopic(name string, partitions int32, configs ...string) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, -1
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		t.Configs = append(t.Configs, c)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func TestCreateTopicsMakesATopicInEveryVersion(t *testing.T) {
	b := start(t, setup{})
	c := b.dial()
	for version := int16(0); version <= 7; version++ {
		req := newTopic(strings.Repeat("t", int(version)+1), 3)
		req.Version = version
		resp := ask[*kmsg.CreateTopicsResponse](c, req).Topics[0]
		made, err := b.broker.Topic(req.Topics[0].Topic)
		if resp.ErrorCode != 0 || err != nil || len(made.Partitions()) != 3 {
			t.Errorf("version %d: %+v, %v", version, resp, err)
		}
		if version >= 5 && (resp.NumPartitions != 3 || resp.ReplicationFactor != 1 || len(resp.Configs) == 0) {
			t.Errorf("version %d: %+v", version, resp)
		}
		if version >= 7 && resp.TopicID != made.ID {
			t.Errorf("version %d: the id is %x", version, resp.TopicID)
		}
	}
}

func TestCreateTopicsSaysWhatIsWrong(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	replicas := func(n int16) *kmsg.CreateTopicsRequest {
		req := newTopic("new", 1)
		req.Topics[0].ReplicationFactor = n
		return req
	}
	assigned := func(broker int32, partitions ...int32) *kmsg.CreateTopicsRequest {
		req := newTopic("assigned", -1)
		for _, p := range partitions {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = p, []int32{broker}
			req.Topics[0].ReplicaAssignment = append(req.Topics[0].ReplicaAssignment, a)
		}
		return req
	}
	twice := newTopic("twice", 1)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	for name, test := range map[string]struct {
		req  *kmsg.CreateTopicsRequest
		want *kerr.Error
	}{
		"exists":             {newTopic("orders", 1), kerr.TopicAlreadyExists},
		"name":               {newTopic("or/ders", 1), kerr.InvalidTopicException},
		"internal":           {newTopic("__mbus_orders", 1), kerr.InvalidTopicException},
		"no partitions":      {newTopic("new", 0), kerr.InvalidPartitions},
		"many partitions":    {newTopic("new", broker.MaxPartitions+1), kerr.InvalidPartitions},
		"three replicas":     {replicas(3), kerr.InvalidReplicationFactor},
		"another broker":     {assigned(7, 0), kerr.InvalidReplicaAssignment},
		"a partition twice":  {assigned(0, 0, 0), kerr.InvalidReplicaAssignment},
		"a partition beyond": {assigned(0, 0, 2), kerr.InvalidReplicaAssignment},
		"unknown config":     {newTopic("new", 1, "colour", "blue"), kerr.InvalidConfig},
		"no retention":       {newTopic("new", 1, "retention.ms", "-2"), kerr.InvalidConfig},
		"compaction":         {newTopic("new", 1, "cleanup.policy", "compact"), kerr.InvalidConfig},
		"twice":              {twice, kerr.InvalidRequest},
	} {
		resp := ask[*kmsg.CreateTopicsResponse](c, test.req).Topics[0]
		if resp.ErrorCode != test.want.Code || resp.ErrorMessage == nil {
			t.Errorf("%s: code %d, want %v", name, resp.ErrorCode, test.want)
		}
	}
	if n := len(b.broker.Topics()); n != 1 {
		t.Errorf("there are %d topics", n)
	}
	for _, good := range []*kmsg.CreateTopicsRequest{assigned(0, 1, 0), newTopic("new", -1, "cleanup.policy", "delete")} {
		if resp := ask[*kmsg.CreateTopicsResponse](c, good).Topics[0]; resp.ErrorCode != 0 {
			t.Errorf("%s: %+v", good.Topics[0].Topic, resp)
		}
	}
	validate := newTopic("not-made", 1)
	validate.ValidateOnly = true
	if resp := ask[*kmsg.CreateTopicsResponse](c, validate).Topics[0]; resp.ErrorCode != 0 || resp.NumPartitions != 1 {
		t.Errorf("validating: %+v", resp)
	}
	if _, err := b.broker.Topic("not-made"); err == nil {
		t.Error("validating has made a topic")
	}
}

func TestDeleteTopicsByNameAndByID(t *testing.T) {
	b := start(t, setup{})
	c := b.dial()
	for version := int16(0); version <= 6; version++ {
		made := b.topic("orders", 2)
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version = version
		req.TopicNames = []string{"orders", "nosuch"}
		byID, unknown := kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic()
		byID.TopicID, unknown.TopicID = made.ID, [16]byte{1}
		req.Topics = append(req.Topics, byID, unknown)
		resp := ask[*kmsg.DeleteTopicsResponse](c, req)
		want := kerr.UnknownTopicOrPartition
		if version == 6 {
			want = kerr.UnknownTopicID
		}
		if resp.Topics[0].ErrorCode != 0 || *resp.Topics[0].Topic != "orders" || resp.Topics[1].ErrorCode != want.Code {
			t.Errorf("version %d: %+v", version, resp)
		}
		if _, err := b.broker.Topic("orders"); err == nil {
			t.Errorf("version %d: the topic is still there", version)
		}
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{broker.PositionsTopic}
	if resp := ask[*kmsg.DeleteTopicsResponse](c, req); resp.Topics[0].ErrorCode == 0 {
		t.Error("the broker's own topic is gone")
	}
}

func TestATopicMadeAnewIsAnotherOne(t *testing.T) {
	b := start(t, setup{})
	first := b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(3))
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{"orders"}
	ask[*kmsg.DeleteTopicsResponse](c, req)
	if again := b.topic("orders", 1); again.ID == first.ID {
		t.Error("it has the same id")
	}
	if base := c.publish("orders", 0, messages(1)); base != 0 {
		t.Errorf("its first offset is %d", base)
	}
}

func TestDeleteRecordsMovesTheLogStartOffset(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	for range 3 {
		c.publish("orders", 0, messages(2))
	}
	for _, test := range []struct {
		topic        string
		offset, want int64
		code         int16
	}{
		{"orders", 3, 3, 0},
		{"orders", 1, 3, 0}, // it never moves back
		{"orders", 7, -1, kerr.OffsetOutOfRange.Code},
		{"orders", -2, -1, kerr.OffsetOutOfRange.Code},
		{"nosuch", 0, -1, kerr.UnknownTopicOrPartition.Code},
		{"orders", -1, 6, 0},
	} {
		for version := int16(0); version <= 2; version++ {
			out := c.deleteRecords(version, test.topic, test.offset)
			if out.ErrorCode != test.code || out.LowWatermark != test.want {
				t.Errorf("version %d: to %d: %+v", version, test.offset, out)
			}
		}
	}
}

// deleteRecords deletes what lies before the offset in partition 0.
func (c *client) deleteRecords(version int16, topic string, offset int64) kmsg.DeleteRecordsResponseTopicPartition {
	c.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version = version
	in := kmsg.NewDeleteRecordsRequestTopic()
	in.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = offset
	in.Partitions = append(in.Partitions, p)
	req.Topics = append(req.Topics, in)
	return ask[*kmsg.DeleteRecordsResponse](c, req).Topics[0].Partitions[0]
}

func TestOffsetForLeaderEpochKnowsOneEpoch(t *testing.T) {
	b := start(t, setup{})
	own := b.topic("orders", 1).LeaderEpoch(0)
	c := b.dial()
	c.publish("orders", 0, messages(4))
	c.publish("orders", 0, messages(3))
	if out := c.deleteRecords(2, "orders", 4); out.LowWatermark != 4 {
		t.Fatalf("%+v", out)
	}
	for version := int16(2); version <= 4; version++ {
		for _, test := range []struct {
			current, epoch int32
			code           int16
			told           int32
			want           int64
		}{
			{own, own, 0, own, 7},
			{-1, own, 0, own, 7},
			{own, own - 1, 0, own - 1, 4}, // of a topic before: what is here comes after it
			{-1, 0, 0, own, 7},            // an epoch from elsewhere: no truncation
			{-1, -1, 0, -1, -1},
			{-1, own + 5, 0, -1, -1},
			{own + 3, own, kerr.UnknownLeaderEpoch.Code, -1, -1},
			{own - 1, own, kerr.FencedLeaderEpoch.Code, -1, -1},
		} {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.Version = version
			topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
			topic.Topic = "orders"
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.CurrentLeaderEpoch, p.LeaderEpoch = test.current, test.epoch
			topic.Partitions = append(topic.Partitions, p)
			req.Topics = append(req.Topics, topic)
			out := ask[*kmsg.OffsetForLeaderEpochResponse](c, req).Topics[0].Partitions[0]
			if out.ErrorCode != test.code || out.LeaderEpoch != test.told || out.EndOffset != test.want {
				t.Errorf("version %d, %+v: %+v", version, test, out)
			}
		}
	}
}

func TestDescribeConfigsTellsOfTopicsAndTheBroker(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{NodeID: 3}})
	b.topic("orders", 1)
	c := b.dial()
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Version, req.IncludeDocumentation = version, true
		for _, r := range []struct {
			kind kmsg.ConfigResourceType
			name string
			only []string
		}{
			{kmsg.ConfigResourceTypeTopic, "orders", nil},
			{kmsg.ConfigResourceTypeTopic, "orders", []string{"retention.ms"}},
			{kmsg.ConfigResourceTypeBroker, "3", nil},
			{kmsg.ConfigResourceTypeTopic, "nosuch", nil},
			{kmsg.ConfigResourceTypeBroker, "4", nil},
		} {
			in := kmsg.NewDescribeConfigsRequestResource()
			in.ResourceType, in.ResourceName, in.ConfigNames = r.kind, r.name, r.only
			req.Resources = append(req.Resources, in)
		}
		out := ask[*kmsg.DescribeConfigsResponse](c, req).Resources
		names := func(i int) (names []string) {
			for _, c := range out[i].Configs {
				names = append(names, c.Name)
			}
			return names
		}
		if n := names(0); !slices.Contains(n, "retention.ms") || !slices.Contains(n, "max.message.bytes") {
			t.Errorf("version %d: a topic has %q", version, n)
		}
		if n := names(1); !slices.Equal(n, []string{"retention.ms"}) {
			t.Errorf("version %d: one was asked for, %q came", version, n)
		}
		if n := names(2); !slices.Contains(n, "node.id") {
			t.Errorf("version %d: the broker has %q", version, n)
		}
		if out[3].ErrorCode != kerr.UnknownTopicOrPartition.Code || out[4].ErrorCode != kerr.InvalidRequest.Code {
			t.Errorf("version %d: %+v %+v", version, out[3], out[4])
		}
	}
}

func TestWhatCanNotBeSetIsAcceptedIfItHoldsAnyway(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	for _, test := range []struct {
		topic, name, value string
		want               int16
	}{
		{"orders", "cleanup.policy", "delete", 0},
		{"orders", "cleanup.policy", "compact", kerr.InvalidConfig.Code},
		{"orders", "colour", "blue", kerr.InvalidConfig.Code},
		{"nosuch", "cleanup.policy", "delete", kerr.UnknownTopicOrPartition.Code},
	} {
		for version := int16(0); version <= 2; version++ {
			req := kmsg.NewPtrAlterConfigsRequest()
			req.Version = version
			r := kmsg.NewAlterConfigsRequestResource()
			r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, test.topic
			r.Configs = append(r.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: test.name, Value: &test.value})
			req.Resources = append(req.Resources, r)
			if out := ask[*kmsg.AlterConfigsResponse](c, req).Resources[0]; out.ErrorCode != test.want {
				t.Errorf("alter, version %d: %+v: %+v", version, test, out)
			}
		}
		for version := int16(0); version <= 1; version++ {
			req := kmsg.NewPtrIncrementalAlterConfigsRequest()
			req.Version = version
			r := kmsg.NewIncrementalAlterConfigsRequestResource()
			r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, test.topic
			r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: test.name, Value: &test.value})
			req.Resources = append(req.Resources, r)
			if out := ask[*kmsg.IncrementalAlterConfigsResponse](c, req).Resources[0]; out.ErrorCode != test.want {
				t.Errorf("incremental, version %d: %+v: %+v", version, test, out)
			}
		}
	}
}

func TestDescribeLogDirsTellsTheSizeOfEachPartition(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 2)
	c := b.dial()
	c.publish("orders", 1, messages(4))
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Version = version
		topic := kmsg.NewDescribeLogDirsRequestTopic()
		topic.Topic, topic.Partitions = "orders", []int32{1}
		req.Topics = append(req.Topics, topic)
		dirs := ask[*kmsg.DescribeLogDirsResponse](c, req).Dirs
		if p := dirs[0].Topics[0].Partitions; len(p) != 1 || p[0].Size != int64(len(messages(4))) {
			t.Errorf("version %d: %+v", version, p)
		}
		req.Topics = nil
		dirs = ask[*kmsg.DescribeLogDirsResponse](c, req).Dirs
		if p := dirs[0].Topics[0].Partitions; len(p) != 2 {
			t.Errorf("version %d: all: %+v", version, p)
		}
	}
}

func TestDescribeClusterTellsOfThisBroker(t *testing.T) {
	b := start(t, setup{kafka: kafka.Options{Advertise: "bus.example.com:19092", NodeID: 3, ClusterID: "test"}})
	for version := int16(0); version <= 1; version++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version = version
		resp := ask[*kmsg.DescribeClusterResponse](b.dial(), req)
		if n := resp.Brokers; len(n) != 1 || n[0].Host != "bus.example.com" || n[0].Port != 19092 || n[0].NodeID != 3 ||
			resp.ClusterID != "test" || resp.ControllerID != 3 {
			t.Errorf("version %d: %+v", version, resp)
		}
	}
}

// A topic whose directory is missing is no unknown one, and can be deleted by name.
func TestMissingTopicIsAStorageErrorAndCanBeDeleted(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	if err := os.Rename(filepath.Join(b.setup.dir, "topics", "orders"), filepath.Join(t.TempDir(), "orders")); err != nil {
		t.Fatal(err)
	}
	b.restart()
	c := b.dial()
	meta := kmsg.NewPtrMetadataRequest()
	meta.AllowAutoTopicCreation = true
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = kmsg.StringPtr("orders")
	meta.Topics = append(meta.Topics, asked)
	if out := ask[*kmsg.MetadataResponse](c, meta).Topics[0]; out.ErrorCode != kerr.KafkaStorageError.Code {
		t.Errorf("metadata: %+v", out)
	}
	if out := ask[*kmsg.CreateTopicsResponse](c, newTopic("orders", 1)).Topics[0]; out.ErrorCode != kerr.KafkaStorageError.Code {
		t.Errorf("making it: %+v", out)
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{"orders"}
	if out := ask[*kmsg.DeleteTopicsResponse](c, req).Topics[0]; out.ErrorCode != 0 {
		t.Errorf("deleting it: %+v", out)
	}
	if out := ask[*kmsg.CreateTopicsResponse](c, newTopic("orders", 1)).Topics[0]; out.ErrorCode != 0 {
		t.Errorf("creating it again: %+v", out)
	}
}

// The topics of one request are made at the same time, and answered in its order.
func TestManyTopicsOfOneRequest(t *testing.T) {
	b := start(t, setup{})
	req := newTopic("orders-0", 1)
	for i := 1; i < 150; i++ {
		more := req.Topics[0]
		more.Topic = fmt.Sprint("orders-", i)
		req.Topics = append(req.Topics, more)
	}
	req.Topics[7].Topic = "orders-8" // twice
	for i, out := range ask[*kmsg.CreateTopicsResponse](b.dial(), req).Topics {
		_, err := b.broker.Topic(fmt.Sprint("orders-", i))
		if twice := i == 7 || i == 8; out.Topic != req.Topics[i].Topic || (out.ErrorCode != 0) != twice || (err != nil) != twice {
			t.Errorf("topic %d: %+v, %v", i, out, err)
		}
	}
	meta := kmsg.NewPtrMetadataRequest()
	meta.AllowAutoTopicCreation = true
	for i := range 150 {
		asked := kmsg.NewMetadataRequestTopic()
		asked.Topic = kmsg.StringPtr(fmt.Sprint("bills-", i))
		meta.Topics = append(meta.Topics, asked)
	}
	for i, out := range ask[*kmsg.MetadataResponse](b.dial(), meta).Topics {
		if out.ErrorCode != 0 || *out.Topic != fmt.Sprint("bills-", i) || len(out.Partitions) != 1 {
			t.Errorf("topic %d: %+v", i, out)
		}
	}
}
