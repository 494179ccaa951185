package broker

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"mbus/internal/batch"
)

// The settings of a topic, under the names of Kafka's topic configurations.
const (
	ConfigRetention      = "retention.ms"           // age from which messages are removed; -1 for never
	ConfigRetentionBytes = "retention.bytes"        // size of a partition from which its oldest messages are; -1 for none
	ConfigMaxBatch       = "max.message.bytes"      // size of the largest batch
	ConfigTimestamps     = "message.timestamp.type" // CreateTime or LogAppendTime

	// The age from which messages are removed although a group that leases messages has not
	// consumed them; 0 for retention.ms, -1 for never. Kafka has no such groups.
	ConfigRetentionUnread = "mbus.retention.unread.ms"

	// How far a message's time may be from the broker's clock, in milliseconds.
	ConfigTimestampAfter  = "message.timestamp.after.max.ms"
	ConfigTimestampBefore = "message.timestamp.before.max.ms"

	// The default of both; older than they are in Kafka.
	ConfigTimestampDifference = "message.timestamp.difference.max.ms"
)

// The defaults, as in Kafka.
const (
	TimestampAfter  = int64(time.Hour / time.Millisecond)
	TimestampBefore = int64(math.MaxInt64) // no bound
)

// Whose times a topic's messages have: the producer's, or that of the log.
const (
	CreateTime    = "CreateTime"
	LogAppendTime = "LogAppendTime"
)

// ErrConfig is for a configuration that a topic can't have.
var ErrConfig = errors.New("configuration")

// Settings are those of one topic, defaults included. They are replaced, not changed.
type settings struct {
	own             map[string]string // the settings that are not defaults
	retention       int64             // milliseconds; -1 for ever
	retentionBytes  int64             // -1 for no bound
	retentionUnread int64             // milliseconds, of what is not consumed; -1 for ever
	maxBatch        int               // bytes
	appendTime      bool              // the log's time counts
	timeAfter       int64             // milliseconds that a message's time may be ahead
	timeBefore      int64             // milliseconds that it may be behind
}

// keep is how long messages are kept, as a duration: centuries where they are kept
// for ever, or longer than that.
func (s *settings) keep() time.Duration {
	if s.retention < 0 {
		return math.MaxInt64
	}
	return span(s.retention)
}

// setters read a value into the settings.
var setters = map[string]func(s *settings, value string, limit int) error{
	ConfigRetention: func(s *settings, value string, _ int) (err error) {
		s.retention, err = number(value, -1, math.MaxInt64)
		return err
	},
	ConfigRetentionBytes: func(s *settings, value string, _ int) (err error) {
		s.retentionBytes, err = number(value, -1, math.MaxInt64)
		return err
	},
	ConfigRetentionUnread: func(s *settings, value string, _ int) (err error) {
		s.retentionUnread, err = number(value, -1, math.MaxInt64)
		return err
	},
	ConfigMaxBatch: func(s *settings, value string, limit int) error {
		n, err := number(value, minMaxBatch, math.MaxInt32)
		s.maxBatch = min(int(n), limit)
		return err
	},
	ConfigTimestampDifference: func(s *settings, value string, _ int) error {
		n, err := number(value, 0, math.MaxInt64)
		s.timeAfter, s.timeBefore = n, n
		return err
	},
	ConfigTimestampAfter: func(s *settings, value string, _ int) (err error) {
		s.timeAfter, err = number(value, 0, math.MaxInt64)
		return err
	},
	ConfigTimestampBefore: func(s *settings, value string, _ int) (err error) {
		s.timeBefore, err = number(value, 0, math.MaxInt64)
		return err
	},
	ConfigTimestamps: func(s *settings, value string, _ int) error {
		if s.appendTime = value == LogAppendTime; !s.appendTime && value != CreateTime {
			return fmt.Errorf("it is %s or %s, not %q", CreateTime, LogAppendTime, value)
		}
		return nil
	},
}

func number(value string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("it is a number from %d to %d, not %q", low, high, value)
	}
	return n, nil
}

