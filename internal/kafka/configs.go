package kafka

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// A config is one of the settings that Kafka's tools ask for, under Kafka's name. A
// topic may set some of its own for itself; all others are the broker's flags, or
// always the same.
type config struct {
	name     string
	value    string
	kind     kmsg.ConfigType
	source   kmsg.ConfigSource
	settable bool
	doc      string

	general string // what the broker calls its default for all topics; "" for none
	beneath *config
}

// Where a value that no topic has set for itself comes from: a flag, or the code.
const (
	fromFlag = kmsg.ConfigSourceStaticBrokerConfig
	fromCode = kmsg.ConfigSourceDefaultConfig
)

// unlimited is how Kafka writes that there is no bound.
const unlimited = "-1"

// topicDefaults are what holds for a topic that has set nothing for itself, by name.
func (s *Server) topicDefaults() []config {
	maxBatch := strconv.Itoa(s.broker.Limits.MaxBatch())
	list := []config{
		{name: "cleanup.policy", general: "log.cleanup.policy", value: "delete", kind: kmsg.ConfigTypeList, source: fromCode, doc: "old messages are removed; there is no compaction"},
		{name: "compression.type", general: "compression.type", value: "producer", kind: kmsg.ConfigTypeString, source: fromCode, doc: "batches are kept as they came"},
		s.flushConfig(),
		{name: broker.ConfigMaxBatch, general: "message.max.bytes", value: maxBatch, kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "largest batch (-max-message, which is also the highest that a topic may set)"},
		{name: broker.ConfigTimestampAfter, general: "log.message.timestamp.after.max.ms", value: strconv.FormatInt(broker.TimestampAfter, 10), kind: kmsg.ConfigTypeLong, source: fromCode, doc: "how far ahead of the broker's clock a message's time may be (CreateTime)"},
		{name: broker.ConfigTimestampBefore, general: "log.message.timestamp.before.max.ms", value: strconv.FormatInt(broker.TimestampBefore, 10), kind: kmsg.ConfigTypeLong, source: fromCode, doc: "how far behind the broker's clock a message's time may be (CreateTime)"},
		{name: broker.ConfigTimestamps, general: "log.message.timestamp.type", value: broker.CreateTime, kind: kmsg.ConfigTypeString, source: fromCode, doc: "whether a message's time is its producer's (CreateTime) or that of the log (LogAppendTime)"},
		{name: broker.ConfigRetentionUnread, general: "mbus.retention.unread.ms", value: strconv.FormatInt(s.broker.RetentionUnread().Milliseconds(), 10), kind: kmsg.ConfigTypeLong, source: fromFlag, doc: "age from which messages are removed that a group which leases messages (consumers of lines) has not consumed (-retention-unread)"},
		{name: "min.insync.replicas", general: "min.insync.replicas", value: "1", kind: kmsg.ConfigTypeInt, source: fromCode, doc: "there is one broker"},
		{name: broker.ConfigRetentionBytes, general: "log.retention.bytes", value: s.retentionBytes(), kind: kmsg.ConfigTypeLong, source: fromFlag, doc: "size of a partition from which its oldest messages are removed (-retention-bytes)"},
		{name: broker.ConfigRetention, general: "log.retention.ms", value: s.retentionMillis(), kind: kmsg.ConfigTypeLong, source: fromFlag, doc: "age from which messages are removed (-retention)"},
		{name: "unclean.leader.election.enable", general: "unclean.leader.election.enable", value: "false", kind: kmsg.ConfigTypeBoolean, source: fromCode, doc: "there is one broker"},
	}
	for i := range list {
		switch list[i].name {
		case broker.ConfigMaxBatch, broker.ConfigTimestamps, broker.ConfigTimestampAfter, broker.ConfigTimestampBefore, broker.ConfigRetentionBytes, broker.ConfigRetention, broker.ConfigRetentionUnread:
			list[i].settable = true
		}
	}
	return list
}

// flushConfig says when messages are synced.
func (s *Server) flushConfig() config {
	if every := s.opts.SyncEvery; every > 0 {
		ms := max(1, every.Milliseconds())
		return config{name: "flush.ms", general: "log.flush.interval.ms", value: strconv.FormatInt(ms, 10), kind: kmsg.ConfigTypeLong, source: fromFlag, doc: "how long a message that is acknowledged may wait for its sync (-fsync)"}
	}
	return config{name: "flush.messages", general: "log.flush.interval.messages", value: "1", kind: kmsg.ConfigTypeLong, source: fromFlag, doc: "a message is synced before it is acknowledged (-fsync)"}
}

