package kafka_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/kafka"
	"mbus/internal/store"
)

// A roll is the nodes of a cluster.
type roll struct{ live []broker.Node }

func (r *roll) Live() []broker.Node { return r.live }
func (r *roll) Replicas() int       { return 3 }

// threeNodes is node 2 of three, which owns the topics.
func threeNodes(t *testing.T) (*bus, *roll) {
	r := &roll{[]broker.Node{{ID: 1, Kafka: "one.example:9092"}, {ID: 2, Kafka: "two.example:9093"}, {ID: 3, Kafka: "[2001:db8::3]:9094"}}}
	return start(t, setup{
		kafka: kafka.Options{NodeID: 2}, options: func(o *broker.Options) { o.Nodes = r },
	}), r
}

func TestClientsGetAllNodesThatLive(t *testing.T) {
	b, r := threeNodes(t)
	b.topic("orders", 2)
	c := b.dial()
	const all = "1=one.example:9092 2=two.example:9093 3=2001:db8::3:9094"
	for _, want := range []string{all, "2=two.example:9093 3=2001:db8::3:9094"} {
		var brokers []string
		meta := ask[*kmsg.MetadataResponse](c, metadataFor(13, "orders"))
		for _, n := range meta.Brokers {
			brokers = append(brokers, fmt.Sprintf("%d=%s:%d", n.NodeID, n.Host, n.Port))
			if n.Rack != nil {
				t.Errorf("node %d is in rack %q", n.NodeID, *n.Rack)
			}
		}
		if got := strings.Join(brokers, " "); got != want || meta.ControllerID != 2 {
			t.Errorf("Metadata has %s, controller %d", got, meta.ControllerID)
		}
		cluster := ask[*kmsg.DescribeClusterResponse](c, describeClusterRequest())
		brokers = nil
		for _, n := range cluster.Brokers {
			brokers = append(brokers, fmt.Sprintf("%d=%s:%d", n.NodeID, n.Host, n.Port))
		}
		if got := strings.Join(brokers, " "); got != want || cluster.ControllerID != 2 {
			t.Errorf("DescribeCluster has %s, controller %d", got, cluster.ControllerID)
		}
		holders := []int32{2, 1, 3}[:]
		if want != all {
			holders = []int32{2, 3}
		}
		for _, p := range meta.Topics[0].Partitions {
			if p.Leader != 2 || !slices.Equal(p.Replicas, holders) || !slices.Equal(p.ISR, holders) {
				t.Errorf("Metadata: %+v", p)
			}
		}
		for _, p := range ask[*kmsg.DescribeTopicPartitionsResponse](c, kmsg.NewPtrDescribeTopicPartitionsRequest()).Topics[0].Partitions {
			if p.LeaderID != 2 || !slices.Equal(p.Replicas, holders) || !slices.Equal(p.ISR, holders) {
				t.Errorf("DescribeTopicPartitions: %+v", p)
			}
		}
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.Version, find.CoordinatorKeys = 4, []string{"billing"}
		if at := ask[*kmsg.FindCoordinatorResponse](c, find).Coordinators[0]; at.NodeID != 2 || at.Host != "two.example" || at.Port != 9093 {
			t.Errorf("FindCoordinator: %+v", at)
		}
		r.live = r.live[1:]
	}
}

func describeClusterRequest() *kmsg.DescribeClusterRequest {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.Version, req.EndpointType = 1, 1
	return req
}

