package kafka

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/store"
)

// A config is one of the settings that Kafka's tools ask for, under Kafka's name.
// They can't be changed through the protocol: they are the broker's flags, or
// always the same.
type config struct {
	name   string
	value  string
	kind   kmsg.ConfigType
	source kmsg.ConfigSource
	doc    string
}

// topicConfigs are what holds for every topic.
func (s *Server) topicConfigs() []config {
	return []config{
		{"cleanup.policy", "delete", kmsg.ConfigTypeList, kmsg.ConfigSourceDefaultConfig, "old messages are removed"},
		{"compression.type", "producer", kmsg.ConfigTypeString, kmsg.ConfigSourceDefaultConfig, "batches are kept as they came"},
		{"flush.messages", "1", kmsg.ConfigTypeLong, kmsg.ConfigSourceDefaultConfig, "a message is synced before it is acknowledged"},
		{"max.message.bytes", strconv.Itoa(s.broker.Limits.MaxBatch()), kmsg.ConfigTypeInt, kmsg.ConfigSourceStaticBrokerConfig, "largest batch (-max-message)"},
		{"message.timestamp.type", "CreateTime", kmsg.ConfigTypeString, kmsg.ConfigSourceDefaultConfig, "a message's time is its producer's"},
		{"min.insync.replicas", "1", kmsg.ConfigTypeInt, kmsg.ConfigSourceDefaultConfig, "there is one broker"},
		{"retention.bytes", s.retentionBytes(), kmsg.ConfigTypeLong, kmsg.ConfigSourceStaticBrokerConfig, "size of a partition from which its oldest messages are removed (-retention-bytes)"},
		{"retention.ms", s.retentionMillis(), kmsg.ConfigTypeLong, kmsg.ConfigSourceStaticBrokerConfig, "age from which messages are removed (-retention)"},
	}
}

// unlimited is how Kafka writes that there is no bound.
const unlimited = "-1"

func (s *Server) retentionBytes() string {
	if _, bytes := s.broker.Retention(); bytes > 0 {
		return strconv.FormatInt(bytes, 10)
	}
	return unlimited
}

func (s *Server) retentionMillis() string {
	if age, _ := s.broker.Retention(); age > 0 {
		return strconv.FormatInt(age.Milliseconds(), 10)
	}
	return unlimited
}

// brokerConfigs are what the broker was told.
func (s *Server) brokerConfigs() []config {
	const static, constant = kmsg.ConfigSourceStaticBrokerConfig, kmsg.ConfigSourceDefaultConfig
	return []config{
		{"advertised.listeners", s.opts.Advertise, kmsg.ConfigTypeString, static, "empty: the address that a client connects to (-advertise)"},
		{"auto.create.topics.enable", "true", kmsg.ConfigTypeBoolean, constant, "topics are made with their first message"},
		{"default.replication.factor", "1", kmsg.ConfigTypeInt, constant, "there is one broker"},
		{"delete.topic.enable", "true", kmsg.ConfigTypeBoolean, constant, "topics can be deleted"},
		{"group.initial.rebalance.delay.ms", strconv.FormatInt(s.opts.RebalanceDelay.Milliseconds(), 10), kmsg.ConfigTypeInt, static, "how long the first members of a group wait for more (-rebalance-delay)"},
		{"log.retention.bytes", s.retentionBytes(), kmsg.ConfigTypeLong, static, "size of a partition from which its oldest messages are removed (-retention-bytes)"},
		{"log.retention.ms", s.retentionMillis(), kmsg.ConfigTypeLong, static, "age from which messages are removed (-retention)"},
		{"message.max.bytes", strconv.Itoa(s.broker.Limits.MaxBatch()), kmsg.ConfigTypeInt, static, "largest batch (-max-message)"},
		{"node.id", strconv.Itoa(int(s.opts.NodeID)), kmsg.ConfigTypeInt, static, "this broker's number (-node-id)"},
		{"num.partitions", strconv.Itoa(s.broker.NewPartitions()), kmsg.ConfigTypeInt, static, "partitions of new topics (-partitions)"},
	}
}

// checkConfig refuses a topic's setting that is not what holds anyway. nil stands
// for the default.
func (s *Server) checkConfig(name string, value *string) error {
	configs := s.topicConfigs()
	i := slices.IndexFunc(configs, func(c config) bool { return c.name == name })
	switch {
	case i < 0:
		return fmt.Errorf("%w: %q is not known", kerr.InvalidConfig, name)
	case value != nil && *value != configs[i].value:
		return fmt.Errorf("%w: %s is %q for all topics and can't be changed", kerr.InvalidConfig, name, configs[i].value)
	}
	return nil
}

// resourceConfigs are the settings of a topic or of this broker.
func (s *Server) resourceConfigs(kind kmsg.ConfigResourceType, name string) ([]config, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if _, err := s.broker.Topic(name); err != nil {
			return nil, store.ErrUnknownTopic
		}
		return s.topicConfigs(), nil
	case kmsg.ConfigResourceTypeBroker:
		if name != "" && name != strconv.Itoa(int(s.opts.NodeID)) {
			return nil, fmt.Errorf("%w: the only broker is %d, not %q", kerr.InvalidRequest, s.opts.NodeID, name)
		}
		return s.brokerConfigs(), nil
	}
	return nil, fmt.Errorf("%w: resources of type %v have no configuration", kerr.InvalidRequest, kind)
}

// alter takes a change that changes nothing, and refuses others.
func (s *Server) alter(kind kmsg.ConfigResourceType, name, config string, value *string) error {
	configs, err := s.resourceConfigs(kind, name)
	if err != nil {
		return err
	}
	for _, c := range configs {
		if c.name == config && (value == nil || *value == c.value) {
			return nil
		}
		if c.name == config {
			return fmt.Errorf("%w: %s is %q and can't be changed", kerr.InvalidConfig, config, c.value)
		}
	}
	return fmt.Errorf("%w: %q is not known", kerr.InvalidConfig, config)
}
