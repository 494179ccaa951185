package kafka

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/units"
)

// A config is a setting under Kafka's name. Its value is a topic's own, a flag of the broker,
// or fixed.
type config struct {
	name     string
	value    string
	kind     kmsg.ConfigType
	source   kmsg.ConfigSource
	settable bool
	doc      string

	general string // name of the default for all topics in the broker's configuration; "" for none
	beneath *config
}

// The sources of values that a topic has not set.
const (
	fromFlag = kmsg.ConfigSourceStaticBrokerConfig
	fromCode = kmsg.ConfigSourceDefaultConfig
)

// unlimited is Kafka's value for no limit.
const unlimited = "-1"

// settings are those of the broker and its topics, as Kafka's tools see them.
type settings struct {
	*Server
	view *broker.View
}

func (c *call) settings() settings { return settings{c.server, c.conn.view} }

// topicDefaults are the settings of a topic that has set none, by name.
func (s settings) topicDefaults() []config {
	maxBatch := strconv.Itoa(s.broker.Limits.MaxBatch())
	list := []config{
		{name: broker.ConfigMaxBatch, general: "message.max.bytes", value: maxBatch, kind: kmsg.ConfigTypeInt, doc: "largest batch; at most -max-message and 64 KiB"},
		{name: broker.ConfigTimestampAfter, general: "log.message.timestamp.after.max.ms", value: strconv.FormatInt(broker.TimestampAfter, 10), kind: kmsg.ConfigTypeLong, doc: "limit for a message's time ahead of the broker's clock (CreateTime)"},
		{name: broker.ConfigTimestampBefore, general: "log.message.timestamp.before.max.ms", value: strconv.FormatInt(broker.TimestampBefore, 10), kind: kmsg.ConfigTypeLong, doc: "limit for a message's time behind the broker's clock (CreateTime)"},
		{name: broker.ConfigTimestampDifference, general: "log.message.timestamp.difference.max.ms", value: strconv.FormatInt(math.MaxInt64, 10), kind: kmsg.ConfigTypeLong, doc: "default of message.timestamp.before.max.ms and message.timestamp.after.max.ms"},
		{name: broker.ConfigTimestamps, general: "log.message.timestamp.type", value: broker.CreateTime, kind: kmsg.ConfigTypeString, doc: "whether a message's time is its producer's (CreateTime) or that of the log (LogAppendTime)"},
		{name: broker.ConfigRetentionUnread, general: "mbus.retention.unread.ms", value: strconv.FormatInt(s.broker.Options().RetentionUnread.Milliseconds(), 10), kind: kmsg.ConfigTypeLong, doc: "age at which messages are removed that a group of line consumers has not consumed (-retention-unread)"},
		{name: broker.ConfigRetentionBytes, general: "log.retention.bytes", value: s.retentionBytes(), kind: kmsg.ConfigTypeLong, doc: "size of a partition at which its oldest messages are removed (-retention-bytes)"},
		{name: broker.ConfigRetention, general: "log.retention.ms", value: s.retentionMillis(), kind: kmsg.ConfigTypeLong, doc: "age at which messages are removed (-retention)"},
	}
	for _, kept := range broker.KeptSettings {
		list = append(list, config{name: kept.Name, general: kept.General, value: kept.Default, kind: kinds[kept.Kind], doc: "it has no effect: " + kept.Why})
	}
	for i := range list {
		list[i].settable, list[i].source = true, fromCode
		s.flag(&list[i])
	}
	slices.SortFunc(list, func(a, b config) int { return cmp.Compare(a.name, b.name) })
	return list
}

var kinds = map[broker.Kind]kmsg.ConfigType{
	broker.Boolean: kmsg.ConfigTypeBoolean, broker.Double: kmsg.ConfigTypeDouble, broker.Int: kmsg.ConfigTypeInt,
	broker.List: kmsg.ConfigTypeList, broker.Long: kmsg.ConfigTypeLong, broker.String: kmsg.ConfigTypeString,
}

// flag sets the source of a default that a flag of the broker has set, and the interval of
// syncs, which a topic cannot make shorter.
func (s settings) flag(c *config) {
	every := s.opts.SyncEvery
	given := false
	switch c.name {
	case broker.ConfigMaxBatch:
		given = s.broker.Limits.MaxMessage != broker.DefaultMaxMessage
	case broker.ConfigRetentionUnread:
		given = s.broker.Options().RetentionUnread != broker.DefaultRetentionUnread
	case broker.ConfigRetentionBytes:
		given = c.value != unlimited
	case broker.ConfigRetention:
		given = c.value != defaultRetentionMillis
	case "flush.messages":
		if given = every == 0; given {
			c.value = "1"
		}
	case "flush.ms":
		if given = every > 0; given {
			c.value = strconv.FormatInt(max(1, every.Milliseconds()), 10)
		}
	}
	if given {
		c.source = fromFlag
	}
}