// settings are those of a topic with a configuration. The error, which wraps ErrConfig, names
// a setting that it can't have; the others are used.
func (b *Broker) settings(own map[string]string) (*settings, error) {
	s := &settings{
		own: make(map[string]string), retention: -1, retentionBytes: -1, maxBatch: b.Limits.MaxBatch(),
		retentionUnread: b.opts.RetentionUnread.Milliseconds(), timeAfter: TimestampAfter, timeBefore: TimestampBefore,
	}
	if b.opts.Retention > 0 {
		s.retention = b.opts.Retention.Milliseconds()
	}
	if b.opts.RetentionBytes > 0 {
		s.retentionBytes = b.opts.RetentionBytes
	}
	var wrong error
	for _, name := range slices.SortedFunc(maps.Keys(own), bySettingOrder) {
		set, err := setters[name], error(nil)
		before := *s
		if kept := keptSetting(name); kept != nil {
			err = kept.check(own[name])
		} else if set == nil {
			err = errors.New("there is no such setting of a topic")
		} else {
			err = set(s, own[name], b.Limits.MaxBatch())
		}
		if err != nil {
			err = fmt.Errorf("%w: %q: %w", ErrConfig, name, err)
		}
		if err != nil {
			*s, wrong = before, err
			continue
		}
		s.own[name] = own[name]
	}
	return s, wrong
}

// bySettingOrder sorts the setting that stands for two before these.
func bySettingOrder(x, y string) int {
	isDifference := func(name string) int {
		if name == ConfigTimestampDifference {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(isDifference(x), isDifference(y)), cmp.Compare(x, y))
}

// stored is a configuration as the store keeps it.
func stored(own map[string]string) string {
	if len(own) == 0 {
		return ""
	}
	p, _ := json.Marshal(own) // of strings it can't fail
	return string(p)
}

// restore gives a topic the configuration that the store has. A setting that is not allowed
// any more, because a limit of the broker is lower now, is logged and left out.
func (b *Broker) restore(t *Topic, config string) {
	own := make(map[string]string)
	if config != "" {
		if err := json.Unmarshal([]byte(config), &own); err != nil {
			b.Log.Error("a topic's configuration can't be read: the defaults hold", "topic", t.Name, "reason", err)
		}
	}
	s, err := b.settings(own)
	if err != nil {
		b.Log.Warn("part of a topic's configuration can't be used: the default holds", "topic", t.Name, "reason", err)
	}
	t.settings.Store(s)
}

// Config is the topic's own configuration, by name. It must not be changed.
func (t *Topic) Config() map[string]string { return t.settings.Load().own }

// Retention is the age in milliseconds, and the size of a partition in bytes, from which the oldest messages are
// removed; -1 for no bound.
func (t *Topic) Retention() (ms, bytes int64) {
	s := t.settings.Load()
	return s.retention, s.retentionBytes
}

// MaxBatch is the size of the largest batch that the topic takes, in bytes.
func (t *Topic) MaxBatch() int { return t.settings.Load().maxBatch }

// MaxMessage is the size, in bytes, up to which a message certainly fits into a
// batch that the topic takes, if it has no headers.
func (t *Topic) MaxMessage() int { return t.MaxBatch() - batch.HeaderSize - batch.RecordOverhead }

// CheckConfig is the error for a configuration that a topic can't have: it wraps ErrConfig.
func (b *Broker) CheckConfig(own map[string]string) error {
	_, err := b.settings(own)
	return err
}

// Configure changes a topic's own configuration. change alters a copy, or returns an error. When
// Configure returns the new configuration is durable, and is used for later appends. The error
// is store.ErrUnknownTopic,
// ErrInternalTopic, wraps ErrConfig, or is that of change or of the store.
func (v *View) Configure(name string, change func(own map[string]string) error) error {
	if err := v.topic(Alter, name); err != nil {
		return err
	}
	b := v.broker
	defer b.catalog.names.Lock(name)()
	t, err := b.catalog.Topic(name)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %q", err, name)
	case Internal(name):
		return ErrInternalTopic
	}
	own := maps.Clone(t.Config())
	if err := change(own); err != nil {
		return err
	}
	s, err := b.settings(own)
	if err != nil {
		return err
	}
	if err := b.store.Configure(name, stored(own)); err != nil {
		return err
	}
	t.settings.Store(s)
	s.roll(t.Partitions())
	b.retention.wake()
	return audited(v, nil, "configure", TopicResource, name, "settings", settingsText(own))
}