// topicConfigs are what holds for a topic that has set own for itself.
func (s *Server) topicConfigs(own map[string]string) []config {
	list := s.topicDefaults()
	for i := range list {
		c := &list[i]
		if value, set := own[c.name]; set {
			general := *c
			c.beneath = &general
			c.value, c.source = value, kmsg.ConfigSourceDynamicTopicConfig
		}
	}
	return list
}

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

// brokerConfigs are what the broker was told, and its defaults for all topics.
func (s *Server) brokerConfigs() []config {
	id := strconv.Itoa(int(s.opts.NodeID))
	delay := strconv.FormatInt(s.opts.RebalanceDelay.Milliseconds(), 10)
	list := []config{
		{name: "advertised.listeners", value: s.opts.Advertise, kind: kmsg.ConfigTypeString, source: fromFlag, doc: "empty: the address that a client connects to (-advertise)"},
		{name: "auto.create.topics.enable", value: strconv.FormatBool(s.broker.AutoCreate()), kind: kmsg.ConfigTypeBoolean, source: fromFlag, doc: "topics are made with their first message (-auto-create)"},
		{name: "broker.id", value: id, kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "this broker's number (-node-id)"},
		{name: "default.replication.factor", value: "1", kind: kmsg.ConfigTypeInt, source: fromCode, doc: "there is one broker"},
		{name: "delete.topic.enable", value: "true", kind: kmsg.ConfigTypeBoolean, source: fromCode, doc: "topics can be deleted"},
		{name: "group.initial.rebalance.delay.ms", value: delay, kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "how long the first members of a group wait for more (-rebalance-delay)"},
		{name: "node.id", value: id, kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "this broker's number (-node-id)"},
		{name: "num.partitions", value: strconv.Itoa(s.broker.NewPartitions()), kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "partitions of new topics (-partitions)"},
	}
	for _, c := range s.topicDefaults() {
		if c.general != "" {
			c.name, c.settable = c.general, false
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b config) int { return cmp.Compare(a.name, b.name) })
	return list
}

// resourceConfigs are the settings of a topic or of this broker.
func (s *Server) resourceConfigs(kind kmsg.ConfigResourceType, name string) ([]config, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		t, err := s.broker.Topic(name)
		if err != nil {
			return nil, err
		}
		return s.topicConfigs(t.Config()), nil
	case kmsg.ConfigResourceTypeBroker:
		if name != "" && name != strconv.Itoa(int(s.opts.NodeID)) {
			return nil, fmt.Errorf("%w: the only broker is %d, not %q", kerr.InvalidRequest, s.opts.NodeID, name)
		}
		return s.brokerConfigs(), nil
	}
	return nil, fmt.Errorf("%w: resources of type %v have no configuration", kerr.InvalidRequest, kind)
}

// A change is one setting of a request to alter some; a nil value stands for the
// default.
type change struct {
	name  string
	value *string
}

// alter makes changes to what a resource has set for itself, or, with fresh, in place
// of all of it. With check nothing is changed.
func (c *call) alter(kind kmsg.ConfigResourceType, name string, changes []change, fresh, check bool) error {
	s := c.server
	known, err := s.resourceConfigs(kind, name)
	if err != nil {
		return err
	}
	apply := func(own map[string]string) error {
		if fresh {
			clear(own)
		}
		return applyTo(own, known, changes)
	}
	if kind != kmsg.ConfigResourceTypeTopic {
		return apply(make(map[string]string))
	}
	if !check {
		if err := s.broker.Configure(name, apply); err != nil {
			return err
		}
		if t, err := s.broker.Topic(name); err == nil {
			c.did("topic configured", "topic", name, "settings", t.Config())
		}
		return nil
	}
	t, err := s.broker.Topic(name)
	if err != nil {
		return err
	}
	own := maps.Clone(t.Config())
	if err := apply(own); err != nil {
		return err
	}
	return s.broker.CheckConfig(own)
}

// applyTo makes changes to what a topic has set for itself. What can't be set may be
// named if it is what holds anyway.
func applyTo(own map[string]string, known []config, changes []change) error {
	for _, change := range changes {
		i := slices.IndexFunc(known, func(c config) bool { return c.name == change.name })
		switch {
		case i < 0:
			return fmt.Errorf("%w: %q is not known", kerr.InvalidConfig, change.name)
		case known[i].settable && change.value != nil:
			own[change.name] = *change.value
		case known[i].settable:
			delete(own, change.name)
		case change.value != nil && *change.value != known[i].value:
			return fmt.Errorf("%w: %s is %q (%s) and can't be changed", kerr.InvalidConfig, change.name, known[i].value, known[i].doc)
		}
	}
	return nil
}
