package kafka_test

import (
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// errorCodes are all in a response, wherever they stand.
func errorCodes(v reflect.Value) (codes []int16) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			codes = errorCodes(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			codes = append(codes, errorCodes(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "ErrorCode" {
				codes = append(codes, int16(v.Field(i).Int()))
			} else {
				codes = append(codes, errorCodes(v.Field(i))...)
			}
		}
	}
	return codes
}

// guarded are requests of each kind that asks for access, with the code where it is denied,
// of versions in which topics have names.
func guarded() map[int16]struct {
	req  kmsg.Request
	code *kerr.Error
} {
	topic, group, cluster := kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed
	type guard = struct {
		req  kmsg.Request
		code *kerr.Error
	}
	orders := "orders"
	all := map[int16]guard{
		0:  {produceRequest(write{orders, 0, messages(1)}), topic},
		1:  {fetchRequest(11, read{orders, 0, 0}), topic},
		2:  {&kmsg.ListOffsetsRequest{Version: 5, Topics: []kmsg.ListOffsetsRequestTopic{{Topic: orders, Partitions: []kmsg.ListOffsetsRequestTopicPartition{{CurrentLeaderEpoch: -1}}}}}, topic},
		3:  {&kmsg.MetadataRequest{Version: 9, Topics: []kmsg.MetadataRequestTopic{{Topic: &orders}}}, topic},
		8:  {&kmsg.OffsetCommitRequest{Version: 8, Group: "g", Generation: -1, Topics: []kmsg.OffsetCommitRequestTopic{{Topic: orders, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{}}}}}, group},
		9:  {&kmsg.OffsetFetchRequest{Version: 8, Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g"}}}, group},
		10: {&kmsg.FindCoordinatorRequest{Version: 4, CoordinatorKeys: []string{"g"}}, group},
		11: {&kmsg.JoinGroupRequest{Version: 5, Group: "g", SessionTimeoutMillis: 10_000, ProtocolType: "consumer", Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range"}}}, group},
		12: {&kmsg.HeartbeatRequest{Version: 3, Group: "g"}, group},
		13: {&kmsg.LeaveGroupRequest{Version: 3, Group: "g"}, group},
		14: {&kmsg.SyncGroupRequest{Version: 3, Group: "g"}, group},
		15: {&kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{"g"}}, group},
		19: {&kmsg.CreateTopicsRequest{Version: 5, Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "new", NumPartitions: 1, ReplicationFactor: 1}}}, topic},
		20: {&kmsg.DeleteTopicsRequest{Version: 5, TopicNames: []string{orders}}, topic},
		21: {&kmsg.DeleteRecordsRequest{Version: 2, Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: orders, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}}}}, topic},
		22: {&kmsg.InitProducerIDRequest{Version: 3}, cluster},
		23: {&kmsg.OffsetForLeaderEpochRequest{Version: 3, Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: orders, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: -1}}}}}, topic},
		32: {&kmsg.DescribeConfigsRequest{Version: 3, Resources: []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: orders}}}, topic},
		33: {&kmsg.AlterConfigsRequest{Version: 2, Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: orders}}}, topic},
		35: {&kmsg.DescribeLogDirsRequest{Version: 4}, cluster},
		37: {&kmsg.CreatePartitionsRequest{Version: 2, Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: orders, Count: 2}}}, topic},
		42: {&kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"g"}}, group},
		44: {&kmsg.IncrementalAlterConfigsRequest{Version: 1, Resources: []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: orders}}}, topic},
		47: {&kmsg.OffsetDeleteRequest{Version: 0, Group: "g", Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: orders, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}}, group},
		60: {&kmsg.DescribeClusterRequest{Version: 1, EndpointType: 1}, cluster},
		75: {&kmsg.DescribeTopicPartitionsRequest{Version: 0, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: orders}}, ResponsePartitionLimit: 10}, topic},
	}
	return all
}

// open are the kinds of requests that need no access, and the list of groups, which has
// those that may be seen.
var openKeys = []int16{16, 17, 18, 36, 68}

func TestEachRequestAsksForAccess(t *testing.T) {
	var denied atomic.Bool
	b := start(t, setup{options: func(o *broker.Options) {
		o.Allow = func(broker.Principal, broker.Access, broker.Resource) bool { return !denied.Load() }
	}})
	b.topic("orders", 1)
	c := b.dial()
	c.publish("orders", 0, messages(1))
	requests := guarded()
	versions := ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest())
	denied.Store(true)
	for _, k := range versions.ApiKeys {
		g, known := requests[k.ApiKey]
		if !known {
			if !slices.Contains(openKeys, k.ApiKey) {
				t.Errorf("%s: does it ask for access?", kmsg.NameForKey(k.ApiKey))
			}
			continue
		}
		c := b.dial()
		c.send(g.req)
		if codes := errorCodes(reflect.ValueOf(c.receive(g.req))); !slices.Contains(codes, g.code.Code) {
			t.Errorf("%s: the error codes are %v, want %v", kmsg.NameForKey(k.ApiKey), codes, g.code)
		}
	}
	if groups := ask[*kmsg.ListGroupsResponse](c, kmsg.NewPtrListGroupsRequest()); len(groups.Groups) > 0 {
		t.Errorf("the groups are listed: %v", groups.Groups)
	}
	if all := ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest()); len(all.Topics) > 0 {
		t.Errorf("the topics are listed: %v", all.Topics)
	}
	denied.Store(false)
	if p := fetched(ask[*kmsg.FetchResponse](c, fetchRequest(11, read{"orders", 0, 0}))); p.ErrorCode != 0 || p.HighWatermark != 1 {
		t.Errorf("what was refused was done: %+v", p)
	}
}