// A topic of a cluster has as many replicas as the cluster keeps, on nodes that live.
func TestATopicHasTheReplicasOfItsCluster(t *testing.T) {
	b, _ := threeNodes(t)
	c := b.dial()
	create := func(factor int16, assigned ...int32) kmsg.CreateTopicsResponseTopic {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprintf("t%d-%v", factor, len(assigned)), 1, factor
		if assigned != nil {
			topic.NumPartitions = -1
			topic.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: assigned}}
		}
		req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{topic}
		return ask[*kmsg.CreateTopicsResponse](c, req).Topics[0]
	}
	for _, factor := range []int16{-1, 3} {
		if out := create(factor); out.ErrorCode != 0 || out.ReplicationFactor != 3 {
			t.Errorf("factor %d: %+v", factor, out)
		}
	}
	for _, factor := range []int16{1, 2, 4, 0} {
		if out := create(factor); out.ErrorCode != kerr.InvalidReplicationFactor.Code || !strings.Contains(*out.ErrorMessage, "is on 3") {
			t.Errorf("factor %d: %+v", factor, out)
		}
	}
	for _, wrong := range [][]int32{{2}, {1, 2, 4}, {1, 2, 2}, {1, 2, 3, 3}} {
		if out := create(-1, wrong...); out.ErrorCode != kerr.InvalidReplicaAssignment.Code {
			t.Errorf("assigned to %v: %+v", wrong, out)
		}
	}
	if out := create(-1, 3, 1, 2); out.ErrorCode != 0 {
		t.Errorf("%+v", out)
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = "t3-0", 2
	topic.Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{1, 2}}}
	grow.Version, grow.Topics = 3, []kmsg.CreatePartitionsRequestTopic{topic}
	if out := ask[*kmsg.CreatePartitionsResponse](c, grow).Topics[0]; out.ErrorCode != kerr.InvalidReplicaAssignment.Code {
		t.Errorf("%+v", out)
	}
	grow.Topics[0].Assignment[0].Replicas = []int32{1, 2, 3}
	if out := ask[*kmsg.CreatePartitionsResponse](c, grow).Topics[0]; out.ErrorCode != 0 {
		t.Errorf("%+v", out)
	}
}

// A client asks any node for the configuration of that node.
func TestEachNodeThatLivesHasAConfiguration(t *testing.T) {
	b, _ := threeNodes(t)
	c := b.dial()
	for name, want := range map[string]string{"": "2 two.example:9093", "1": "1 one.example:9092", "3": "3 [2001:db8::3]:9094", "4": "error"} {
		req := kmsg.NewPtrDescribeConfigsRequest()
		of := kmsg.NewDescribeConfigsRequestResource()
		of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeBroker, name
		of.ConfigNames = []string{"broker.id", "advertised.listeners", "default.replication.factor"}
		req.Version, req.Resources = 4, []kmsg.DescribeConfigsRequestResource{of}
		out := ask[*kmsg.DescribeConfigsResponse](c, req).Resources[0]
		got := "error"
		if out.ErrorCode == 0 {
			values := make(map[string]string)
			for _, config := range out.Configs {
				values[config.Name] = *config.Value
			}
			got = values["broker.id"] + " " + values["advertised.listeners"]
			if values["default.replication.factor"] != "3" {
				t.Errorf("%q: %v", name, values)
			}
		}
		if got != want {
			t.Errorf("%q: %s, not %s", name, got, want)
		}
	}
}

// A partition whose log is not open yet has no leader, and what is asked of it may be asked again.
func TestAPartitionThatIsNotAvailableHasNoLeader(t *testing.T) {
	b := start(t, setup{wrap: func(s store.Store) store.Store { return closedStore{s} }})
	b.topic("orders", 1)
	c := b.dial()
	p := ask[*kmsg.MetadataResponse](c, metadataFor(12, "orders")).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.LeaderNotAvailable.Code || p.Leader != -1 {
		t.Errorf("%+v", p)
	}
	list := kmsg.NewPtrListOffsetsRequest()
	topic, of := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	of.Timestamp, topic.Topic = -1, "orders"
	topic.Partitions = append(topic.Partitions, of)
	list.Version, list.Topics = 7, append(list.Topics, topic)
	if out := ask[*kmsg.ListOffsetsResponse](c, list).Topics[0].Partitions[0]; out.ErrorCode != kerr.LeaderNotAvailable.Code {
		t.Errorf("%+v", out)
	}
}

// A closedStore opens no log but its own.
type closedStore struct{ store.Store }

func (s closedStore) Partition(topic string, number int) (store.Partition, error) {
	p, err := s.Store.Partition(topic, number)
	if broker.Internal(topic) {
		return p, err
	}
	return closedLog{p}, err
}

type closedLog struct{ store.Partition }

func (closedLog) Available() error             { return store.ErrUnavailable }
func (closedLog) Offsets() (start, high int64) { return 0, 0 }