// defaultRetentionMillis is the default of the broker's flag: a week, as in Kafka.
const defaultRetentionMillis = "604800000"

// syncs says why a topic cannot have its messages synced more often than the broker's flag
// says.
func (s settings) syncs(name, value string) error {
	every := s.opts.SyncEvery
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || every == 0 {
		return nil
	}
	if name == "flush.messages" && n < math.MaxInt64 || name == "flush.ms" && n < every.Milliseconds() {
		return fmt.Errorf("%w: %s of %d: this broker syncs every %s (-fsync)", kerr.InvalidConfig, name, n, units.FormatDuration(every))
	}
	return nil
}

// topicConfigs are the settings of a topic that has set own.
func (s settings) topicConfigs(own map[string]string) []config {
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

func (s settings) retentionBytes() string {
	if bytes := s.broker.Options().RetentionBytes; bytes > 0 {
		return strconv.FormatInt(bytes, 10)
	}
	return unlimited
}

func (s settings) retentionMillis() string {
	if age := s.broker.Options().Retention; age > 0 {
		return strconv.FormatInt(age.Milliseconds(), 10)
	}
	return unlimited
}

// offsetsMinutes is the retention of offsets, rounded up, because Kafka has minutes and no
// value for "for ever".
func (s settings) offsetsMinutes() string {
	keep := s.broker.Options().OffsetsRetention
	minutes := int64((keep + time.Minute - 1) / time.Minute)
	if keep == 0 || minutes > math.MaxInt32 {
		minutes = math.MaxInt32
	}
	return strconv.FormatInt(minutes, 10)
}

// brokerConfigs are the broker's settings and its defaults for all topics.
func (s settings) brokerConfigs(of broker.Node) []config {
	id := strconv.Itoa(int(of.ID))
	millis := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	given := func(is bool) kmsg.ConfigSource {
		if is {
			return fromFlag
		}
		return fromCode
	}
	list := []config{
		{name: "advertised.listeners", value: of.Kafka, kind: kmsg.ConfigTypeString, source: given(s.opts.Advertise != ""), doc: "empty: the address that a client connects to (-advertise)"},
		{name: "auto.create.topics.enable", value: strconv.FormatBool(!s.broker.Options().NoAutoCreate), kind: kmsg.ConfigTypeBoolean, source: given(s.broker.Options().NoAutoCreate), doc: "topics are created with their first message (-auto-create)"},
		{name: "broker.id", value: id, kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "this broker's number (-node-id)"},
		{name: "default.replication.factor", value: strconv.Itoa(s.replicas()), kind: kmsg.ConfigTypeInt, source: given(s.nodes != nil), doc: "nodes that keep each message; 1 for a broker that is alone (-replicas)"},
		{name: "delete.topic.enable", value: "true", kind: kmsg.ConfigTypeBoolean, source: fromCode, doc: "topics can be deleted"},
		{name: "group.initial.rebalance.delay.ms", value: millis(s.opts.RebalanceDelay), kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "time that the first members of a group wait for more members (-rebalance-delay)"},
		{name: "group.max.session.timeout.ms", value: millis(MaxSession), kind: kmsg.ConfigTypeInt, source: fromCode, doc: "longest session timeout of a group's member"},
		{name: "group.min.session.timeout.ms", value: millis(s.opts.MinSession), kind: kmsg.ConfigTypeInt, source: given(s.opts.MinSession != DefaultMinSession), doc: "shortest session timeout of a group's member (-min-session)"},
		{name: "inter.broker.protocol.version", value: "3.9-IV0", kind: kmsg.ConfigTypeString, source: fromCode, doc: "tools choose their requests by this version of Kafka"},
		{name: "node.id", value: id, kind: kmsg.ConfigTypeInt, source: fromFlag, doc: "this broker's number (-node-id)"},
		{name: "num.partitions", value: strconv.Itoa(s.broker.Options().Partitions), kind: kmsg.ConfigTypeInt, source: given(s.broker.Options().Partitions != 1), doc: "partitions of new topics (-partitions)"},
		{name: "offset.metadata.max.bytes", value: strconv.Itoa(maxMetadata), kind: kmsg.ConfigTypeInt, source: fromCode, doc: "text that is committed with an offset"},
		{name: "offsets.retention.minutes", value: s.offsetsMinutes(), kind: kmsg.ConfigTypeInt, source: given(s.broker.Options().OffsetsRetention != broker.DefaultOffsetsRetention), doc: "time that a group's offsets are kept without members and commits, except for the groups default and redrive; the largest number is for ever (-offsets-retention)"},
		{name: "socket.request.max.bytes", value: strconv.Itoa(maxProduce), kind: kmsg.ConfigTypeInt, source: fromCode, doc: "largest Produce request; the limits of others are smaller"},
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

// of are the settings of a topic or of a broker.
func (s settings) of(kind kmsg.ConfigResourceType, name string) ([]config, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		t, err := s.view.Topic(name, broker.Describe)
		if err != nil {
			return nil, err
		}
		return s.topicConfigs(t.Config()), nil
	case kmsg.ConfigResourceTypeBroker:
		if err := s.view.Allow(broker.Describe, broker.ClusterResource, ""); err != nil {
			return nil, err
		}
		of, err := s.nodeNamed(name)
		if err != nil {
			return nil, err
		}
		return s.brokerConfigs(of), nil
	}
	return nil, fmt.Errorf("%w: resources of type %v have no configuration", kerr.InvalidRequest, kind)
}

// A change is one setting of a request that alters some; a nil value is the default.
type change struct {
	name  string
	value *string
	list  func(all []string, some []string) []string // combines the elements of the present value and of value; nil to replace it
}

// appended is all, followed by the elements of some that it lacks.
func appended(all, some []string) []string {
	for _, one := range some {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// subtracted is all without the elements of some.
func subtracted(all, some []string) []string {
	return slices.DeleteFunc(all, func(one string) bool { return slices.Contains(some, one) })
}

// in is the new value of a setting whose present value is now, without blanks around it, as in
// Kafka.
func (ch change) in(now string) string {
	if ch.list == nil {
		return strings.TrimSpace(*ch.value)
	}
	elements := func(text string) (all []string) {
		for one := range strings.SplitSeq(text, ",") {
			if one = strings.TrimSpace(one); one != "" {
				all = append(all, one)
			}
		}
		return all
	}
	return strings.Join(ch.list(elements(now), elements(*ch.value)), ",")
}

// alter changes settings of a resource, or with replace all of them. With check it changes
// nothing.
func (c *call) alter(kind kmsg.ConfigResourceType, name string, changes []change, replace, check bool) error {
	s := c.settings()
	known, err := s.of(kind, name)
	if err != nil {
		return err
	}
	apply := func(own map[string]string) error {
		if replace {
			clear(own)
		}
		return s.applyTo(own, known, changes)
	}
	if kind != kmsg.ConfigResourceTypeTopic {
		return apply(make(map[string]string))
	}
	if !check {
		return s.view.Configure(name, apply)
	}
	t, err := s.view.Topic(name, broker.Alter)
	if err != nil {
		return err
	}
	own := maps.Clone(t.Config())
	if err := apply(own); err != nil {
		return err
	}
	return s.broker.CheckConfig(own)
}

// applyTo changes a topic's own settings. A setting that cannot be changed may be named with
// its present value.
func (s settings) applyTo(own map[string]string, known []config, changes []change) error {
	for _, change := range changes {
		i := slices.IndexFunc(known, func(c config) bool { return c.name == change.name })
		switch {
		case i < 0:
			return fmt.Errorf("%w: %q is not known", kerr.InvalidConfig, change.name)
		case change.list != nil && known[i].kind != kmsg.ConfigTypeList:
			return fmt.Errorf("%w: %q is no list: it takes SET and DELETE", kerr.InvalidConfig, change.name)
		case known[i].settable && change.value != nil:
			now, set := own[change.name]
			if !set {
				now = known[i].unset()
			}
			own[change.name] = plain(change.name, change.in(now))
			if err := s.syncs(change.name, own[change.name]); err != nil {
				return err
			}
		case known[i].settable:
			delete(own, change.name)
		case change.value != nil && change.in(known[i].value) != known[i].value:
			return fmt.Errorf("%w: %s is %q (%s) and can't be changed", kerr.InvalidConfig, change.name, known[i].value, known[i].doc)
		}
	}
	return nil
}

// plain is the value of a setting as Kafka's tools write it: milliseconds for a duration with a
// unit, bytes for a size with a unit. Other values are unchanged.
func plain(name, value string) string {
	switch name {
	case broker.ConfigRetention, broker.ConfigRetentionUnread, broker.ConfigTimestampAfter, broker.ConfigTimestampBefore, broker.ConfigTimestampDifference:
		if d, err := units.ParseDuration(value); err == nil && d >= time.Millisecond {
			return strconv.FormatInt(d.Milliseconds(), 10)
		}
	case broker.ConfigRetentionBytes, broker.ConfigMaxBatch:
		if n, err := units.ParseSize(value); err == nil {
			return strconv.FormatInt(n, 10)
		}
	}
	return value
}

// unset is the value for a topic that has none of its own.
func (c *config) unset() string {
	if c.beneath != nil {
		return c.beneath.value
	}
	return c.value
}
